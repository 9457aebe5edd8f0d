// SPDX-License-Identifier: MIT OR Apache-2.0

//! What QEMU calls for the order of loads: barriers, interrupts, registers that are read.

use core::ffi::{c_int, c_uint, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::api::{self, Opaque, PluginId};
use super::{Out, Plugin, Shared};
use crate::barrier::{self, Barrier};
use crate::doorbell::{Doorbell, Store};
use crate::echo::PAGE;
use crate::order::{CPUS, Load, Order, Stamps};
use crate::pages::COHERENT;
use crate::stamps::{self, Kind, Stamp};
use crate::watch::{Sink as _, Watch};
use crate::wire::{self, Unordered};

/// Which CPUs have found out, or stored, something that is not in order: only then a barrier matters to them, and what else they load, or
/// which register they write.
static OPEN: [[AtomicBool; 2]; CPUS] = [const { [const { AtomicBool::new(false) }; 2] }; CPUS];
/// Which of the two: it has found out something, or stored something.
const LOADS: usize = 0;
const STORES: usize = 1;
/// Code of modules with marks: where it begins, and where it ends.
static MODULES: [[AtomicU64; 2]; stamps::MODULES] =
    [const { [const { AtomicU64::new(0) }; 2] }; stamps::MODULES];

fn is_open(cpu: u32, which: usize) -> bool {
    let open = OPEN.get(cpu as usize).and_then(|both| both.get(which));
    open.is_some_and(|open| open.load(Ordering::Relaxed))
}

/// The file of stamps, mapped.
#[derive(Clone, Copy)]
pub(super) struct Stamped {
    file: Shared,
    kind: Kind,
    /// RAM: first physical address, first after it, where it begins in the memory file.
    rams: [[u64; 3]; stamps::RAMS],
    /// Where the stamps of single words begin.
    words_at: u64,
}

impl Stamped {
    /// Maps it; `None`: it cannot be, or no order is to be looked at.
    ///
    /// # Safety
    /// The descriptor is one of that file, which nobody makes shorter.
    pub(super) unsafe fn map(fd: c_int) -> Option<Self> {
        const SHARED: c_int = 1;
        const READ_WRITE: c_int = 3;
        // SAFETY: the first page is always there, and says how long the rest is.
        let (head, whole) = unsafe {
            let head = api::mmap(null_mut(), stamps::PAGES_AT, READ_WRITE, SHARED, fd, 0);
            if head as isize == -1 {
                return None;
            }
            let head = Shared(head.cast());
            let word = |at: usize| head.word(at).load(Ordering::Acquire);
            if word(stamps::MAGIC_AT) != stamps::MAGIC {
                return None;
            }
            let ram = |index: usize| {
                core::array::from_fn(|word_of| word(stamps::RAMS_AT + 24 * index + 8 * word_of))
            };
            let rams: [[u64; 3]; stamps::RAMS] = core::array::from_fn(ram);
            let size = |[from, to, _]: [u64; 3]| to.saturating_sub(from);
            let memory: u64 = rams.iter().map(|ram| size(*ram)).sum();
            let whole = usize::try_from(stamps::size(memory)).ok()?;
            let all = api::mmap(null_mut(), whole, READ_WRITE, SHARED, fd, 0);
            if all as isize == -1 {
                return None;
            }
            (
                (rams, memory, Kind::of(word(stamps::KIND_AT))),
                Shared(all.cast()),
            )
        };
        let (rams, memory, kind) = head;
        (kind != Kind::None).then_some(Self {
            file: whole,
            kind,
            rams,
            words_at: stamps::words_at(memory),
        })
    }

    /// Where memory of this physical address is in the memory file.
    fn offset(&self, phys: u64) -> Option<u64> {
        let holds = |[from, to, _]: &&[u64; 3]| *from <= phys && phys < *to;
        let [from, _, offset] = self.rams.iter().find(holds)?;
        Some(phys - from + offset)
    }

    fn at(&self, at: u64) -> &AtomicU64 {
        self.file.word(at as usize)
    }

    /// The CPU stored there: what the card wrote is not there any more.
    fn forget(&self, phys: u64) {
        if let Some(offset) = self.offset(phys) {
            // A page's stamp stays: it is older than what is read before the next barrier, or a miss.
            self.at(self.words_at + offset / 8 * 8)
                .store(0, Ordering::Relaxed);
        }
    }
}

impl Stamps for Stamped {
    fn now(&self) -> u32 {
        self.at(stamps::CLOCK_AT as u64).load(Ordering::Acquire) as u32
    }

    fn interrupted(&self, card: u32) -> u32 {
        let at = stamps::INTERRUPTS_AT as u64 + 8 * u64::from(card & 63);
        self.at(at).load(Ordering::Acquire) as u32
    }

    fn of(&self, phys: u64) -> Stamp {
        let Some(offset) = self.offset(phys) else {
            return Stamp::default();
        };
        let page = self.at(stamps::PAGES_AT as u64 + offset / PAGE * 8);
        let word = self.at(self.words_at + offset / 8 * 8);
        let [page, word] = [page, word].map(|at| Stamp::of(at.load(Ordering::Acquire)));
        match page.clock > word.clock {
            true => page,
            false => word,
        }
    }
}

/// Code of a module with marks comes, or, with no end, goes.
pub(super) fn module(from: u64, to: u64) {
    let place = MODULES.iter().find(|[first, _]| {
        let first = first.load(Ordering::Acquire);
        first == if to == 0 { from } else { 0 }
    });
    if let Some([first, end]) = place {
        end.store(to, Ordering::Release);
        first.store(if to == 0 { 0 } else { from }, Ordering::Release);
    }
}

impl Plugin {
    /// Whether it is known which barriers code has.
    pub(super) fn orders(&self, pc: u64) -> bool {
        let Some(stamped) = self.stamped.as_ref().filter(|_| pc >> 63 != 0) else {
            return false;
        };
        let within = |from: u64, to: u64| from != 0 && from <= pc && pc < to;
        stamped.kind != Kind::Marks
            || (MODULES.iter())
                .any(|[from, to]| within(from.load(Ordering::Acquire), to.load(Ordering::Acquire)))
            || (0..stamps::MODULES).any(|index| {
                let at = (stamps::MODULES_AT + 16 * index) as u64;
                let word = |at| stamped.at(at).load(Ordering::Relaxed);
                within(word(at), word(at + 8))
            })
    }

    fn with_order(
        &self,
        cpu: u32,
        work: impl FnOnce(&mut Order<Stamped>, &mut Doorbell, &Watch<Out>),
    ) {
        self.with(|inner| {
            let Some(order) = &mut inner.order else {
                return;
            };
            work(order, &mut inner.doorbell, &inner.watch);
            if let Some([loads, stores]) = OPEN.get(cpu as usize) {
                loads.store(order.is_open(cpu), Ordering::Relaxed);
                stores.store(inner.doorbell.is_open(cpu), Ordering::Relaxed);
            }
        });
    }

    /// A CPU accessed a register of a card's.
    pub(super) fn register_accessed(&self, cpu: u32, store: bool, pc: u64, phys: u64) {
        if store && !is_open(cpu, STORES) {
            return;
        }
        let load = Load {
            cpu,
            pc,
            phys,
            size: 8,
            stack: Self::stack_pointer(cpu),
            polls: false,
            acquires: false,
            now_ns: 0,
        };
        self.with_order(cpu, |order, doorbell, watch| {
            if !store {
                return order.register(&load);
            }
            for unordered in doorbell.rung(cpu, pc, phys) {
                self.tell(unordered, watch);
            }
        });
    }

    /// A CPU accessed memory: is it in order?
    pub(super) fn ordered(
        &self,
        cpu: u32,
        store: bool,
        pc: u64,
        phys: u64,
        size: u64,
        acquires: bool,
    ) {
        let Some(stamped) = self.stamped.as_ref().filter(|_| pc >> 63 != 0) else {
            return;
        };
        let coherent = self.pages.get(phys) & COHERENT != 0;
        if !coherent && !is_open(cpu, LOADS) {
            return;
        }
        let known = coherent && self.orders(pc);
        if store {
            stamped.forget(phys);
        }
        if !known && (store || !is_open(cpu, LOADS)) {
            return;
        }
        if store {
            return self.with_order(cpu, |_, doorbell, watch| {
                doorbell.stored(Store {
                    cpu,
                    pc,
                    phys,
                    size,
                    now_ns: watch.sink().now(),
                });
            });
        }
        let stack = Self::stack_pointer(cpu);
        self.with_order(cpu, |order, _, watch| {
            let load = Load {
                cpu,
                pc,
                phys,
                size,
                stack,
                polls: known,
                acquires,
                now_ns: watch.sink().now(),
            };
            if let Some(unordered) = order.load(&load) {
                self.tell(unordered, watch);
            }
        });
    }
}

impl Plugin {
    /// Tells of accesses that nothing puts in order, and of which lend they are; of a store only if it is of one.
    fn tell(&self, two: Unordered, watch: &Watch<Out>) {
        let stack = self.stack(two.cpu);
        let two = Unordered { stack, ..two };
        match watch.lend_at(two.phys) {
            Some(lend) => self.shared.unordered(&Unordered {
                card: lend.card,
                address: lend.bus_of(two.phys),
                lend: lend.bus,
                lend_number: lend.number,
                ..two
            }),
            None if !two.store => self.shared.unordered(&two),
            None => {}
        }
    }
}

impl Shared {
    /// Puts accesses that nothing puts in order into their ring.
    fn unordered(&self, unordered: &Unordered) {
        let told = self.word(wire::UNORDERED_TOLD_AT).load(Ordering::Relaxed);
        let taken = self.word(wire::UNORDERED_TAKEN_AT).load(Ordering::Acquire);
        if told.wrapping_sub(taken) >= wire::UNORDERED as u64 {
            let lost = self.word(wire::UNORDERED_LOST_AT);
            lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let place = (told % wire::UNORDERED as u64) as usize;
        self.put(
            wire::UNORDERED_AT + place * wire::FOUND,
            &unordered.to_bytes(),
        );
        self.word(wire::UNORDERED_TOLD_AT)
            .store(told.wrapping_add(1), Ordering::Release);
    }
}

/// Barriers that are no accesses by themselves.
const BARRIERS: [Barrier; 4] = [
    Barrier::Loads,
    Barrier::Stores,
    Barrier::Both,
    Barrier::Cpus,
];

unsafe extern "C" fn on_barrier(cpu: c_uint, what: *mut c_void) {
    let open = is_open(cpu, LOADS) || is_open(cpu, STORES);
    let Some(plugin) = Plugin::get().filter(|_| open) else {
        return;
    };
    let barrier = BARRIERS.get(what as usize).copied();
    plugin.with_order(cpu, |order, doorbell, _| {
        let Some(barrier) = barrier else {
            return;
        };
        order.barrier(cpu, barrier);
        if barrier.orders_stores() {
            doorbell.barrier(cpu);
        }
    });
}

unsafe extern "C" fn on_interrupt(cpu: c_uint, _: c_int, _: u64, _: u64, _: *mut c_void) {
    if let Some(plugin) = Plugin::get() {
        plugin.with_order(cpu, |order, _, _| order.interrupt(cpu));
    }
}

/// Listens for what the CPUs are interrupted by.
///
/// # Safety
/// The plugin is being installed.
pub(super) unsafe fn listen(id: PluginId) {
    // SAFETY: the caller's promise.
    unsafe {
        api::qemu_plugin_register_vcpu_discon_cb(id, api::INTERRUPT, on_interrupt, null_mut());
    }
}

/// Looks at an instruction that is being translated, and listens if it is a barrier. True: it is a load behind which all others
/// come.
///
/// # Safety
/// It is of the block that QEMU has translated, in that callback.
pub(super) unsafe fn translated(stamped: &Stamped, insn: *mut Opaque) -> bool {
    let mut bytes = [0; 8];
    // SAFETY: the caller's promise; no more bytes are written than there is room for.
    let count = unsafe { api::qemu_plugin_insn_data(insn, bytes.as_mut_ptr().cast(), bytes.len()) };
    let bytes = bytes.get(..count.min(bytes.len())).unwrap_or_default();
    let Some(barrier) = barrier::of(stamped.kind, bytes) else {
        return false;
    };
    let Some(what) = BARRIERS.iter().position(|known| *known == barrier) else {
        return true;
    };
    // SAFETY: as above.
    unsafe {
        api::qemu_plugin_register_vcpu_insn_exec_cb(
            insn,
            on_barrier,
            api::NO_REGISTERS,
            what as *mut c_void,
        );
    }
    false
}
