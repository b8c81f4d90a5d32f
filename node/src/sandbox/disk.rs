//! How much of the disk a run's folders take: blocks, not lengths, of what lies there and of what was
//! deleted and is still open.
//!
//! Always: links are not followed, depth costs no more descriptors than the bound below, and the walk
//! ends at the bound that was asked about.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// Folders in each other: `node_modules` reach 30. What lies deeper is not counted, so it may not be.
const DEEPEST: usize = 200;

/// Files and folders: what a large build has, ten times. A walk through more would take seconds.
const MOST_FILES: u64 = 1_000_000;

/// A block as `stat` counts them.
const BLOCK: u64 = 512;

/// Open files looked at for deleted ones.
const MOST_OPEN: usize = 20_000;

/// What lies below a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Its bytes, as far as they can be seen.
    pub(crate) bytes: u64,
    /// There are folders that this process may not look into: a run can close its own to the user that
    /// it shares with a node.
    pub(crate) closed: bool,
}

/// Bytes below a folder; some number above `enough` once that is passed. The error is a sentence about
/// the run.
pub(crate) fn used(base: &Path, enough: u64) -> Result<Used, String> {
    let (mut used, mut files) = (Used::default(), 0_u64);
    let mut linked = HashSet::new();
    let mut stack = Vec::new();
    match open(CWD, base) {
        Ok(top) => stack.push(top),
        Err(errno) => used.closed = is_closed(errno),
    }
    while let Some((at, dir)) = stack.last_mut() {
        let Some(entry) = dir.next() else {
            stack.pop();
            continue;
        };
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = match statat(&*at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(errno) => {
                used.closed |= is_closed(errno);
                continue;
            }
        };
        files += 1;
        // A file with several names takes its blocks once.
        if stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino)) {
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            used.bytes = used.bytes.saturating_add(blocks * BLOCK);
        }
        if used.bytes > enough {
            return Ok(used);
        }
        if files > MOST_FILES {
            return Err(format!("made more than {MOST_FILES} files"));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if stack.len() == DEEPEST {
                return Err(format!("made folders more than {DEEPEST} deep"));
            }
            match stack.last().map(|(at, _)| open(at, name)) {
                Some(Ok(below)) => stack.push(below),
                Some(Err(errno)) => used.closed |= is_closed(errno),
                None => {}
            }
        }
    }
    Ok(used)
}

fn open(
    at: impl std::os::fd::AsFd,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<(OwnedFd, Dir)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(at, name, flags, Mode::empty())?;
    let dir = Dir::read_from(&fd)?;
    Ok((fd, dir))
}

/// Others than these come of what the run does meanwhile: it removes, or puts something in place of it.
fn is_closed(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM)
}

/// Bytes of files that these processes hold open and that have no name any more.
pub(crate) fn deleted(processes: &[i32]) -> u64 {
    let mut seen = HashSet::new();
    let open = processes.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter());
    open.flatten()
        .flatten()
        .take(MOST_OPEN)
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .filter(|meta| meta.is_file() && meta.nlink() == 0 && seen.insert((meta.dev(), meta.ino())))
        .map(|meta| meta.blocks() * BLOCK)
        .sum()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn blocks_are_counted_once_whatever_names_they_have_and_holes_are_not() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        fs::write(at("data"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(at("data"), at("again")).unwrap();
        symlink("/", at("link")).unwrap();
        fs::File::create(at("hole")).unwrap().set_len(1 << 40).unwrap();
        let used = used(base.path(), u64::MAX).unwrap();
        assert!((1 << 20..2 << 20).contains(&used.bytes) && !used.closed, "{used:?}");
    }

    #[test]
    fn folders_that_are_closed_to_whoever_counts_are_told_of() {
        if rustix::process::geteuid().is_root() {
            return; // Root looks into everything.
        }
        let closed = |mode: u32| {
            let base = tempfile::tempdir().unwrap();
            let folder = base.path().join("folder");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("data"), vec![1; 1 << 20]).unwrap();
            let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode));
            set(mode).unwrap();
            let used = used(base.path(), u64::MAX).unwrap();
            set(0o700).unwrap();
            (used.closed, used.bytes >= 1 << 20)
        };
        assert_eq!(closed(0o000), (true, false));
        assert_eq!(
            closed(0o400),
            (true, false),
            "its names can be read, and not how large they are"
        );
        assert_eq!(closed(0o500), (false, true));
    }

    #[test]
    fn what_was_deleted_and_is_open_counts() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("data");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(&vec![1; 4 << 20]).unwrap();
        file.sync_all().unwrap();
        fs::remove_file(&path).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(deleted(&[me]) >= 4 << 20);
    }

    #[test]
    fn a_tree_that_is_too_deep_to_count_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let deep = (0..DEEPEST + 5).fold(base.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(deep).unwrap();
        assert!(used(base.path(), u64::MAX).unwrap_err().contains("deep"));
    }
}
