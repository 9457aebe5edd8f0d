// SPDX-License-Identifier: MIT OR Apache-2.0

//! Admin commands, and what the controller says of itself (5).

use super::command::*;
use super::queue::{Completions, Submissions};
use super::{BLOCKS, EVENTS_MOST, MOST_ENTRIES, NSID, Nvme, QUEUES};
use landfall_device::contract::*;

/// What a command comes to.
pub(super) enum Answer {
    /// It is over; the first word of its completion.
    Done(u32),
    /// It is over when these bytes are where it wants them.
    Data(Vec<u8>),
    /// It waits for an event.
    Waits,
}

/// Features that are kept, and have no effect (5.21.1).
const KEPT: [u8; 8] = [0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x0a, 0x0b];
const FEATURE_QUEUES: u8 = 0x07;

impl Nvme {
    pub(super) fn admin(
        &mut self,
        command: &Command,
        host: &mut dyn Host,
    ) -> Result<Answer, Status> {
        match command.opcode() {
            0x00 => self.delete_submissions(command, host),
            0x01 => self.create_submissions(command),
            0x02 => log(command),
            0x04 => self.delete_completions(command),
            0x05 => self.create_completions(command, host),
            0x06 => self.identify(command),
            // Whatever is in work is over before the next command is looked at.
            0x08 => Ok(Answer::Done(1)),
            0x09 => self.set_feature(command),
            0x0a => self.feature(command),
            0x0c if self.events.len() < EVENTS_MOST => {
                self.events.push(command.id());
                Ok(Answer::Waits)
            }
            0x0c => Err(EVENTS),
            0x80 => self.format(command),
            _ => Err(OPCODE),
        }
    }

    fn create_completions(&mut self, command: &Command, host: &dyn Host) -> Result<Answer, Status> {
        let (id, entries) = new_queue(command)?;
        if self.completions.contains_key(&id) {
            return Err(QUEUE);
        }
        let how = command.word(11);
        let vector = (how >> 16) as u16;
        if vector >= host.vectors() {
            return Err(VECTOR);
        }
        let vector = (how & 2 != 0).then_some(vector);
        let queue = Completions::new(command.first(), entries, vector);
        self.completions.insert(id, queue);
        Ok(Answer::Done(0))
    }

    fn create_submissions(&mut self, command: &Command) -> Result<Answer, Status> {
        let (id, entries) = new_queue(command)?;
        let to = (command.word(11) >> 16) as u16;
        if self.submissions.contains_key(&id) {
            return Err(QUEUE);
        }
        if to == 0 || !self.completions.contains_key(&to) {
            return Err(NO_COMPLETION_QUEUE);
        }
        let queue = Submissions::new(command.first(), entries, to);
        self.submissions.insert(id, queue);
        Ok(Answer::Done(0))
    }

    fn delete_submissions(
        &mut self,
        command: &Command,
        host: &mut dyn Host,
    ) -> Result<Answer, Status> {
        let id = command.word(10) as u16;
        if id == 0 || self.submissions.remove(&id).is_none() {
            return Err(QUEUE);
        }
        let queue = Some(QueueId(id));
        host.declare_for(self.doorbell(), Declaration::Stopping { queue });
        host.declare_for(self.doorbell(), Declaration::Idle { queue });
        Ok(Answer::Done(0))
    }

    fn delete_completions(&mut self, command: &Command) -> Result<Answer, Status> {
        let id = command.word(10) as u16;
        if id == 0 || !self.completions.contains_key(&id) {
            return Err(QUEUE);
        }
        if self.submissions.values().any(|queue| queue.to == id) {
            return Err(IN_USE);
        }
        self.completions.remove(&id);
        Ok(Answer::Done(0))
    }

    /// The doorbell of the command in hand.
    fn doorbell(&self) -> Option<u64> {
        self.submissions.get(&0)?.doorbell
    }

    fn set_feature(&mut self, command: &Command) -> Result<Answer, Status> {
        match command.word(10) as u8 {
            FEATURE_QUEUES => Ok(Answer::Done(queues())),
            which if KEPT.contains(&which) => {
                self.features.insert(which, command.word(11));
                Ok(Answer::Done(0))
            }
            _ => Err(FIELD),
        }
    }

    fn feature(&self, command: &Command) -> Result<Answer, Status> {
        match command.word(10) as u8 {
            FEATURE_QUEUES => Ok(Answer::Done(queues())),
            which if KEPT.contains(&which) => {
                let value = self.features.get(&which).copied().unwrap_or_default();
                Ok(Answer::Done(value))
            }
            _ => Err(FIELD),
        }
    }

    fn format(&mut self, command: &Command) -> Result<Answer, Status> {
        if ![NSID, u32::MAX].contains(&command.namespace()) {
            return Err(NAMESPACE);
        }
        let format = command.word(10) & 0xf;
        if format as usize >= BLOCKS.len() || command.word(10) >> 4 & 0x1f != 0 {
            return Err(FORMAT);
        }
        self.disk.clear().map_err(|_| INTERNAL)?;
        self.format = format as u8;
        Ok(Answer::Done(0))
    }

    fn identify(&self, command: &Command) -> Result<Answer, Status> {
        let namespace = command.namespace();
        let mut page = Page(vec![0; PAGE as usize]);
        match command.word(10) as u8 {
            0x00 if namespace == NSID || namespace == u32::MAX => self.say_namespace(&mut page),
            0x01 => self.say_controller(&mut page),
            0x02 if namespace < u32::MAX - 1 => {
                if namespace < NSID {
                    page.put(0, &NSID.to_le_bytes());
                }
            }
            // A descriptor: its type, EUI-64, and how long it is.
            0x03 if namespace == NSID => {
                page.put(0, &[1, 8]);
                page.put(4, &self.eui64());
            }
            0x00 | 0x02 | 0x03 => return Err(NAMESPACE),
            _ => return Err(FIELD),
        }
        Ok(Answer::Data(page.0))
    }

    /// The namespace's own number: a locally administered one.
    fn eui64(&self) -> [u8; 8] {
        let [first, second, third, fourth] = self.serial.to_be_bytes();
        [0x52, 0x54, 0, 0x4c, first, second, third, fourth]
    }

    /// (5.15.2.2)
    fn say_controller(&self, page: &mut Page) {
        let identity = self.identity();
        page.put(0, &identity.vendor.to_le_bytes());
        page.put(2, &identity.vendor.to_le_bytes());
        page.put(4, format!("{:<20}", self.serial).as_bytes());
        page.put(24, b"Landfall NVMe                           ");
        page.put(64, b"1       ");
        page.put(77, &[MOST_PAGES]);
        page.put(80, &0x0001_0400_u32.to_le_bytes());
        page.put(111, &[1]); // it is for I/O
        page.put(256, &2_u16.to_le_bytes()); // it can format
        page.put(258, &[0, EVENTS_MOST as u8 - 1, 3]);
        page.put(266, &343_u16.to_le_bytes()); // kelvin
        page.put(268, &373_u16.to_le_bytes());
        page.put(512, &[0x66, 0x44]);
        page.put(516, &NSID.to_le_bytes());
        page.put(525, &[1]); // what is not flushed may be lost
        let name = format!("nqn.2026-11.landfall:nvme:{}", self.serial);
        page.put(768, name.as_bytes());
    }

    /// (5.15.2.1)
    fn say_namespace(&self, page: &mut Page) {
        let blocks = self.disk.bytes() >> self.block_order();
        for at in [0, 8, 16] {
            page.put(at, &blocks.to_le_bytes());
        }
        page.put(25, &[BLOCKS.len() as u8 - 1, self.format]);
        page.put(120, &self.eui64());
        for (format, order) in (0..).zip(BLOCKS) {
            page.put(128 + 4 * format, &[0, 0, order, 0]);
        }
    }
}

/// What the driver is given, less one: completion and submission queues.
fn queues() -> u32 {
    let most = u32::from(QUEUES) - 1;
    most << 16 | most
}

/// Number and entries of a queue that is to be made.
fn new_queue(command: &Command) -> Result<(u16, u16), Status> {
    let (id, most) = (command.word(10) as u16, (command.word(10) >> 16) as u16);
    if !(1..=QUEUES).contains(&id) {
        return Err(QUEUE);
    }
    if most == 0 || most >= MOST_ENTRIES {
        return Err(SIZE);
    }
    if command.word(11) & 1 == 0 {
        return Err(FIELD); // it has to be contiguous
    }
    match command.first() % PAGE {
        0 => Ok((id, most + 1)),
        _ => Err(OFFSET),
    }
}

/// Errors, health and firmware: nothing to tell (5.14.1).
fn log(command: &Command) -> Result<Answer, Status> {
    let words = u64::from(command.word(10) >> 16) | u64::from(command.word(11) & 0xffff) << 16;
    let bytes = 4 * (words + 1);
    match command.word(10) as u8 {
        _ if bytes > MOST_BYTES => Err(FIELD),
        0x01..=0x03 => Ok(Answer::Data(vec![0; bytes as usize])),
        _ => Err(LOG),
    }
}

/// What is said in a page.
struct Page(Vec<u8>);

impl Page {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.0.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
}
