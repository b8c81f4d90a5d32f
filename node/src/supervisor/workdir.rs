//! Private directories of jobs: made for one run, gone after it.
//!
//! Always: below one root per daemon, which only the daemon's user may enter and whose name
//! cannot be guessed. Removal never follows a link and is not stopped by what the job did to its
//! permissions or by depth.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, chmodat, flock, openat, renameat,
    statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use skyclaw_protocol::SandboxLevel;

use crate::sandbox::user::{self, RunUser};

/// Held locked by the daemon that owns a root.
const LOCK: &str = ".lock";

/// A root without a lock is one whose daemon is just starting, until it is this old.
const UNLOCKED_GRACE: Duration = Duration::from_secs(600);

/// The root of one daemon's job directories. Removed when dropped.
#[derive(Debug)]
pub(super) struct WorkRoot {
    path: PathBuf,
    count: AtomicU64,
    /// At which level runs are kept here.
    level: SandboxLevel,
    lock: Mutex<File>,
}

/// The directories of one job.
#[derive(Clone, Debug)]
pub(super) struct JobDir {
    pub(super) path: PathBuf,
    pub(super) home: String,
    pub(super) tmp: String,
    pub(super) work: String,
    /// Whose they are while it runs, where that is another user than the daemon's.
    pub(super) user: Option<Arc<RunUser>>,
    /// Whether they were given to that user.
    pub(super) handed: Arc<AtomicBool>,
}

impl WorkRoot {
    /// A fresh root below `base`. Roots of daemons that are no more are removed meanwhile.
    pub(super) fn create(base: &Path, level: SandboxLevel) -> io::Result<Self> {
        private_dirs().recursive(true).create(base)?;
        let base = fs::canonicalize(base)?;
        let prefix = root_prefix();
        let (swept, old) = (base.clone(), prefix.clone());
        std::thread::Builder::new().name("sweep".into()).spawn(move || sweep(&swept, &old))?;
        loop {
            let name = format!("{prefix}{}-{:016x}", std::process::id(), rand::random::<u64>());
            let path = base.join(name);
            private_dirs().create(&path)?;
            if has_users(level) {
                set_mode(&path, PASSED)?;
            }
            let lock = File::create_new(path.join(LOCK))?;
            // Another daemon's sweep may have been quicker than the lock.
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && path.exists() {
                return Ok(Self { path, count: AtomicU64::new(0), level, lock: Mutex::new(lock) });
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the root again, or opens it: a job runs as the daemon's user and may have removed or
    /// closed it, and so may whatever cleans the temporary directory of old files.
    fn renew(&self) -> io::Result<()> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.path.exists() {
            return open_up(CWD, &self.path);
        }
        tracing::warn!(path = %self.path.display(), "the jobs' folder was removed; it is made again");
        private_dirs().recursive(true).create(&self.path)?;
        if has_users(self.level) {
            set_mode(&self.path, PASSED)?;
        }
        let lock = File::create_new(self.path.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        *held = lock;
        Ok(())
    }

    /// Directories for one job.
    pub(super) fn job(&self) -> io::Result<JobDir> {
        let path = self.path.join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        if let Err(error) = private_dirs().create(&path) {
            use io::ErrorKind::{NotFound, PermissionDenied};
            if !matches!(error.kind(), NotFound | PermissionDenied) {
                return Err(error);
            }
            self.renew()?;
            private_dirs().create(&path)?;
        }
        let user = if has_users(self.level) {
            set_mode(&path, PASSED)?;
            Some(Arc::new(RunUser::take()?))
        } else {
            None
        };
        let make = |name: &str| {
            let dir = path.join(name);
            private_dirs().create(&dir)?;
            dir.into_os_string()
                .into_string()
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))
        };
        let made = make("home").and_then(|home| Ok((home, make("tmp")?, make("work")?)));
        match made {
            Ok((home, tmp, work)) => {
                Ok(JobDir { path, home, tmp, work, user, handed: Arc::default() })
            }
            Err(error) => {
                let _ = remove(&path);
                Err(error)
            }
        }
    }
}

impl Drop for WorkRoot {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

/// What the names of this user's roots begin with.
fn root_prefix() -> String {
    format!("skyclaw-{}-", geteuid().as_raw())
}

/// The root of a daemon of this user, in the folder `base`, that `path` lies below.
pub(super) fn root_above(path: &Path, base: &Path) -> Option<PathBuf> {
    let name = path.strip_prefix(base).ok()?.components().next()?.as_os_str();
    name.to_str()?.starts_with(&root_prefix()).then(|| base.join(name))
}

/// Whether runs have users of their own here.
fn has_users(level: SandboxLevel) -> bool {
    level != SandboxLevel::None && user::can_be_given()
}

/// Others may pass, to what they may enter below, and not look.
const PASSED: u32 = 0o711;

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn private_dirs() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Removes the roots of dead daemons of this user.
fn sweep(base: &Path, prefix: &str) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix))
            && fs::symlink_metadata(&path)
                .is_ok_and(|meta| meta.is_dir() && meta.uid() == geteuid().as_raw());
        if ours && is_dead(&path) {
            match remove(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed what a dead daemon left"),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove what a dead daemon left");
                }
            }
        }
    }
}

fn is_dead(root: &Path) -> bool {
    match File::open(root.join(LOCK)) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(_) => fs::symlink_metadata(root).and_then(|meta| meta.modified()).is_ok_and(|at| {
            SystemTime::now().duration_since(at).is_ok_and(|age| age > UNLOCKED_GRACE)
        }),
    }
}

/// Removes a directory and all below it.
///
/// Works on the top level only: a directory found in a subdirectory is moved up first. So depth
/// costs neither stack nor file descriptors, and no path is long.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    open_up(CWD, path)?;
    let top = open(CWD, path)?;
    let mut moved = 0_u64;
    loop {
        let names = list(&top)?;
        if names.is_empty() {
            break;
        }
        for (name, is_dir) in names {
            if !is_dir {
                unlinkat(&top, &name, AtFlags::empty())?;
                continue;
            }
            open_up(&top, &name)?;
            let dir = open(&top, &name)?;
            for (child, is_dir) in list(&dir)? {
                if !is_dir {
                    unlinkat(&dir, &child, AtFlags::empty())?;
                } else if unlinkat(&dir, &child, AtFlags::REMOVEDIR).is_err() {
                    // Moving a directory takes write permission on itself.
                    open_up(&dir, &child)?;
                    // Names that the job chose are stepped over.
                    while {
                        moved += 1;
                        exists(&top, &format!(".moved-{moved}"))
                    } {}
                    renameat(&dir, &child, &top, format!(".moved-{moved}"))?;
                }
            }
            drop(dir);
            unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    unlinkat(CWD, path, AtFlags::REMOVEDIR)?;
    Ok(())
}

fn exists(dir: &OwnedFd, name: &str) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn open(at: impl AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

/// Gives the owner full rights on a directory (never on what a link points to).
fn open_up(at: impl AsFd, path: impl rustix::path::Arg + Copy) -> io::Result<()> {
    let stat = statat(&at, path, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR.into());
    }
    if stat.st_mode & 0o700 != 0o700 {
        chmodat(&at, path, Mode::RWXU, AtFlags::empty())?;
    }
    Ok(())
}

/// Names in a directory, and whether each is a directory itself.
fn list(dir: &OwnedFd) -> io::Result<Vec<(std::ffi::CString, bool)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        names.push((name.to_owned(), kind == FileType::Directory));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_with_closed_deep_and_linked_parts_is_removed_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), "x").unwrap();
        let root = base.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir(root.join(".moved-1")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        symlink(&outside, root.join("a/link")).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let mut top = open(CWD, &root).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&top, "d", Mode::RWXU).unwrap();
            top = open(&top, "d").unwrap();
        }
        for closed in ["a/b/c", "a/b", "a"] {
            fs::set_permissions(root.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove(&root).unwrap();
        assert!(!root.exists());
        assert!(outside.join("keep").exists());
    }

    #[test]
    fn roots_of_dead_daemons_are_swept_and_those_of_living_ones_are_not() {
        let base = tempfile::tempdir().unwrap();
        let living = WorkRoot::create(base.path(), SandboxLevel::None).unwrap();
        let dead = base.path().join(format!("skyclaw-{}-1-dead", geteuid().as_raw()));
        fs::create_dir_all(dead.join("0/home")).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let another = WorkRoot::create(base.path(), SandboxLevel::None).unwrap();
        for _ in 0..1000 {
            std::thread::sleep(Duration::from_millis(if dead.exists() { 10 } else { 0 }));
        }
        assert!(!dead.exists());
        assert!(living.path.exists() && another.path.exists());
        let mode = fs::metadata(&living.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let job = living.job().unwrap();
        assert!(Path::new(&job.home).is_dir() && Path::new(&job.work).is_dir());
        drop(living);
        assert!(!job.path.exists());
    }

    #[test]
    fn a_root_that_somebody_removed_is_made_again_and_is_not_swept() {
        let base = tempfile::tempdir().unwrap();
        let root = WorkRoot::create(base.path(), SandboxLevel::None).unwrap();
        root.job().unwrap();
        fs::remove_dir_all(&root.path).unwrap();
        let job = root.job().unwrap();
        assert!(Path::new(&job.work).is_dir());
        assert!(!is_dead(&root.path));
        let mode = fs::metadata(&root.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
