//! Storage that crashes, fills up and fails, for tests of this and other crates.
//!
//! A [`Disk`] is an image in memory. What was written but not synced when the power is cut is kept
//! in part, as a seed decides: each write whole, as a torn prefix or not at all. Lengths change in
//! order, as the metadata of a journalling file system does.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::journal::{Bounds, JournalPlace};

/// Chance from a seed (splitmix64): tests must replay.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `most`, 0 if there is none.
    pub fn below(&mut self, most: u64) -> u64 {
        self.number().checked_rem(most).unwrap_or(0)
    }
}

/// What a disk does with writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Takes them.
    #[default]
    Good,
    /// Answers `EROFS`; reads work.
    ReadOnly,
    /// Answers `EIO` to everything.
    Broken,
}

enum Change {
    Len(u64),
    Write(u64, Vec<u8>),
}

/// One file of the disk.
#[derive(Default)]
struct Image {
    /// What survives a crash for sure.
    synced: Vec<u8>,
    /// What a running process sees.
    image: Vec<u8>,
    unsynced: Vec<Change>,
    /// Pages that take up room; the rest of the image is a hole.
    pages: HashSet<u64>,
}

/// Which file of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Database,
    Journal,
}

#[derive(Default)]
struct State {
    database: Image,
    /// None if there is no such file. Its name is on disk as soon as it has one, and off it as soon as it
    /// has none.
    journal: Option<Image>,
    quota: Option<u64>,
    health: Health,
    /// Changes until the power is cut.
    fuse: Option<u64>,
    /// Rises with each crash: handles of an earlier process are dead.
    life: u64,
    between: Option<Between>,
    settles_apart: bool,
}

/// What happens while the database is written.
type Between = Box<dyn FnMut(Changing) + Send>;

/// How a file is about to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changing {
    /// Bytes. redb may hold locks meanwhile that a reader of it takes, too.
    Bytes,
    /// Its length; so it may then, and where that is put on disk.
    Length,
    /// What was changed is put on disk.
    Sync,
}

const PAGE: u64 = 4096;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("bytes", &self.state().database.image.len())
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle for [`Store::open_backend`](crate::Store::open_backend). It dies with the next
    /// crash.
    #[must_use]
    pub fn backend(&self) -> Handle {
        self.handle(Which::Database)
    }

    /// Where the journal of its database stands; dies with the next crash.
    pub(crate) fn journal(&self) -> JournalHandle {
        JournalHandle(self.handle(Which::Journal))
    }

    fn handle(&self, which: Which) -> Handle {
        Handle { disk: self.clone(), which, life: self.state().life }
    }

    /// Whether there is a journal.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.state().journal.is_some()
    }

    /// Refuses writes to new pages beyond `bytes` with `ENOSPC`; `None` for no bound.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.state().quota = bytes;
    }

    /// Bytes that take up room.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Lets writes fail, or heals.
    pub fn set_health(&self, health: Health) {
        self.state().health = health;
    }

    /// Cuts the power after `changes` more changes (writes, lengths and syncs).
    pub fn cut_power_after(&self, changes: u64) {
        self.state().fuse = Some(changes);
    }

    /// Calls this before each change of the database, but for those that come of it.
    pub fn before_changes(&self, act: impl FnMut(Changing) + Send + 'static) {
        self.state().between = Some(Box::new(act));
    }

    /// Nothing is called any more.
    pub fn without_calls(&self) {
        self.state().between = None;
    }

    /// Whether databases that are opened from now on have a settler that is a thread: without it a test says when
    /// it does what.
    pub fn settle_apart(&self, apart: bool) {
        self.state().settles_apart = apart;
    }

    /// True if the power was cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state().fuse == Some(0)
    }

    /// Fills one page beyond the first with noise, as a disk that rots.
    pub fn rot(&self, seed: u64) {
        let mut chance = Chance::new(seed);
        let mut state = self.state();
        let pages = (state.database.image.len() as u64 / PAGE).saturating_sub(1);
        let start = (1 + chance.below(pages)) * PAGE;
        let noise: Vec<u8> = (0..PAGE).map(|_| chance.number() as u8).collect();
        state.database.spoil(start, &noise);
    }

    /// Turns one bit of a page of the journal over.
    pub fn rot_journal(&self, page: u64) {
        if let Some(journal) = &mut self.state().journal {
            let at = page * PAGE + 100;
            if let Some(byte) = journal.image.get(at as usize).copied() {
                journal.spoil(at, &[byte ^ 1]);
            }
        }
    }

    /// The machine went down and came up: unsynced changes are kept as `seed` decides, earlier
    /// handles are dead, the power is back.
    pub fn crash(&self, seed: u64) {
        let mut chance = Chance::new(seed);
        let mut state = self.state();
        state.database.crash(&mut chance);
        if let Some(journal) = &mut state.journal {
            journal.crash(&mut chance);
        }
        state.fuse = None;
        state.life += 1;
    }
}

impl State {
    fn image(&mut self, which: Which) -> io::Result<&mut Image> {
        match which {
            Which::Database => Ok(&mut self.database),
            Which::Journal => self.journal.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn used(&self) -> u64 {
        let pages = |image: &Image| image.pages.len() as u64;
        (pages(&self.database) + self.journal.as_ref().map_or(0, pages)) * PAGE
    }
}

impl Image {
    fn spoil(&mut self, offset: u64, data: &[u8]) {
        overwrite(&mut self.image, offset, data);
        overwrite(&mut self.synced, offset, data);
    }

    fn crash(&mut self, chance: &mut Chance) {
        let changes = std::mem::take(&mut self.unsynced);
        let mut image = std::mem::take(&mut self.synced);
        // Lengths keep their order, and a write beyond the length that was kept is not seen.
        let lengths = changes.iter().filter(|c| matches!(c, Change::Len(_))).count() as u64;
        let mut kept = chance.below(lengths + 1);
        let odds = chance.below(5);
        for change in changes {
            match change {
                Change::Len(len) if kept > 0 => {
                    kept -= 1;
                    image.resize(len as usize, 0);
                }
                Change::Len(_) => {}
                Change::Write(offset, data) => {
                    let len = match chance.below(4) {
                        n if n < odds => data.len(),
                        3 => chance.below(data.len() as u64) as usize,
                        _ => 0,
                    };
                    overwrite(&mut image, offset, &data[..len]);
                }
            }
        }
        self.image.clone_from(&image);
        self.synced = image;
    }
}

/// Writes what lies within the image.
fn overwrite(image: &mut [u8], offset: u64, data: &[u8]) {
    let start = (offset as usize).min(image.len());
    let end = start.saturating_add(data.len()).min(image.len());
    image[start..end].copy_from_slice(&data[..end - start]);
}

/// One process's view of a file of a [`Disk`].
#[derive(Debug)]
pub struct Handle {
    disk: Disk,
    which: Which,
    life: u64,
}

impl Handle {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life != self.life || state.fuse == Some(0) || state.health == Health::Broken {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        Ok(state)
    }

    fn changeable(&self, changing: Changing) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        if self.which == Which::Database
            && let Some(mut between) = state.between.take()
        {
            drop(state);
            between(changing);
            state = self.alive()?;
            state.between.get_or_insert(between);
        }
        if state.health == Health::ReadOnly {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::ROFS.raw_os_error()));
        }
        state.fuse = state.fuse.map(|left| left.saturating_sub(1));
        Ok(state)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.image(self.which)?.image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.alive()?;
        let start = offset as usize;
        match state.image(self.which)?.image.get(start..start.saturating_add(out.len())) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.changeable(Changing::Length)?;
        let file = state.image(self.which)?;
        file.image.resize(len as usize, 0);
        file.pages.retain(|page| page * PAGE < len);
        file.unsynced.push(Change::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.changeable(Changing::Sync)?;
        let file = state.image(self.which)?;
        let changes = std::mem::take(&mut file.unsynced);
        for change in changes {
            match change {
                Change::Len(len) => file.synced.resize(len as usize, 0),
                Change::Write(offset, data) => overwrite(&mut file.synced, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.changeable(Changing::Bytes)?;
        let (used, quota) = (state.used(), state.quota);
        let file = state.image(self.which)?;
        if offset.saturating_add(data.len() as u64) > file.image.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let touched = offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE);
        let new: Vec<u64> = touched.filter(|page| !file.pages.contains(page)).collect();
        let more = new.len() as u64 * PAGE;
        if more > 0 && quota.is_some_and(|quota| used + more > quota) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
        }
        file.pages.extend(new);
        overwrite(&mut file.image, offset, data);
        file.unsynced.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// The place of a journal on a [`Disk`].
#[derive(Debug)]
pub(crate) struct JournalHandle(Handle);

impl JournalHandle {
    fn file(&self) -> Box<dyn StorageBackend> {
        let Handle { disk, which, life } = &self.0;
        Box::new(Handle { disk: disk.clone(), which: *which, life: *life })
    }
}

impl JournalPlace for JournalHandle {
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let there = self.0.alive()?.journal.is_some();
        Ok(there.then(|| self.file()))
    }

    fn create(&self) -> io::Result<Box<dyn StorageBackend>> {
        self.0.changeable(Changing::Bytes)?.journal = Some(Image::default());
        Ok(self.file())
    }

    fn remove(&self) -> io::Result<()> {
        // One that stays is as good as one that goes, and takes no chance from other changes.
        let mut state = self.0.alive()?;
        if state.health == Health::Good {
            state.journal = None;
        }
        Ok(())
    }

    fn set_aside(&self) -> io::Result<()> {
        self.remove()
    }

    fn path(&self) -> &Path {
        Path::new("(journal of a test)")
    }

    /// So small that it begins anew often.
    fn bounds(&self) -> Bounds {
        let waiting_bytes = 4 * PAGE as usize;
        Bounds { capacity: 12 * PAGE, step: 4 * PAGE, waiting: 12, waiting_bytes }
    }

    /// Tests say when.
    fn settles_apart(&self) -> bool {
        self.0.disk.state().settles_apart
    }
}
