// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is used of QEMU's plugin interface, version 7, declared from its documentation (`docs/devel/tcg-plugins.rst`,
//! "Plugin API") and by what the program does with its arguments: no package has the header, and nothing else of QEMU's is
//! needed. Besides, what the C library of any QEMU has.

use core::ffi::{c_char, c_int, c_uint, c_void};

/// The version of the interface that this is: QEMU refuses a plugin whose version it does not have.
pub(super) const VERSION: c_int = 7;

pub(super) type PluginId = u64;
pub(super) type MemInfo = u32;

/// Things of QEMU's that are only pointed at.
#[repr(C)]
pub(super) struct Opaque {
    _private: [u8; 0],
}

#[repr(C)]
pub(super) struct Info {
    pub(super) target: *const c_char,
    pub(super) min: c_int,
    pub(super) cur: c_int,
    pub(super) system: bool,
    pub(super) smp: c_int,
    pub(super) max: c_int,
}

/// A value of up to 16 bytes; `kind`: 0 is one byte, 3 are eight, 4 are sixteen.
#[repr(C)]
pub(super) struct MemValue {
    pub(super) kind: c_int,
    pub(super) data: [u64; 2],
}

/// GLib's arrays, as far as they are read.
#[repr(C)]
pub(super) struct Array {
    pub(super) data: *mut u8,
    pub(super) len: c_uint,
}

#[repr(C)]
pub(super) struct Register {
    pub(super) handle: *mut Opaque,
    pub(super) name: *const c_char,
    pub(super) feature: *const c_char,
    pub(super) readonly: bool,
}

pub(super) type TranslateFn = unsafe extern "C" fn(*mut Opaque, *mut c_void);
pub(super) type MemFn = unsafe extern "C" fn(c_uint, MemInfo, u64, *mut c_void);
pub(super) type ExecFn = unsafe extern "C" fn(c_uint, *mut c_void);
pub(super) type DiscontinuityFn = unsafe extern "C" fn(c_uint, c_int, u64, u64, *mut c_void);
pub(super) type VcpuFn = unsafe extern "C" fn(c_uint, *mut c_void);

/// A callback reads registers.
pub(super) const READ_REGISTERS: c_int = 1;
/// A callback reads none.
pub(super) const NO_REGISTERS: c_int = 0;
/// A CPU went somewhere else: it took an interrupt.
pub(super) const INTERRUPT: c_int = 1;
/// A callback is for loads and stores.
pub(super) const READS_AND_WRITES: c_int = 3;

unsafe extern "C" {
    pub(super) fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: PluginId,
        f: TranslateFn,
        data: *mut c_void,
    );
    pub(super) fn qemu_plugin_register_vcpu_init_cb(id: PluginId, f: VcpuFn, data: *mut c_void);
    pub(super) fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut Opaque,
        f: MemFn,
        flags: c_int,
        rw: c_int,
        data: *mut c_void,
    );
    pub(super) fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut Opaque,
        f: ExecFn,
        flags: c_int,
        data: *mut c_void,
    );
    pub(super) fn qemu_plugin_register_vcpu_discon_cb(
        id: PluginId,
        kind: c_int,
        f: DiscontinuityFn,
        data: *mut c_void,
    );
    pub(super) fn qemu_plugin_tb_n_insns(tb: *const Opaque) -> usize;
    pub(super) fn qemu_plugin_tb_get_insn(tb: *const Opaque, at: usize) -> *mut Opaque;
    pub(super) fn qemu_plugin_insn_vaddr(insn: *const Opaque) -> u64;
    pub(super) fn qemu_plugin_insn_data(
        insn: *const Opaque,
        into: *mut c_void,
        size: usize,
    ) -> usize;
    pub(super) fn qemu_plugin_mem_size_shift(info: MemInfo) -> c_uint;
    pub(super) fn qemu_plugin_mem_is_store(info: MemInfo) -> bool;
    pub(super) fn qemu_plugin_mem_get_value(info: MemInfo) -> MemValue;
    pub(super) fn qemu_plugin_get_hwaddr(info: MemInfo, vaddr: u64) -> *mut Opaque;
    pub(super) fn qemu_plugin_hwaddr_is_io(address: *const Opaque) -> bool;
    pub(super) fn qemu_plugin_hwaddr_phys_addr(address: *const Opaque) -> u64;
    pub(super) fn qemu_plugin_hwaddr_device_name(address: *const Opaque) -> *const c_char;
    pub(super) fn qemu_plugin_get_registers() -> *mut Array;
    pub(super) fn qemu_plugin_read_register(handle: *mut Opaque, into: *mut Array) -> bool;
    pub(super) fn qemu_plugin_read_memory_vaddr(
        address: u64,
        into: *mut Array,
        length: usize,
    ) -> bool;

    // GLib's, of which QEMU's own copy is used.
    pub(super) fn g_byte_array_new() -> *mut Array;
    pub(super) fn g_byte_array_set_size(array: *mut Array, length: c_uint) -> *mut Array;
    pub(super) fn g_byte_array_unref(array: *mut Array);

    // The C library's, all older than 2.18.
    pub(super) fn malloc(size: usize) -> *mut c_void;
    pub(super) fn calloc(count: usize, size: usize) -> *mut c_void;
    pub(super) fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
    pub(super) fn free(memory: *mut c_void);
    pub(super) fn abort() -> !;
    pub(super) fn _exit(status: c_int) -> !;
    pub(super) fn write(fd: c_int, from: *const c_void, size: usize) -> isize;
    pub(super) fn mmap(
        at: *mut c_void,
        size: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    pub(super) fn clock_gettime(clock: c_int, into: *mut [i64; 2]) -> c_int;
    pub(super) fn pthread_mutex_lock(mutex: *mut c_void) -> c_int;
    pub(super) fn pthread_mutex_unlock(mutex: *mut c_void) -> c_int;
}
