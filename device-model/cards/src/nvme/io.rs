// SPDX-License-Identifier: MIT OR Apache-2.0

//! One command from its queue to its completion, and those of the namespace (6).

use super::admin::Answer;
use super::command::*;
use super::{Fault, NSID, Nvme};
use crate::late::STRAY;
use landfall_device::contract::*;

/// A command in work.
struct Work {
    job: JobId,
    queue: QueueId,
    /// The register write that told of it.
    doorbell: Option<u64>,
    begun: bool,
    /// Bytes of data that were moved.
    moved: u64,
    /// Its interrupt is not sent.
    lost: bool,
}

impl Work {
    const fn tag(&self) -> Tag {
        Tag::job(self.job)
    }

    fn begin(&mut self, pieces: Vec<Piece>, host: &mut dyn Host) {
        self.begun = true;
        let (job, queue, label) = (self.job, self.queue, Label::default());
        let begun = Declaration::Begun {
            job,
            queue,
            label,
            pieces,
        };
        host.declare_for(self.doorbell, begun);
    }

    /// Puts data where a command wants it; gives where that ends.
    fn put(&mut self, command: &Command, bytes: &[u8], host: &mut dyn Host) -> Result<u64, Status> {
        let pages = command.pages(bytes.len() as u64, Direction::Write, host)?;
        self.begin(pages.clone(), host);
        let (mut rest, mut end) = (bytes, 0);
        for page in &pages {
            let (part, after) = rest.split_at(rest.len().min(page.length as usize));
            host.dma_write(page.address, part, self.tag())
                .map_err(|_| TRANSFER)?;
            (rest, end) = (after, page.address.wrapping_add(page.length));
        }
        self.moved = bytes.len() as u64;
        Ok(end)
    }

    /// Gets the data of a command.
    fn get(
        &mut self,
        command: &Command,
        length: u64,
        host: &mut dyn Host,
    ) -> Result<Vec<u8>, Status> {
        let pages = command.pages(length, Direction::Read, host)?;
        self.begin(pages.clone(), host);
        let mut data = vec![0; length as usize];
        let mut rest = &mut *data;
        for page in &pages {
            let (part, after) = rest.split_at_mut(rest.len().min(page.length as usize));
            host.dma_read(page.address, part, self.tag())
                .map_err(|_| TRANSFER)?;
            rest = after;
        }
        self.moved = length;
        Ok(data)
    }
}

impl Nvme {
    /// Takes a command from a queue, does it, and answers.
    pub(super) fn serve(&mut self, id: u16, host: &mut dyn Host) {
        let Some(queue) = self.submissions.get_mut(&id) else {
            return;
        };
        let Ok(bytes) = queue.take(host) else {
            return self.fail();
        };
        let (to, head) = (queue.to, queue.head());
        let mut work = Work {
            job: JobId(self.jobs),
            queue: QueueId(id),
            doorbell: queue.doorbell,
            begun: false,
            moved: 0,
            lost: false,
        };
        let command = Command::parse(&bytes);
        let answer = match id {
            0 => self.admin(&command, host),
            _ => self.io(&command, &mut work, host).map(|()| Answer::Done(0)),
        };
        let answer = match answer {
            Ok(Answer::Waits) => return,
            Ok(Answer::Done(word)) => Ok(word),
            Ok(Answer::Data(bytes)) => work.put(&command, &bytes, host).map(|_| 0),
            Err(status) => Err(status),
        };
        self.jobs += 1;
        if !work.begun {
            work.begin(Vec::new(), host);
        }
        let place = u32::from(id) << 16 | u32::from(head);
        let (word, status) = match answer {
            Ok(word) => (word, 0),
            // And it would be the same if it were tried again.
            Err(Status(code, _)) => (0, u32::from(code) << 17 | 1 << 31),
        };
        let words = [word, 0, place, status | u32::from(command.id())];
        self.complete(to, &work, words, answer.err(), host);
    }

    fn complete(
        &mut self,
        to: u16,
        work: &Work,
        words: [u32; COMPLETION / 4],
        error: Option<Status>,
        host: &mut dyn Host,
    ) {
        let added = self.completions.get_mut(&to).map(|queue| {
            let added = queue.add(words, work.tag(), host);
            added.map(|()| queue.vector)
        });
        let Some(Ok(vector)) = added else {
            let why = "its completion was refused";
            host.declare(Declaration::failed(work.job, why, None));
            return self.fail();
        };
        let owed = vector.map(|vector| self.owed(vector, host));
        host.declare(match error {
            Some(Status(_, why)) => Declaration::failed(work.job, why, owed),
            None => Declaration::done(work.job, work.moved, owed),
        });
        if let Some(owed) = owed.filter(|owed| owed.promise == Promise::Now && !work.lost) {
            host.raise(owed.vector);
        }
    }

    fn io(
        &mut self,
        command: &Command,
        work: &mut Work,
        host: &mut dyn Host,
    ) -> Result<(), Status> {
        let everywhere = command.opcode() == 0 && command.namespace() == u32::MAX;
        if command.namespace() != NSID && !everywhere {
            return Err(NAMESPACE);
        }
        match command.opcode() {
            0x00 => self.disk.flush().map_err(|_| INTERNAL),
            0x01 => {
                let (at, bytes) = self.extent(command)?;
                let data = work.get(command, short(bytes)?, host)?;
                self.disk.write(at, &data).map_err(|_| INTERNAL)
            }
            0x02 => {
                let (at, bytes) = self.extent(command)?;
                self.read(at, short(bytes)?, command, work, host)
            }
            _ => Err(OPCODE),
        }
    }

    fn read(
        &mut self,
        at: u64,
        bytes: u64,
        command: &Command,
        work: &mut Work,
        host: &mut dyn Host,
    ) -> Result<(), Status> {
        let (fault, read) = (self.fault, self.reads);
        let strikes = |which| fault == Some(which) && read == self.fault_read;
        let mut data = vec![0; bytes as usize];
        self.disk.read(at, &mut data).map_err(|_| INTERNAL)?;
        if strikes(Fault::Corrupt)
            && let Some(byte) = data.get_mut(bytes as usize / 2)
        {
            *byte ^= 1;
        }
        let end = work.put(command, &data, host)?;
        if strikes(Fault::Overrun) {
            // A byte that may not be written is not written; nothing hangs on it.
            let _ = host.dma_write(end, &STRAY[..1], work.tag());
        }
        work.lost = strikes(Fault::LostInterrupt);
        self.landed = Some((command.first(), work.tag()));
        self.reads += 1;
        Ok(())
    }

    /// Where on the disk a command's blocks are, and how many bytes.
    fn extent(&self, command: &Command) -> Result<(u64, u64), Status> {
        let order = self.block_order();
        let bytes = (u64::from(command.word(12) & 0xffff) + 1) << order;
        let at = command.block().checked_mul(1 << order).ok_or(RANGE)?;
        match at.checked_add(bytes) {
            Some(end) if end <= self.disk.bytes() => Ok((at, bytes)),
            _ => Err(RANGE),
        }
    }
}

/// Data of a command.
const fn short(bytes: u64) -> Result<u64, Status> {
    match bytes <= MOST_BYTES {
        true => Ok(bytes),
        false => Err(FIELD),
    }
}
