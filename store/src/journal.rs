//! The journal: a file beside the database in which a batch is on disk before redb has it.
//!
//! A commit of redb writes a score of pages that lie apart, which a disk takes as requests of their own.
//! A batch in the journal is one write behind the last one, and one sync. redb gets several batches in one
//! transaction later, and a sync of its own only before the journal begins anew.
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

use std::io;

use redb::StorageBackend;

pub(crate) use entry::{Body, Encoded};
pub(crate) use frame::{Epoch, Frame, Scan, owner, scan};
pub(crate) use place::{Beside, JournalPlace};

use frame::{FIRST, SECTOR, framed};

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of the file. redb is synced once for so many.
    pub(crate) capacity: u64,
    /// By so many bytes the file grows. New room is filled with zeros, so that a sync has no new blocks to enter
    /// in the file system's own books, but for one in so many.
    pub(crate) step: u64,
    /// Changes that may wait for redb: the most that one transaction of it takes at once, some milliseconds. With
    /// more of them in one, a change costs less, but whoever comes meanwhile waits longer.
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
}

/// Largest frame. A larger batch goes to redb at once: for it more than one write is no matter.
const MAX_FRAME: usize = 1 << 20;

/// The open journal of one writer.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Box<dyn StorageBackend>,
    epoch: Epoch,
    bounds: Bounds,
    /// Where the next frame goes.
    at: u64,
    /// How far there is room.
    len: u64,
}

impl Journal {
    /// Begins one of that node in an empty file. It stands on disk before any database names it.
    pub(crate) fn begin(
        file: Box<dyn StorageBackend>,
        epoch: Epoch,
        owner: &[u8; 32],
        bounds: Bounds,
    ) -> io::Result<Self> {
        let mut journal = Self { file, epoch, bounds, at: 0, len: 0 };
        journal.append(FIRST, owner)?;
        Ok(journal)
    }

    /// Whether a frame with a body of this length fits behind the others.
    pub(crate) const fn has_room(&self, body: usize) -> bool {
        self.at + frame::room(body) <= self.bounds.capacity
    }

    /// Whether it fits at the beginning.
    pub(crate) const fn takes(bounds: &Bounds, body: usize) -> bool {
        body <= MAX_FRAME && SECTOR + frame::room(body) <= bounds.capacity
    }

    /// Puts a batch on disk.
    pub(crate) fn append(&mut self, number: u64, body: &[u8]) -> io::Result<()> {
        let bytes = framed(&self.epoch, number, body);
        let end = self.at + bytes.len() as u64;
        while self.len < end {
            let step = self.bounds.step;
            self.file.set_len(self.len + step)?;
            self.file.write(self.len, &vec![0; step as usize])?;
            self.len += step;
        }
        self.file.write(self.at, &bytes)?;
        self.file.sync_data()?;
        self.at = end;
        Ok(())
    }

    /// redb has synced every batch so far: the next one goes to the beginning.
    pub(crate) const fn rewind(&mut self) {
        self.at = SECTOR;
    }
}

#[cfg(test)]
mod tests;
