//! The folder: which files lie in it, when they count, and which make room.
//!
//! What changes the files blocks, and is done on blocking threads. What only looks does not wait for the
//! disk: the lock of the index is held for no work on it.
//!
//! ```text
//!   HASH            the content
//!   HASH.outline    how it is checked; its time says when the blob was last used
//!   .part-...       what is being written; removed at the next start
//! ```
//!
//! Always: a content file has its outline beside it, since that gets its name first. One thread at a time
//! changes the files of a blob, which leaves the index before they go and enters it once they are there.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use skyclaw_protocol::blob::{Head, MAX_HEAD_BYTES, Outline};
use skyclaw_protocol::{Hash, codec};

use super::Settings;

/// Most blobs: what is known of each is in memory.
const MAX_BLOBS: usize = 50_000;

/// What was used in this time makes no room: an upload must live until it is deployed.
const FRESH: Duration = Duration::from_secs(600);

/// What nobody used for so long goes, needed room or not: as long as jobs are kept.
const OLD: Duration = Duration::from_secs(7 * 86_400);

/// The time of last use on disk is behind by this much at most.
const USE_STEP: Duration = Duration::from_secs(60);

/// Room is taken in steps, so that what does not fit ends early.
const STEP: u64 = 4 << 20;

const LOCK: &str = ".lock";
const PART: &str = ".part-";
const OUTLINE: &str = ".outline";

/// The blobs that must not make room, as of now; none of them may while that cannot be said.
pub type Keep = Arc<dyn Fn() -> Option<HashSet<Hash>> + Send + Sync>;

/// Told of blobs that are here no more.
pub(super) type Gone = Box<dyn Fn(Hash) + Send + Sync>;

/// Why nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiskError {
    /// All blobs together have what they may have, and none can go.
    #[error("the blobs of this node may have {most} bytes, and all that are here are in use")]
    Full {
        /// What they may have.
        most: u64,
    },
    /// The disk is nearly full.
    #[error("the disk has {free} bytes left, and {min} must stay free")]
    LowSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that should be.
        min: u64,
    },
    /// The disk failed.
    #[error("the blobs of this node cannot be written: {0}")]
    Io(Arc<io::Error>),
}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// A blob that is here, and stays while this exists.
#[derive(Clone, Debug)]
pub struct Held {
    /// How it is checked.
    pub outline: Arc<Outline>,
    /// Its file. Not to be written to.
    pub path: PathBuf,
    pin: Arc<()>,
}

#[derive(Debug)]
struct Row {
    outline: Arc<Outline>,
    used: SystemTime,
    /// As on the disk.
    marked: SystemTime,
    /// More than one: somebody holds it.
    pin: Arc<()>,
}

#[derive(Debug, Default)]
struct Index {
    blobs: HashMap<Hash, Row>,
    /// Whose files are being changed.
    changing: HashSet<Hash>,
    /// Bytes of them.
    total: u64,
    /// Room taken by what is being written.
    taken: u64,
}

pub(super) struct Disk {
    settings: Settings,
    index: Mutex<Index>,
    /// The files of a blob were changed.
    changed: Condvar,
    keep: OnceLock<Keep>,
    gone: OnceLock<Gone>,
    _lock: File,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn open(settings: Settings) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(&settings.dir)?;
        let meta = fs::symlink_metadata(&settings.dir)?;
        // Below a folder that everybody may write to, somebody else may have been first.
        if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("the folder of blobs belongs to another user"));
        }
        if meta.mode() & 0o077 != 0 {
            fs::set_permissions(&settings.dir, fs::Permissions::from_mode(0o700))?;
        }
        let path = settings.dir.join(LOCK);
        let lock =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let mut index = Index::default();
        for entry in fs::read_dir(&settings.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(PART) {
                remove_file(&entry.path());
            } else if let Ok(hash) = Hash::parse(name) {
                match load(&settings.dir, hash) {
                    Ok(row) => {
                        index.total += row.outline.size();
                        index.blobs.insert(hash, row);
                    }
                    Err(error) => {
                        tracing::warn!(blob = name, %error, "a damaged blob is removed");
                        remove(&settings.dir, hash);
                    }
                }
            } else if let Some(hash) = name.strip_suffix(OUTLINE).map(Hash::parse)
                && let Ok(hash) = hash
                && !settings.dir.join(hash.hex()).exists()
            {
                remove_file(&entry.path());
            }
        }
        Ok(Self {
            settings,
            index: Mutex::new(index),
            changed: Condvar::new(),
            keep: OnceLock::new(),
            gone: OnceLock::new(),
            _lock: lock,
        })
    }

    pub(super) fn set_keep(&self, keep: Keep) {
        if self.keep.set(keep).is_err() {
            tracing::error!("it was said already which blobs are needed");
        }
    }

    /// Only the first one is told.
    pub(super) fn set_gone(&self, gone: Gone) {
        if self.gone.set(gone).is_err() {
            tracing::error!("somebody is told already of blobs that go");
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index once nobody changes the files of this blob. Blocks.
    fn settled(&self, hash: Hash) -> MutexGuard<'_, Index> {
        let settled = self.changed.wait_while(self.index(), |index| index.changing.contains(&hash));
        settled.unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this thread alone changes the files of a blob, until the answer is dropped.
    fn change(&self, mut index: MutexGuard<'_, Index>, hash: Hash) -> Changing<'_> {
        index.changing.insert(hash);
        Changing { disk: self, hash }
    }

    pub(super) fn total(&self) -> (usize, u64) {
        let index = self.index();
        (index.blobs.len(), index.total)
    }

    pub(super) fn held(&self, hash: Hash) -> Option<Held> {
        let index = self.index();
        let row = index.blobs.get(&hash)?;
        let path = self.settings.dir.join(hash.hex());
        Some(Held { outline: Arc::clone(&row.outline), path, pin: Arc::clone(&row.pin) })
    }

    /// Those that were used last, the latest first.
    pub(super) fn latest(&self, most: usize) -> Vec<Hash> {
        let mut all: Vec<_> =
            self.index().blobs.iter().map(|(hash, row)| (row.used, *hash)).collect();
        all.sort_unstable_by_key(|found| Reverse(*found));
        all.into_iter().take(most).map(|(_, hash)| hash).collect()
    }

    /// The blob is used now.
    pub(super) fn mark_used(&self, hash: Hash) {
        let now = SystemTime::now();
        let mut index = self.index();
        let Some(row) = index.blobs.get_mut(&hash) else { return };
        row.used = now;
        if row.marked > now || now.duration_since(row.marked).is_ok_and(|since| since > USE_STEP) {
            row.marked = now;
            drop(index);
            let path = outline_path(&self.settings.dir.join(hash.hex()));
            // If it cannot be written, the blob only looks older after a restart.
            let file = File::options().write(true).open(path);
            _ = file.and_then(|file| file.set_modified(now));
        }
    }

    /// Takes a blob away whose file is not what it should be.
    pub(super) fn discard(&self, held: &Held) {
        let hash = held.outline.hash();
        let index = self.settled(hash);
        // Unless it was written anew meanwhile.
        if index.blobs.get(&hash).is_some_and(|row| Arc::ptr_eq(&row.pin, &held.pin)) {
            tracing::warn!(blob = hash.hex(), "a blob was changed on the disk and is removed");
            self.forget(index, hash);
        }
    }

    /// Nobody else may be changing its files. Who writes the same blob waits for the end of this.
    fn forget(&self, mut index: MutexGuard<'_, Index>, hash: Hash) {
        if let Some(row) = index.blobs.remove(&hash) {
            index.total -= row.outline.size();
        }
        let _changing = self.change(index, hash);
        remove(&self.settings.dir, hash);
        if let Some(gone) = self.gone.get() {
            gone(hash);
        }
    }

    /// What the node needs.
    fn kept(&self) -> Option<HashSet<Hash>> {
        self.keep.get().map_or_else(|| Some(HashSet::new()), |keep| keep())
    }

    /// Takes room for `more` bytes, from blobs that may go if need be.
    fn take(&self, more: u64) -> Result<(), DiskError> {
        let Settings { most_bytes: most, min_free: min, .. } = self.settings;
        let mut kept = None;
        loop {
            let free = free(&self.settings.dir)?;
            let mut index = self.index();
            let full = index.total.saturating_add(index.taken).saturating_add(more) > most
                || index.blobs.len() >= MAX_BLOBS;
            let low = free < min.saturating_add(more);
            if !full && !low {
                index.taken += more;
                return Ok(());
            }
            let Some(kept) = &kept else {
                drop(index);
                kept = Some(self.kept());
                continue;
            };
            match kept.as_ref().and_then(|kept| oldest(&index, kept, FRESH)) {
                Some(hash) => self.forget(index, hash),
                None if full => return Err(DiskError::Full { most }),
                None => return Err(DiskError::LowSpace { free, min }),
            }
        }
    }

    /// Removes what nobody used for long.
    pub(super) fn sweep(&self) {
        let Some(kept) = self.kept() else { return };
        loop {
            let index = self.index();
            let Some(hash) = oldest(&index, &kept, OLD) else { return };
            self.forget(index, hash);
        }
    }

    /// A file for a blob that comes.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Part, DiskError> {
        let path = self.settings.dir.join(format!("{PART}{:016x}", rand::random::<u64>()));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Part { disk: Arc::clone(self), file, path, written: 0, taken: 0 })
    }
}

/// The one that was used least lately of those that may go and are as old as `age`.
fn oldest(index: &Index, kept: &HashSet<Hash>, age: Duration) -> Option<Hash> {
    let now = SystemTime::now();
    let may_go = |(hash, row): &(&Hash, &Row)| {
        let old = now.duration_since(row.used).is_ok_and(|since| since >= age);
        // One that is being written anew has just come.
        let free = Arc::strong_count(&row.pin) == 1 && !index.changing.contains(*hash);
        old && free && !kept.contains(*hash)
    };
    index.blobs.iter().filter(may_go).min_by_key(|(_, row)| row.used).map(|(hash, _)| *hash)
}

fn free(dir: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(dir)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

fn outline_path(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(OUTLINE);
    name.into()
}

fn remove(dir: &Path, hash: Hash) {
    let path = dir.join(hash.hex());
    // The content first: without it the outline counts for nothing.
    for path in [path.clone(), outline_path(&path)] {
        remove_file(&path);
    }
}

fn remove_file(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a blob cannot be removed");
        }
        _ => {}
    }
}

fn load(dir: &Path, hash: Hash) -> io::Result<Row> {
    let path = dir.join(hash.hex());
    let outline = outline_path(&path);
    let told = fs::metadata(&outline)?;
    if told.len() > MAX_HEAD_BYTES as u64 {
        return Err(io::Error::other("the outline is too long"));
    }
    let head: Head =
        codec::decode(&fs::read(&outline)?, MAX_HEAD_BYTES).map_err(io::Error::other)?;
    let outline = Outline::check(hash, head).map_err(io::Error::other)?;
    let meta = fs::symlink_metadata(&path)?;
    if !meta.is_file() || meta.len() != outline.size() {
        return Err(io::Error::other("the file is not as long as it should be"));
    }
    let used = told.modified()?;
    Ok(Row { outline: Arc::new(outline), used, marked: used, pin: Arc::default() })
}

/// The files of this blob are one thread's to change.
struct Changing<'a> {
    disk: &'a Disk,
    hash: Hash,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.disk.index().changing.remove(&self.hash);
        self.disk.changed.notify_all();
    }
}

/// A blob that is being written. Dropped before it is finished, it is gone; that blocks.
#[derive(Debug)]
pub(super) struct Part {
    disk: Arc<Disk>,
    file: File,
    path: PathBuf,
    written: u64,
    taken: u64,
}

impl Part {
    pub(super) fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.disk)
    }

    /// Writes the next bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let end = self.written + bytes.len() as u64;
        while self.taken < end {
            self.disk.take(STEP)?;
            self.taken += STEP;
        }
        self.file.write_all_at(bytes, self.written)?;
        self.written = end;
        Ok(())
    }

    /// Whether what was written is this blob.
    pub(super) fn is(&self, hash: Hash) -> Result<bool, DiskError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(&self.path)?)?;
        Ok(hasher.finalize() == hash.0)
    }

    /// Gives the file its name. `outline` is that of what was written.
    pub(super) fn finish(self, outline: Outline) -> Result<Held, DiskError> {
        let (disk, hash) = (&self.disk, outline.hash());
        self.file.sync_all()?;
        let told = self.path.with_extension("outline");
        let written = File::options().write(true).create_new(true).mode(0o600).open(&told);
        let written = written.and_then(|mut file| {
            file.write_all(&codec::encode(outline.head()))?;
            file.sync_all()
        });
        let path = disk.settings.dir.join(hash.hex());
        let _changing = disk.change(disk.settled(hash), hash);
        let named = written.and_then(|()| {
            fs::rename(&told, outline_path(&path))?;
            fs::rename(&self.path, &path)?;
            File::open(&disk.settings.dir)?.sync_all()
        });
        if let Err(error) = named {
            remove_file(&told);
            return Err(error.into());
        }
        let now = SystemTime::now();
        let row = Row { outline: Arc::new(outline), used: now, marked: now, pin: Arc::default() };
        let (outline, pin) = (Arc::clone(&row.outline), Arc::clone(&row.pin));
        let mut index = disk.index();
        index.total += outline.size();
        if let Some(before) = index.blobs.insert(hash, row) {
            index.total -= before.outline.size();
        }
        drop(index);
        Ok(Held { outline, path, pin })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.disk.index().taken -= self.taken;
        // After it got its name there is nothing here.
        remove_file(&self.path);
    }
}
