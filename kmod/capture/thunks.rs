// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the shim asks the core: the prototypes are in `include/capture_shim.h`. Nothing is decided here.
//!
//! # Safety
//!
//! Of all of these: `core` is what `VideoDevice::new` gave the shim and not yet released, `frame` what
//! `landfall_capture_core_allocate` gave and not yet freed, and pointers to structures are valid. In process context.

use super::{
    call,
    card::Extent,
    format::{self, Picture, Sizes},
    map,
    memory::Memory,
    raw::VideoBuffer,
    stream::Video,
    LocalModule,
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    mm::virt::VmaNew,
    module::this_module,
    prelude::*,
    sync::{Arc, ArcBorrow},
    types::ForeignOwnable,
};

unsafe fn video<'a>(core: *const c_void) -> ArcBorrow<'a, Video> {
    // SAFETY: the caller's promise.
    unsafe { <Arc<Video> as ForeignOwnable>::borrow(core.cast_mut().cast()) }
}

unsafe fn memory<'a>(frame: *const c_void) -> ArcBorrow<'a, Memory> {
    // SAFETY: the caller's promise.
    unsafe { <Arc<Memory> as ForeignOwnable>::borrow(frame.cast_mut().cast()) }
}

fn errno(result: Result) -> c_int {
    result.map_or_else(Error::to_errno, |()| 0)
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_format(core: *const c_void, index: u32) -> u32 {
    // SAFETY: see above.
    let video = unsafe { video(core) };
    format::format(&video.session.limits, index).unwrap_or(0)
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_sizes(
    core: *const c_void,
    fourcc: u32,
    sizes: *mut Sizes,
) -> bool {
    // SAFETY: see above.
    let video = unsafe { video(core) };
    let found = format::sizes(&video.session.limits, fourcc);
    if let Some(found) = found {
        // SAFETY: see above.
        unsafe { sizes.write(found) };
    }
    found.is_some()
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_fit(core: *const c_void, picture: *mut Picture) {
    // SAFETY: see above.
    unsafe { *picture = format::fit(&video(core).session.limits, *picture) };
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_set(core: *const c_void, picture: *const Picture) {
    // SAFETY: see above.
    unsafe { video(core).set_picture(&*picture) };
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_get(core: *const c_void, picture: *mut Picture) {
    // SAFETY: see above.
    unsafe { picture.write(video(core).picture()) };
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_intervals(shortest: *mut u32, longest: *mut u32) {
    // SAFETY: see above.
    unsafe {
        shortest.write(format::SHORTEST);
        longest.write(format::LONGEST);
    }
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_interval(core: *const c_void) -> u32 {
    // SAFETY: see above.
    format::told(unsafe { video(core) }.interval())
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_set_interval(
    core: *const c_void,
    numerator: u32,
    denominator: u32,
) {
    // SAFETY: see above.
    unsafe { video(core) }.set_interval(format::interval(numerator, denominator));
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_set_pattern(core: *const c_void, pattern: u8) {
    // SAFETY: see above.
    unsafe { video(core) }.set_pattern(pattern);
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_watch(core: *const c_void, more: bool) {
    // SAFETY: see above.
    unsafe { video(core) }.session.watch(more);
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_statistic(core: *const c_void, which: c_uint) -> u64 {
    // SAFETY: see above.
    unsafe { video(core) }.session.statistic(which)
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_call(
    core: *const c_void,
    command: c_uint,
    argument: *mut c_void,
    busy: bool,
) -> c_int {
    // SAFETY: see above; the argument is what V4L2 gave.
    errno(unsafe { call::call(&video(core), command, argument, busy) })
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_prepare(core: *const c_void) -> c_int {
    // SAFETY: see above.
    errno(unsafe { video(core) }.prepare())
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_allocate(
    core: *const c_void,
    index: u32,
    bytes: u64,
    frame: *mut *mut c_void,
) -> c_int {
    // SAFETY: see above.
    let memory = unsafe { video(core) }.allocate(index, bytes);
    errno(memory.map(|memory| {
        // SAFETY: see above.
        unsafe { frame.write(memory.into_foreign().cast()) };
    }))
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_free(core: *const c_void, frame: *mut c_void) {
    // SAFETY: see above; the card does not have it.
    let memory = unsafe { <Arc<Memory> as ForeignOwnable>::from_foreign(frame.cast()) };
    // SAFETY: see above.
    unsafe { video(core) }.free(memory);
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_dma(frame: *const c_void) -> u64 {
    // SAFETY: see above.
    unsafe { memory(frame) }.frame.dma()
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_virt(frame: *const c_void) -> *mut c_void {
    // SAFETY: see above.
    let words = unsafe { memory(frame) }.frame.buffer().words();
    words.map_or(core::ptr::null_mut(), |words| words.as_ptr().cast())
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_sync(frame: *const c_void, for_cpu: bool) {
    // SAFETY: see above.
    let memory = unsafe { memory(frame) };
    if for_cpu {
        memory.to_cpu();
    } else {
        memory.to_card();
    }
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_shown(frame: *const c_void) -> u32 {
    // SAFETY: see above.
    unsafe { memory(frame) }.frame.buffer().shown()
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_map(
    core: *const c_void,
    frame: *const c_void,
    area: *mut bindings::vm_area_struct,
) -> c_int {
    // SAFETY: see above; the area is being set up.
    let (video, memory, area) = unsafe { (video(core), memory(frame), VmaNew::from_raw(area)) };
    errno(map::frame(&video.session, &memory, area))
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_map_clip(
    core: *const c_void,
    area: *mut bindings::vm_area_struct,
) -> c_int {
    // SAFETY: see above; the area is being set up.
    let (video, area) = unsafe { (video(core), VmaNew::from_raw(area)) };
    errno(map::clip(&video.session, area))
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_export(
    frame: *const c_void,
    flags: c_int,
) -> *mut bindings::dma_buf {
    let owner = this_module::<LocalModule>().as_ptr();
    // SAFETY: see above.
    let made = unsafe { memory(frame) }.frame.buffer().export(flags, owner);
    made.map_or_else(|error| error.to_ptr(), NonNull::as_ptr)
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_accepts(
    core: *const c_void,
    dma: u64,
    bytes: u64,
) -> bool {
    // SAFETY: see above.
    unsafe { video(core) }.session.limits.accepts(dma, bytes)
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_claim(core: *const c_void) -> c_int {
    // SAFETY: see above.
    errno(unsafe { video(core) }.claim())
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_let_go(core: *const c_void) {
    // SAFETY: see above.
    unsafe { video(core) }.let_go();
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_queue(
    core: *const c_void,
    vb: *mut c_void,
    index: u32,
    dma: u64,
    bytes: u64,
) {
    // SAFETY: see above; videobuf2 queues this buffer, so it is not null.
    let (video, buffer) = unsafe { (video(core), VideoBuffer::new(NonNull::new_unchecked(vb))) };
    let frame = Extent { dma, length: bytes };
    video.queue(buffer, index, frame);
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_start(core: *const c_void) -> c_int {
    // SAFETY: see above.
    errno(unsafe { video(core) }.start())
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_stop(core: *const c_void) {
    // SAFETY: see above.
    unsafe { video(core) }.stop();
}

#[no_mangle]
unsafe extern "C" fn landfall_capture_core_release(core: *mut c_void) {
    // SAFETY: see above; nobody uses it again.
    drop(unsafe { <Arc<Video> as ForeignOwnable>::from_foreign(core.cast()) });
}
