// SPDX-License-Identifier: MIT OR Apache-2.0

//! What QEMU calls. Its threads do, one for each of the guest's CPUs: what they share is behind one lock, which is taken
//! only for the witness's stores and for accesses to pages of which a card has a part.
//!
//! Built without `std`, so that it needs nothing of the C library that is younger than any QEMU with this interface, and no other
//! library than QEMU's own.
#![expect(
    unsafe_code,
    reason = "QEMU's interface is C's, and so is the C library's, which is all there is here"
)]

mod api;
mod gate;
mod order;

use alloc::sync::Arc;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::doorbell::Doorbell;
use crate::echo::{COMMIT, Event, MODULE, PAGE, PLACE, PLACES, Words};
use crate::order::Order;
use crate::pages::{NO_READ, NO_WRITE, Pages};
use crate::watch::{Access, Sink, Watch};
use crate::wire::{self, Found, STACK};
use api::{Array, Info, MemInfo, Opaque, PluginId, Register};
use order::Stamped;

/// QEMU looks at it before it calls anything.
#[unsafe(no_mangle)]
#[used]
static qemu_plugin_version: c_int = api::VERSION;

/// The C library's memory.
struct Memory;

// SAFETY: malloc and its kin give what they are asked for, or null, aligned to 16 bytes; larger alignments are asked of aligned_alloc,
// whose size must be a multiple of them.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size().next_multiple_of(layout.align());
        // SAFETY: see above.
        let memory = unsafe {
            match layout.align() {
                ..=16 => api::malloc(size),
                align => api::aligned_alloc(align, size),
            }
        };
        memory.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 16 {
            // SAFETY: the caller's promise, and that much was given.
            return unsafe {
                let memory = self.alloc(layout);
                if !memory.is_null() {
                    memory.write_bytes(0, layout.size());
                }
                memory
            };
        }
        // SAFETY: see above.
        unsafe { api::calloc(1, layout.size()).cast() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: it is of one of those above.
        unsafe { api::free(memory.cast()) }
    }
}

#[global_allocator]
static MEMORY: Memory = Memory;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it takes nothing. QEMU ends by a signal, which is told as that.
    unsafe { api::abort() }
}

/// What `core`, as it comes compiled, names in its tables for unwinding, which nobody does here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// A file that is shared with the harness, mapped; see [`wire`] and [`stamps`](crate::stamps).
#[derive(Clone, Copy)]
struct Shared(*mut u8);

// SAFETY: what it points at is mapped for as long as QEMU runs, and is touched by whole words, or under the lock.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: `at` is one of wire's, a multiple of 8 within the mapping, which is aligned to a page.
        unsafe { &*self.0.add(at).cast::<AtomicU64>() }
    }

    /// Writes a finding, its two ends so that a reader sees whether it is whole: the last before all, the first behind all.
    fn put(&self, at: usize, bytes: &[u8; wire::FOUND]) {
        let words = bytes.as_chunks::<8>().0;
        let last = words.len() - 1;
        let word = |index: usize| u64::from_le_bytes(words[index]);
        self.word(at).store(0, Ordering::SeqCst);
        self.word(at + 8 * last).store(word(last), Ordering::SeqCst);
        for index in 1..last {
            self.word(at + 8 * index)
                .store(word(index), Ordering::Relaxed);
        }
        self.word(at).store(word(0), Ordering::SeqCst);
    }
}

/// Findings, on their way into the file.
struct Out {
    shared: Shared,
    mark: u32,
}

impl Sink for Out {
    fn open(&mut self, at: usize, found: Option<&Found>) {
        self.mark = self.mark.wrapping_add(1);
        let mark = self.mark;
        let bytes = found.map_or([0; wire::FOUND], |found| found.to_bytes(mark));
        self.shared.put(wire::OPEN_AT + at * wire::FOUND, &bytes);
    }

    fn settled(&mut self, found: &Found) {
        let told = self.shared.word(wire::TOLD_AT).load(Ordering::Relaxed);
        let taken = self.shared.word(wire::TAKEN_AT).load(Ordering::Acquire);
        if told.wrapping_sub(taken) >= wire::RING as u64 {
            return self.lost();
        }
        let place = (told % wire::RING as u64) as usize;
        let at = wire::RING_AT + place * wire::FOUND;
        self.shared.put(at, &found.to_bytes(0));
        self.shared
            .word(wire::TOLD_AT)
            .store(told.wrapping_add(1), Ordering::Release);
    }

    fn lost(&mut self) {
        self.shared
            .word(wire::LOST_AT)
            .fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        const MONOTONIC: c_int = 1;
        let mut time = [0; 2];
        // SAFETY: it writes the two words.
        unsafe { api::clock_gettime(MONOTONIC, &raw mut time) };
        time[0] as u64 * 1_000_000_000 + time[1] as u64
    }
}

/// What is behind the lock.
struct Inner {
    watch: Watch<Out>,
    order: Option<Order<Stamped>>,
    doorbell: Doorbell,
    /// The echo, as the guest wrote it.
    places: [Words; PLACES],
}

/// All there is.
struct Plugin {
    shared: Shared,
    pages: Arc<Pages>,
    lock: UnsafeCell<[u64; 16]>,
    inner: UnsafeCell<Inner>,
    codes: [(u64, u64); wire::CODES],
    /// When the cards wrote what, if orders are looked at.
    stamped: Option<Stamped>,
}

// SAFETY: `inner` is reached through `with` alone, which holds the lock; all else is atomic or never changes.
unsafe impl Sync for Plugin {}

/// Set once, before any CPU runs.
static PLUGIN: core::sync::atomic::AtomicPtr<Plugin> =
    core::sync::atomic::AtomicPtr::new(null_mut());
/// A CPU's stack pointer, by its number.
static STACK_POINTERS: [core::sync::atomic::AtomicPtr<Opaque>; 64] =
    [const { core::sync::atomic::AtomicPtr::new(null_mut()) }; 64];

impl Plugin {
    fn get() -> Option<&'static Self> {
        // SAFETY: null, or what `install` leaked.
        unsafe { PLUGIN.load(Ordering::Acquire).as_ref() }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Inner) -> R) -> R {
        // SAFETY: a mutex of all zeroes is one that is free (PTHREAD_MUTEX_INITIALIZER), and it does not move. While it is
        // held nobody else has `inner`.
        unsafe {
            api::pthread_mutex_lock(self.lock.get().cast());
            let result = work(&mut *self.inner.get());
            api::pthread_mutex_unlock(self.lock.get().cast());
            result
        }
    }

    /// The guest stored to the echo.
    fn echoed(&self, offset: u64, value: u64) {
        let (place, word) = ((offset / PLACE) as usize, (offset % PLACE / 8) as usize);
        self.with(|inner| {
            let Some(words) = inner.places.get_mut(place) else {
                return;
            };
            words[word] = value;
            let words = *words;
            if (place, word) == (1, MODULE) {
                order::module(inner.places[0][MODULE], value);
            }
            if word == COMMIT {
                let event = Event::of(&words);
                if !inner.watch.event(&event) {
                    self.shared.word(wire::ECHO_AT).store(0, Ordering::Release);
                }
            }
        });
    }

    fn accessed(&self, cpu: u32, store: bool, pc: u64, phys: u64, size: u64) {
        let what = if store { NO_WRITE } else { NO_READ };
        if self.pages.get(phys) & what == 0 {
            return;
        }
        let access = Access {
            cpu,
            store,
            pc,
            phys,
            size,
        };
        self.with(|inner| inner.watch.access(&access, || self.stack(cpu)));
    }

    fn is_code(&self, address: u64) -> bool {
        let within = |&(from, to): &(u64, u64)| from <= address && address < to;
        self.codes.iter().any(within)
    }

    /// A CPU's stack pointer; 0: it is not known. To be called in its thread.
    fn stack_pointer(cpu: u32) -> u64 {
        let register = STACK_POINTERS.get(cpu as usize);
        let register = register.map_or(null_mut(), |register| register.load(Ordering::Acquire));
        if register.is_null() {
            return 0;
        }
        // SAFETY: the register is one of QEMU's, of this CPU, which runs this callback; the array is GLib's and ours alone.
        unsafe {
            let bytes = api::g_byte_array_new();
            let top = match api::qemu_plugin_read_register(register, bytes) {
                true => words_of(bytes).next().unwrap_or(0),
                false => 0,
            };
            api::g_byte_array_unref(bytes);
            top
        }
    }

    /// Words of a CPU's stack that lie in the kernel's code, from its top.
    fn stack(&self, cpu: u32) -> [u64; STACK] {
        const PIECE: usize = 512;
        let mut words = [0; STACK];
        let top = Self::stack_pointer(cpu);
        let mut count = 0;
        // SAFETY: this CPU runs this callback; the array is GLib's and ours alone.
        unsafe {
            let bytes = api::g_byte_array_new();
            for piece in 0..4 {
                let at = top.wrapping_add(piece * PIECE as u64);
                api::g_byte_array_set_size(bytes, 0);
                if top == 0 || !api::qemu_plugin_read_memory_vaddr(at, bytes, PIECE) {
                    break;
                }
                for word in words_of(bytes).filter(|word| self.is_code(*word)) {
                    if count < STACK {
                        words[count] = word;
                        count += 1;
                    }
                }
            }
            api::g_byte_array_unref(bytes);
        }
        words
    }
}

/// The words that an array holds.
///
/// # Safety
/// It is one of GLib's, which nobody changes meanwhile.
unsafe fn words_of<'a>(array: *mut Array) -> impl Iterator<Item = u64> + 'a {
    // SAFETY: `len` bytes are at `data`, or none.
    let bytes = unsafe {
        match (*array).data.is_null() {
            true => &[],
            false => core::slice::from_raw_parts((*array).data, (*array).len as usize),
        }
    };
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
}

unsafe extern "C" fn on_access(cpu: c_uint, info: MemInfo, vaddr: u64, pc: *mut c_void) {
    // SAFETY: QEMU's promise, handed on.
    unsafe { access(cpu, info, vaddr, pc as u64, false) }
}

/// The same for a load behind which all others come.
unsafe extern "C" fn on_acquire(cpu: c_uint, info: MemInfo, vaddr: u64, pc: *mut c_void) {
    // SAFETY: QEMU's promise, handed on.
    unsafe { access(cpu, info, vaddr, pc as u64, true) }
}

/// # Safety
/// QEMU calls this for an access of this CPU, and what it gives of it holds until the callback ends.
unsafe fn access(cpu: u32, info: MemInfo, vaddr: u64, pc: u64, acquires: bool) {
    let Some(plugin) = Plugin::get() else {
        return;
    };
    let echo = plugin.shared.word(wire::ECHO_AT).load(Ordering::Relaxed);
    if echo == 0 {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let address = api::qemu_plugin_get_hwaddr(info, vaddr);
        if address.is_null() {
            return;
        }
        let store = api::qemu_plugin_mem_is_store(info);
        let phys = api::qemu_plugin_hwaddr_phys_addr(address);
        if api::qemu_plugin_hwaddr_is_io(address) {
            if plugin.orders(pc) && is_cards(address) {
                plugin.register_accessed(cpu, store, pc, phys);
            }
            return;
        }
        if phys / PAGE == echo / PAGE {
            if store {
                let value = api::qemu_plugin_mem_get_value(info);
                plugin.echoed(phys % PAGE, value.data[0]);
            }
            return;
        }
        let size = 1_u64 << (api::qemu_plugin_mem_size_shift(info) & 15);
        let here = size.min(PAGE - phys % PAGE);
        plugin.accessed(cpu, store, pc, phys, here);
        plugin.ordered(cpu, store, pc, phys, here, acquires);
        if here < size {
            // Its end lies in another page, which may be anywhere.
            let next = api::qemu_plugin_get_hwaddr(info, vaddr.wrapping_add(here));
            if !next.is_null() && !api::qemu_plugin_hwaddr_is_io(next) && store {
                let phys = api::qemu_plugin_hwaddr_phys_addr(next);
                plugin.accessed(cpu, store, pc, phys, size - here);
            }
        }
    }
}

/// Whether registers are a card's: QEMU calls such a region by the card's socket.
///
/// # Safety
/// `address` is what QEMU gave for an access, in that callback.
unsafe fn is_cards(address: *const Opaque) -> bool {
    // SAFETY: the caller's promise; the name is null or a string of QEMU's.
    unsafe {
        let name = api::qemu_plugin_hwaddr_device_name(address);
        !name.is_null() && CStr::from_ptr(name).to_bytes().starts_with(b"vfio-user")
    }
}

unsafe extern "C" fn on_translation(block: *mut Opaque, _: *mut c_void) {
    let Some(plugin) = Plugin::get() else {
        return;
    };
    // SAFETY: QEMU calls this for a block, whose instructions are there until it returns.
    unsafe {
        for at in 0..api::qemu_plugin_tb_n_insns(block) {
            let insn = api::qemu_plugin_tb_get_insn(block, at);
            let pc = api::qemu_plugin_insn_vaddr(insn);
            let mut access: api::MemFn = on_access;
            if let Some(stamped) = plugin.stamped.as_ref().filter(|_| pc >> 63 != 0)
                && order::translated(stamped, insn)
            {
                access = on_acquire;
            }
            api::qemu_plugin_register_vcpu_mem_cb(
                insn,
                access,
                api::READ_REGISTERS,
                api::READS_AND_WRITES,
                pc as *mut c_void,
            );
        }
    }
}

unsafe extern "C" fn on_cpu(cpu: c_uint, _: *mut c_void) {
    const NAMES: [&CStr; 2] = [c"rsp", c"sp"];
    // SAFETY: QEMU calls this in the CPU's thread, where its registers can be asked for; the array is of `Register`s.
    unsafe {
        let registers = api::qemu_plugin_get_registers();
        if registers.is_null() {
            return;
        }
        let all = core::slice::from_raw_parts(
            (*registers).data.cast::<Register>(),
            (*registers).len as usize,
        );
        let found = all
            .iter()
            .find(|register| NAMES.contains(&CStr::from_ptr(register.name)));
        if let (Some(found), Some(place)) = (found, STACK_POINTERS.get(cpu as usize)) {
            place.store(found.handle, Ordering::Release);
        }
    }
}

/// The number behind `name=` among QEMU's arguments.
///
/// # Safety
/// `argv` has `argc` strings.
unsafe fn argument(argc: c_int, argv: *const *const c_char, name: &[u8]) -> Option<u64> {
    (0..usize::try_from(argc).unwrap_or(0)).find_map(|at| {
        // SAFETY: the caller's promise.
        let word = unsafe { CStr::from_ptr(*argv.add(at)) }.to_bytes();
        let digits = word.strip_prefix(name)?.strip_prefix(b"=")?;
        core::str::from_utf8(digits).ok()?.parse().ok()
    })
}

/// QEMU's call when it has loaded this. `fd=N`: the shared file; `stamps=N`: that with the stamps. `probe=1`: QEMU took this plugin, which is all that is asked.
///
/// # Safety
/// QEMU's promise: `info` is one, `argv` has `argc` strings.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    _info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    const SHARED: c_int = 1;
    const READ_WRITE: c_int = 3;
    // SAFETY: as told above; the file is as large as wire says, or its magic is not read as that.
    unsafe {
        if argument(argc, argv, b"probe").is_some() {
            let said = b"landfall: taken\n";
            api::write(1, said.as_ptr().cast(), said.len());
            api::_exit(0);
        }
        let Some(fd) = argument(argc, argv, b"fd") else {
            return -1;
        };
        let mapped = api::mmap(null_mut(), wire::SIZE, READ_WRITE, SHARED, fd as c_int, 0);
        if mapped as isize == -1 {
            return -1;
        }
        let shared = Shared(mapped.cast());
        if shared.word(wire::MAGIC_AT).load(Ordering::Acquire) != wire::MAGIC {
            return -1;
        }
        let limit = shared.word(wire::LIMIT_AT).load(Ordering::Relaxed);
        let flags = shared.word(wire::FLAGS_AT).load(Ordering::Relaxed);
        let code = |index: usize| {
            let word = |half| shared.word(wire::CODE_AT + 16 * index + half);
            let get = |half| word(half).load(Ordering::Relaxed);
            (get(0), get(8))
        };
        let stamped = match argument(argc, argv, b"stamps") {
            Some(fd) => Stamped::map(fd as c_int),
            None => None,
        };
        let out = Out { shared, mark: 0 };
        let watch = Watch::new(limit, flags & wire::SCATTERED != 0, out);
        let plugin = alloc::boxed::Box::new(Plugin {
            shared,
            pages: Arc::clone(&watch.pages),
            lock: UnsafeCell::new([0; 16]),
            inner: UnsafeCell::new(Inner {
                watch,
                order: stamped.map(Order::new),
                doorbell: Doorbell::default(),
                places: [[0; 8]; PLACES],
            }),
            codes: core::array::from_fn(code),
            stamped,
        });
        if stamped.is_some() {
            order::listen(id);
        }
        PLUGIN.store(alloc::boxed::Box::into_raw(plugin), Ordering::Release);
        api::qemu_plugin_register_vcpu_init_cb(id, on_cpu, null_mut());
        if !gate::install(id, shared) {
            api::qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation, null_mut());
        }
    }
    0
}
