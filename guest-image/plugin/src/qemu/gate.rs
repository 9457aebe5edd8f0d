// SPDX-License-Identifier: MIT OR Apache-2.0

//! What QEMU calls for the [gate](crate::gate): after each access of the kernel's, or a module's, to a device, in the CPU's thread and
//! without QEMU's lock; and when a CPU has nothing to do, with that lock.

use core::ffi::{c_int, c_uint, c_void};
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use super::api::{self, MemInfo, Opaque, PluginId, VcpuFn};
use super::{Plugin, Shared, on_translation};
use crate::gate::{AFTER_ACCESS, ALONE, ARMED_AT, IDLE, SOCKET_AT};
use crate::wire;

/// `EINTR` of Linux, on every architecture.
const INTERRUPTED: c_int = 4;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_idle_cb(id: PluginId, f: VcpuFn, data: *mut c_void);
    // The C library's.
    fn read(fd: c_int, into: *mut c_void, size: usize) -> isize;
    fn __errno_location() -> *mut c_int;
}

/// Has QEMU call what is here. False: there is to be no gate.
pub(super) fn install(id: PluginId, shared: Shared) -> bool {
    if shared.word(SOCKET_AT).load(Ordering::Acquire) == 0 {
        return false;
    }
    // SAFETY: they are of the kinds that QEMU takes, and are there as long as it runs.
    unsafe {
        api::qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation_too, null_mut());
        qemu_plugin_register_vcpu_idle_cb(id, on_idle, null_mut());
    }
    true
}

/// Asks, and waits for the answer, if that is wanted now.
fn ask(what: u8) {
    let Some(shared) = Plugin::get().map(|plugin| plugin.shared) else {
        return;
    };
    if shared.word(ARMED_AT).load(Ordering::Acquire) == 0 {
        return;
    }
    let Some(fd) = shared
        .word(SOCKET_AT)
        .load(Ordering::Acquire)
        .checked_sub(1)
    else {
        return;
    };
    // SAFETY: each has a byte to read from or to write to; the socket has a time limit of its own, which ends the call.
    let answered = unsafe {
        let (mut question, mut answer) = (what, 0_u8);
        again(|| api::write(fd as c_int, (&raw mut question).cast(), 1))
            && again(|| read(fd as c_int, (&raw mut answer).cast(), 1))
    };
    if !answered {
        shared.word(SOCKET_AT).store(0, Ordering::Release);
    }
}

/// Does a call of the C library's until no signal interrupts it. Whether it moved its byte.
fn again(mut call: impl FnMut() -> isize) -> bool {
    loop {
        match call() {
            1 => return true,
            // SAFETY: it gives the place of this thread's `errno`.
            -1 if unsafe { *__errno_location() } == INTERRUPTED => {}
            _ => return false,
        }
    }
}

unsafe extern "C" fn on_access(_: c_uint, info: MemInfo, vaddr: u64, _: *mut c_void) {
    let armed = Plugin::get().map(|plugin| plugin.shared.word(ARMED_AT).load(Ordering::Relaxed));
    if armed.is_none_or(|armed| armed == 0) {
        return;
    }
    // SAFETY: QEMU calls this for an access of this CPU, and what it gives of it holds until the callback ends.
    let device = unsafe {
        let address = api::qemu_plugin_get_hwaddr(info, vaddr);
        !address.is_null() && api::qemu_plugin_hwaddr_is_io(address)
    };
    if device {
        ask(AFTER_ACCESS);
    }
}

unsafe extern "C" fn on_idle(_: c_uint, _: *mut c_void) {
    ask(IDLE);
}

unsafe extern "C" fn on_translation_too(block: *mut Opaque, data: *mut c_void) {
    let flags = Plugin::get().map(|plugin| plugin.shared.word(wire::FLAGS_AT));
    let flags = flags.map_or(ALONE, |flags| flags.load(Ordering::Relaxed));
    // SAFETY: QEMU calls this for a block, whose instructions are there until it returns.
    unsafe {
        if flags & ALONE == 0 {
            on_translation(block, data);
        }
        for at in 0..api::qemu_plugin_tb_n_insns(block) {
            let insn = api::qemu_plugin_tb_get_insn(block, at);
            // The kernel has the upper half of all addresses; a program of the guest's reaches no device by itself.
            if api::qemu_plugin_insn_vaddr(insn) >> 63 != 0 {
                api::qemu_plugin_register_vcpu_mem_cb(
                    insn,
                    on_access,
                    api::NO_REGISTERS,
                    api::READS_AND_WRITES,
                    null_mut(),
                );
            }
        }
    }
}
