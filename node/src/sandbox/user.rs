//! A user of its own for each run, where the node is root.
//!
//! Always: no two runs of this machine have one user at a time: a number is held by a name that the
//! kernel gives to one process and takes back when that dies, as ports of services are.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::lchown;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::geteuid;

/// Numbers that no system gives to anybody: those that systemd keeps for such users are the same.
const FIRST: u32 = 61_184;
const LAST: u32 = 65_519;

/// The next number, so that one is not used again soon: what its last run left anywhere stays closed.
static NEXT: OnceLock<AtomicU32> = OnceLock::new();

/// Whether this process can give runs users of their own: it is root, and not only within a user
/// namespace that knows none of those numbers. Such a root is an ordinary user.
pub(crate) fn can_be_given() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        geteuid().is_root() && covers(&map)
    })
}

/// Whether all of the numbers are in a `uid_map`: lines of a first number, what it is outside, and how many.
fn covers(map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.nth(1)) else {
            return false;
        };
        first <= u64::from(FIRST) && first.saturating_add(count) > u64::from(LAST)
    })
}

/// A user until it is dropped.
#[derive(Debug)]
pub(crate) struct RunUser {
    id: u32,
    _name: UnixListener,
}

impl RunUser {
    /// One that nobody has.
    pub(crate) fn take() -> io::Result<Self> {
        let span = LAST - FIRST + 1;
        let next = NEXT.get_or_init(|| AtomicU32::new(rand::random()));
        for _ in 0..span {
            let id = FIRST + next.fetch_add(1, Ordering::Relaxed) % span;
            let name = format!("skyclaw-user-{id}");
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            if let Ok(name) = UnixListener::bind_addr(&name) {
                return Ok(Self { id, _name: name });
            }
        }
        Err(io::Error::other(format!("every user from {FIRST} to {LAST} is taken")))
    }

    /// Its number, also that of its group.
    pub(crate) const fn id(&self) -> u32 {
        self.id
    }
}

/// Gives a folder with all in it to a user. Nothing of a run may be there yet: paths are followed.
pub(crate) fn hand_over(folder: &Path, user: u32) -> io::Result<()> {
    lchown(folder, Some(user), Some(user))?;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            lchown(entry.path(), Some(user), Some(user))?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_knows_no_other_user_can_give_none() {
        assert!(covers("         0          0 4294967295\n"));
        assert!(covers("0 1000 1\n1 100000 65536\n"));
        assert!(!covers("0 65534 1\n") && !covers("0 0 62000\n") && !covers(""));
    }

    #[test]
    fn no_two_runs_have_one_user() {
        let users = [(); 20].map(|()| RunUser::take().unwrap());
        let mut ids = users.each_ref().map(RunUser::id).to_vec();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), users.len());
        assert!(ids.iter().all(|id| (FIRST..=LAST).contains(id)));
    }
}
