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

/// Folders in each other: `node_modules` reach 30. What lies deeper is not counted, so it may not be.
const DEEPEST: usize = 200;

/// Files and folders: what a large build has, ten times. A walk through more would take seconds.
const MOST_FILES: u64 = 1_000_000;

/// A block as `stat` counts them.
const BLOCK: u64 = 512;

/// Open files looked at for deleted ones.
const MOST_OPEN: usize = 20_000;

/// Bytes below a folder; some number above `enough` once that is passed. The error is a sentence about
/// the run.
pub(crate) fn used(base: &Path, enough: u64) -> Result<u64, String> {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    let mut linked = HashSet::new();
    let Some(top) = open(CWD, base) else { return Ok(0) };
    let mut stack = vec![top];
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
        let Ok(stat) = statat(&*at, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        files += 1;
        // A file with several names takes its blocks once.
        if stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino)) {
            bytes = bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK);
        }
        if bytes > enough {
            return Ok(bytes);
        }
        if files > MOST_FILES {
            return Err(format!("made more than {MOST_FILES} files"));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if stack.len() == DEEPEST {
                return Err(format!("made folders more than {DEEPEST} deep"));
            }
            // One that is closed to its owner cannot be counted; it is rare and holds no more than the
            // free space, which is watched too.
            let below = stack.last().and_then(|(at, _)| open(at, name));
            stack.extend(below);
        }
    }
    Ok(bytes)
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Option<(OwnedFd, Dir)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(at, name, flags, Mode::empty()).ok()?;
    let dir = Dir::read_from(&fd).ok()?;
    Some((fd, dir))
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
    use std::os::unix::fs::symlink;

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
        assert!((1 << 20..2 << 20).contains(&used), "{used}");
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
