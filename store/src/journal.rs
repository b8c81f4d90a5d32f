//! The journal: a file beside the database in which a batch is on disk before redb has it.
//!
//! A commit of redb writes a score of pages that lie apart, which a disk takes as requests of their own.
//! A batch in the journal is one write behind the last one, and one sync. redb gets several batches in one
//! transaction later, and a sync of its own each time half of the journal is full; both are the settler's work,
//! and meanwhile the other half takes what comes.
//!
//! Always: a batch has the next number, and a frame of its own in whole sectors, so that a torn write spoils
//! no other; frames that redb has not synced are never written over. So of the frames that are behind redb
//! all are there, but for one at the end that nobody was told of. A gap among them, or their absence,
//! is damage: the node would have forgotten what it promised, and does not start.
//!
//! The file is in use from the first batch until the store is closed; meanwhile the database
//! names it (`META_JOURNAL`), and bears a format that versions without a journal refuse.

mod entry;
mod frame;
mod place;

use std::collections::VecDeque;
use std::io;

use redb::StorageBackend;

pub(crate) use entry::{Body, Encoded, OutboxRow};
pub(crate) use frame::{Epoch, Frame, Scan, owner, scan};
pub(crate) use place::{Beside, JournalPlace};

use frame::{FIRST, SECTOR, framed};

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of the file. redb is synced once for half as many.
    pub(crate) capacity: u64,
    /// By so many bytes the file grows. New room is filled with zeros, so that a sync has no new blocks to enter
    /// in the file system's own books, but for one in so many.
    pub(crate) step: u64,
    /// Changes that wait for redb before it is given them: some milliseconds of work. With more of them in one
    /// transaction a change costs less, but whoever reads more than one record meanwhile waits longer.
    pub(crate) waiting: usize,
    /// Bytes of them, as they stand in the journal.
    pub(crate) waiting_bytes: usize,
}

impl Bounds {
    /// Two thousand batches of one job, or a hundred of sixty. A node that was killed reads as much when it
    /// starts, which takes some tenths of a second. On a disk that became full it needs, until it can give the
    /// journal's room back, up to twice as much in the database: no more than the ballast is.
    pub(crate) const USUAL: Self =
        Self { capacity: 8 << 20, step: 1 << 20, waiting: 512, waiting_bytes: 1 << 20 };

    /// How many times what redb is given at once may wait before the engine does: redb takes it two or three
    /// times as fast as it comes, but for the moments in which it is synced, and of those this spans some tens of
    /// milliseconds.
    pub(crate) const BACKLOG: usize = 4;
}

/// Largest frame. A larger batch goes to redb at once: for it more than one write is no matter.
const MAX_FRAME: usize = 1 << 20;

/// The open journal of one writer: a ring, behind the frame that says whose it is.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Box<dyn StorageBackend>,
    epoch: Epoch,
    bounds: Bounds,
    /// Where the next frame goes, as far as there is room.
    at: u64,
    /// How far the file goes.
    len: u64,
    /// The frames that redb has not synced, in their order: no more than the file has sectors.
    live: VecDeque<Live>,
    /// Bytes of them.
    held: u64,
}

/// A frame that must stay.
#[derive(Clone, Copy, Debug)]
struct Live {
    number: u64,
    at: u64,
    room: u64,
}

impl Journal {
    /// Begins one of that node in an empty file. It stands on disk before any database names it.
    pub(crate) fn begin(
        file: Box<dyn StorageBackend>,
        epoch: Epoch,
        owner: &[u8; 32],
        bounds: Bounds,
    ) -> io::Result<Self> {
        let live = VecDeque::new();
        let mut journal = Self { file, epoch, bounds, at: SECTOR, len: 0, live, held: 0 };
        journal.put(0, &framed(&epoch, FIRST, owner))?;
        Ok(journal)
    }

    /// Whether a frame with a body of this length fits between those that must stay.
    pub(crate) fn has_room(&self, body: usize) -> bool {
        self.place(frame::room(body)).is_some()
    }

    /// Whether it fits where none must.
    pub(crate) const fn takes(bounds: &Bounds, body: usize) -> bool {
        body <= MAX_FRAME && SECTOR + frame::room(body) <= bounds.capacity
    }

    /// Whether redb should be synced, so that there is room again before there is none.
    pub(crate) const fn is_due(&self) -> bool {
        self.held >= self.bounds.capacity / 2
    }

    fn place(&self, room: u64) -> Option<u64> {
        let fits = |at: u64, end: u64| (at + room <= end).then_some(at);
        match self.live.front() {
            None => fits(SECTOR, self.bounds.capacity),
            Some(first) if self.at > first.at => {
                fits(self.at, self.bounds.capacity).or_else(|| fits(SECTOR, first.at))
            }
            Some(first) => fits(self.at, first.at),
        }
    }

    /// Puts a batch on disk, where [`has_room`](Self::has_room) said that it fits.
    pub(crate) fn append(&mut self, number: u64, body: &[u8]) -> io::Result<()> {
        let room = frame::room(body.len());
        let Some(at) = self.place(room) else { return Err(io::ErrorKind::StorageFull.into()) };
        self.put(at, &framed(&self.epoch, number, body))?;
        self.live.push_back(Live { number, at, room });
        self.held += room;
        self.at = at + room;
        Ok(())
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        while self.len < at + bytes.len() as u64 {
            let step = self.bounds.step;
            self.file.set_len(self.len + step)?;
            self.file.write(self.len, &vec![0; step as usize])?;
            self.len += step;
        }
        self.file.write(at, bytes)?;
        self.file.sync_data()
    }

    /// redb has synced every batch up to this number: their room is free.
    pub(crate) fn release(&mut self, synced: u64) {
        while let Some(first) = self.live.front().filter(|first| first.number <= synced) {
            self.held -= first.room;
            self.live.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
