// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interrupts on their way out: the level of INTx, its masking, and the messages.
//!
//! The machine gives a wire for each interrupt it wants (`W`, an event descriptor), and takes it away when
//! it wants none. Whichever kind has wires is in use; MSI-X before MSI before INTx.

use crate::contract::{Identity, InterruptKind, MOST_MSIX, Vector};

/// Something that carries one interrupt to the machine. Must not block.
pub trait Wire: Send {
    /// Signals once.
    fn signal(&self);

    /// Whether the machine has taken all signals.
    fn taken(&self) -> bool {
        true
    }
}

/// The state of all interrupts of one function.
#[derive(Debug)]
pub struct Irqs<W> {
    line: Line<W>,
    msi: Vec<Option<W>>,
    msix: Vec<Option<W>>,
}

impl<W> Default for Irqs<W> {
    fn default() -> Self {
        Self {
            line: Line::default(),
            msi: Vec::new(),
            msix: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Line<W> {
    wire: Option<W>,
    masked: bool,
    /// Signalled, and not unmasked since: the machine masks the line by itself at each signal.
    signalled: bool,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self {
            wire: None,
            masked: false,
            signalled: false,
        }
    }
}

impl<W: Wire> Irqs<W> {
    /// Vectors that a function has for `kind`.
    pub fn vectors(function: &Identity, kind: InterruptKind) -> u32 {
        match kind {
            InterruptKind::Intx => 1,
            InterruptKind::Msi if function.msi == 0 => 0,
            InterruptKind::Msi => function.msi.next_power_of_two().into(),
            InterruptKind::Msix => function.msix.map_or(0, |msix| msix.vectors.into()),
        }
    }

    /// Vectors that the machine gave: all `table` of the table, once it uses that; or as many messages as it allocated;
    /// without either one, the line.
    pub fn given(&self, table: u16) -> u16 {
        match self.kind() {
            Some(InterruptKind::Msix) => table,
            _ => u16::try_from(self.msi.len()).unwrap_or(u16::MAX).max(1),
        }
    }

    /// Whether messages are in use, rather than the line.
    pub fn messages(&self) -> bool {
        self.kind().is_some()
    }

    /// Which messages are in use; `None`: the line.
    pub fn kind(&self) -> Option<InterruptKind> {
        let used = |wires: &[Option<W>]| wires.iter().any(Option::is_some);
        match (used(&self.msix), used(&self.msi)) {
            (true, _) => Some(InterruptKind::Msix),
            (false, true) => Some(InterruptKind::Msi),
            (false, false) => None,
        }
    }

    /// Connects `wires` from vector `start` on; `None` disconnects one.
    pub fn connect(&mut self, kind: InterruptKind, start: usize, wires: Vec<Option<W>>) {
        let wanted = start.saturating_add(wires.len());
        let table = match kind {
            InterruptKind::Intx => {
                if start == 0
                    && let Some(wire) = wires.into_iter().next()
                {
                    self.line = Line {
                        wire,
                        ..Line::default()
                    };
                }
                return;
            }
            InterruptKind::Msi => &mut self.msi,
            InterruptKind::Msix => &mut self.msix,
        };
        if table.len() < wanted {
            table.resize_with(wanted.min(usize::from(MOST_MSIX)), || None);
        }
        for (slot, wire) in table.iter_mut().skip(start).zip(wires) {
            *slot = wire;
        }
    }

    /// Disconnects every wire of a kind.
    pub fn disconnect(&mut self, kind: InterruptKind) {
        match kind {
            InterruptKind::Intx => self.line = Line::default(),
            InterruptKind::Msi => self.msi.clear(),
            InterruptKind::Msix => self.msix.clear(),
        }
    }

    /// Masks or unmasks the line; a line that is still asserted is signalled again by the next
    /// [`Irqs::evaluate`].
    pub fn mask_line(&mut self, masked: bool) {
        self.line.masked = masked;
        if !masked {
            self.line.signalled = false;
        }
    }

    /// Signals the line if it is asserted, not masked, and was not signalled since it was unmasked. True: it did.
    pub fn evaluate(&mut self, asserted: bool) -> bool {
        if self.messages() || !asserted || self.line.masked || self.line.signalled {
            return false;
        }
        if let Some(wire) = &self.line.wire {
            wire.signal();
            self.line.signalled = true;
        }
        self.line.signalled
    }

    /// Whether the machine has taken all that was signalled.
    pub fn taken(&self) -> bool {
        let messages = self.msi.iter().chain(&self.msix).flatten();
        messages.chain(&self.line.wire).all(Wire::taken)
    }

    /// Sends the message of a vector. Of MSI, where the machine allocated fewer messages than the function asked for, the
    /// vectors share them in turn (PCI Local Bus Specification 3.0, 6.8.3.5 leaves that to the function). False: nobody
    /// takes it.
    pub fn send(&self, vector: Vector) -> bool {
        let vector = usize::from(vector.0);
        let wire = match self.msix.iter().any(Option::is_some) {
            true => self.msix.get(vector),
            false => vector
                .checked_rem(self.msi.len())
                .and_then(|vector| self.msi.get(vector)),
        };
        let wire = wire.and_then(Option::as_ref);
        if let Some(wire) = wire {
            wire.signal();
        }
        wire.is_some()
    }

    /// Signals a wire as the machine asks for a test of it.
    pub fn trigger(&self, kind: InterruptKind, vector: usize) {
        let wire = match kind {
            InterruptKind::Intx => self.line.wire.as_ref(),
            InterruptKind::Msi => self.msi.get(vector).and_then(Option::as_ref),
            InterruptKind::Msix => self.msix.get(vector).and_then(Option::as_ref),
        };
        if let Some(wire) = wire {
            wire.signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone, Default)]
    struct Count(Arc<AtomicUsize>);

    impl Wire for Count {
        fn signal(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn line_signals_once_until_unmasked_and_again_while_asserted() {
        let wire = Count::default();
        let mut irqs = Irqs::default();
        irqs.connect(InterruptKind::Intx, 0, vec![Some(wire.clone())]);
        irqs.evaluate(false);
        assert_eq!(wire.get(), 0);
        irqs.evaluate(true);
        irqs.evaluate(true);
        assert_eq!(wire.get(), 1);
        irqs.mask_line(true);
        irqs.evaluate(true);
        assert_eq!(wire.get(), 1);
        irqs.mask_line(false);
        irqs.evaluate(true);
        assert_eq!(wire.get(), 2, "level is still asserted");
        irqs.mask_line(false);
        irqs.evaluate(false);
        assert_eq!(wire.get(), 2);
    }

    #[test]
    fn messages_win_over_the_line() {
        let (line, message) = (Count::default(), Count::default());
        let mut irqs = Irqs::default();
        irqs.connect(InterruptKind::Intx, 0, vec![Some(line.clone())]);
        irqs.connect(InterruptKind::Msi, 0, vec![Some(message.clone())]);
        irqs.evaluate(true);
        assert!(irqs.send(Vector(0)));
        assert_eq!((line.get(), message.get()), (0, 1));
        irqs.disconnect(InterruptKind::Msi);
        assert!(!irqs.send(Vector(0)));
        irqs.evaluate(true);
        assert_eq!(line.get(), 1);
    }

    #[test]
    fn vectors_share_the_messages_that_were_allocated_and_no_entries_of_a_table() {
        let wires = [Count::default(), Count::default()];
        let mut irqs = Irqs::default();
        assert_eq!(irqs.given(9), 1);
        irqs.connect(
            InterruptKind::Msi,
            0,
            wires.iter().cloned().map(Some).collect(),
        );
        assert_eq!(irqs.given(9), 2);
        for vector in 0..5 {
            assert!(irqs.send(Vector(vector)));
        }
        assert_eq!(wires.each_ref().map(Count::get), [3, 2]);
        let entry = Count::default();
        irqs.connect(InterruptKind::Msix, 1, vec![Some(entry.clone())]);
        assert_eq!(
            [0, 1, 2, u16::MAX].map(|v| irqs.send(Vector(v))),
            [false, true, false, false]
        );
        assert_eq!((entry.get(), irqs.given(9)), (1, 9));
    }

    #[test]
    fn hostile_vector_numbers_are_no_panic() {
        let mut irqs = Irqs::<Count>::default();
        irqs.connect(InterruptKind::Msix, usize::MAX, vec![None, None]);
        irqs.trigger(InterruptKind::Msix, usize::MAX);
        assert!(!irqs.messages());
    }
}
