//! What the kernel does not bound, or bounds without a word: memory, processes and the disk, looked at
//! while a run goes on.
//!
//! Always: a look costs a bounded share of one processor, since the next one waits in proportion; what
//! is over its bound is said in one sentence, after which the run is ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

use super::cgroup;
use super::disk;
use super::profile::Limits;

/// How often memory is looked at: what takes a gigabyte a second is a tenth of one over its bound.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// How often the disk is: a walk through a large tree takes a while.
const LOOK_DISK: Duration = Duration::from_millis(500);

/// A look may take one part in so many of the time.
const SHARE: u32 = 10;
const SHARE_DISK: u32 = 20;

/// Below this much free disk a run that has taken part in it is ended, so that the node can go on.
const RESERVE_BYTES: u64 = 256 << 20;
const PART_BYTES: u64 = 64 << 20;

/// What to look at.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The process that all of the run's are below, whatever they do.
    pub(crate) root: i32,
    /// Whether that one is of the run, too.
    pub(crate) itself: bool,
    /// Its folders.
    pub(crate) base: PathBuf,
    /// Its bounds.
    pub(crate) limits: Limits,
    /// Where the kernel counts what it ended, if it bounds the memory.
    pub(crate) kills: Option<PathBuf>,
    /// Whether processes have no bound of the run's own.
    pub(crate) count: bool,
}

impl Watch {
    /// Looks until something is over its bound, and says what.
    pub(crate) fn until_over(&self) -> String {
        let mut next_disk = Instant::now() + LOOK;
        let mut last = Seen::default();
        let most_disk = share_of_disk(self.limits.disk_bytes, free_disk(&self.base));
        loop {
            let began = Instant::now();
            if let Some(over) = self.memory() {
                return over;
            }
            let took = began.elapsed();
            if Instant::now() >= next_disk {
                let began = Instant::now();
                if let Some(over) = self.disk(most_disk, &mut last) {
                    return over;
                }
                next_disk = Instant::now() + LOOK_DISK.max(began.elapsed() * SHARE_DISK);
            }
            thread::sleep(LOOK.max(took * SHARE));
        }
    }

    /// The sentence about memory, which is also that of a run whose end came before the next look.
    pub(crate) fn memory(&self) -> Option<String> {
        let most = self.limits.memory_bytes;
        let over = || Some(format!("used more than {most} bytes of memory"));
        if let Some(kills) = &self.kills {
            let killed = fs::read_to_string(kills).is_ok_and(|text| cgroup::was_killed(&text));
            return if killed { over() } else { None };
        }
        let (processes, bytes) = family(&self.processes());
        if bytes > most {
            return over();
        }
        let most = self.limits.processes;
        (self.count && processes > most).then(|| format!("had more than {most} processes"))
    }

    fn disk(&self, most: u64, last: &mut Seen) -> Option<String> {
        let free = free_disk(&self.base);
        // Nobody takes more than the disk lost; but others may have given something back, so this saves
        // some of the walks and not all.
        let lost = last.free.saturating_sub(free);
        let quiet = last.used.saturating_add(lost) < most / 2;
        if quiet && free > RESERVE_BYTES && last.skipped < 8 {
            last.skipped += 1;
            return None;
        }
        let found = match disk::used(&self.base, most) {
            Ok(found) => found,
            Err(over) => return Some(over),
        };
        let used = found.bytes.saturating_add(disk::deleted(&self.processes()));
        *last = Seen { free, used, skipped: 0 };
        takes_too_much(used, found.closed, most, free)
    }

    /// The processes of the run.
    fn processes(&self) -> Vec<i32> {
        let mut all = family_of(self.root);
        if !self.itself {
            all.retain(|pid| *pid != self.root);
        }
        all
    }
}

/// Bytes that whoever is not root may still write there.
fn free_disk(base: &Path) -> u64 {
    statvfs(base).map_or(u64::MAX, |now| now.f_bavail.saturating_mul(now.f_frsize))
}

/// Why a run that has `used` so much ends, of which it may have `most`, while so much is `free`. Where it has folders that
/// are `closed` to whoever counts, what cannot be counted may be all of it.
fn takes_too_much(used: u64, closed: bool, most: u64, free: u64) -> Option<String> {
    let full = "the disk of this host is full";
    match () {
        () if used > most => Some(format!("used more than {most} bytes of disk")),
        () if free >= RESERVE_BYTES => None,
        () if closed => Some(format!("{full}, and this run has closed folders")),
        () if used > PART_BYTES => Some(format!("{full}; of it {used} bytes are this run's")),
        () => None,
    }
}

/// How much of the disk a run may take that begins while `free` bytes are: half of them at most. One that
/// could take all would have the disk full between two looks.
fn share_of_disk(bound: u64, free: u64) -> u64 {
    bound.min((free / 2).max(PART_BYTES))
}

/// What the last walk found.
#[derive(Debug)]
struct Seen {
    free: u64,
    used: u64,
    skipped: u32,
}

impl Default for Seen {
    fn default() -> Self {
        // The first look is a walk: what lies there already counts.
        Self { free: u64::MAX, used: u64::MAX, skipped: 0 }
    }
}

/// How many these are, and the memory they hold. What they share is counted for each: too much rather
/// than too little.
fn family(all: &[i32]) -> (u64, u64) {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let pages = all.iter().filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        text.split(' ').nth(1)?.parse::<u64>().ok()
    });
    let bytes = pages.sum::<u64>().saturating_mul(page);
    (u64::try_from(all.len()).unwrap_or(u64::MAX), bytes)
}

/// A process and all below it, as the kernel lists children.
fn family_of(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))
        else {
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(
                children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    fn watch(base: &Path, limits: Limits) -> Watch {
        let root = i32::try_from(std::process::id()).unwrap();
        Watch { root, itself: true, base: base.to_owned(), limits, kills: None, count: true }
    }

    #[test]
    fn a_full_disk_ends_who_has_a_part_in_it_or_hides_what_it_has() {
        let (most, plenty) = (1 << 40, RESERVE_BYTES);
        for (used, closed, free, ends) in [
            (most + 1, false, plenty, true),
            (most, true, plenty, false),
            (0, true, plenty - 1, true),
            (PART_BYTES, false, plenty - 1, false),
            (PART_BYTES + 1, false, plenty - 1, true),
        ] {
            let why = takes_too_much(used, closed, most, free);
            assert_eq!(why.is_some(), ends, "{used} {closed} {free}: {why:?}");
        }
    }

    #[test]
    fn a_family_is_counted_through_all_generations() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'sleep 60 & sleep 60; wait' & wait"])
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let mut seen = 0;
        for _ in 0..500 {
            seen = family(&family_of(pid)).0;
            if seen >= 3 {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert!(seen >= 3, "{seen}");
        assert!(family(&family_of(pid)).1 > 0);
        let group = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn who_keeps_the_run_is_no_part_of_it() {
        let base = tempfile::tempdir().unwrap();
        let watch = Watch { itself: false, ..watch(base.path(), Limits::default()) };
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let seen = watch.processes();
        assert!(seen.contains(&i32::try_from(child.id()).unwrap()), "{seen:?}");
        assert!(!seen.contains(&watch.root), "{seen:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn each_bound_is_named_when_it_is_passed() {
        let base = tempfile::tempdir().unwrap();
        let said = |limits| watch(base.path(), limits).until_over();
        let limits = Limits { memory_bytes: 1, ..Limits::default() };
        assert_eq!(said(limits), "used more than 1 bytes of memory");
        let limits = Limits { processes: 0, ..Limits::default() };
        assert_eq!(said(limits), "had more than 0 processes");
        fs::write(base.path().join("data"), vec![7; 100_000]).unwrap();
        let limits = Limits { disk_bytes: 50_000, ..Limits::default() };
        assert_eq!(said(limits), "used more than 50000 bytes of disk");
    }

    #[test]
    fn a_run_may_take_half_of_what_is_free_and_no_more_than_its_bound() {
        let gib = 1 << 30;
        assert_eq!(share_of_disk(4 * gib, 100 * gib), 4 * gib);
        assert_eq!(share_of_disk(4 * gib, 2 * gib), gib);
        assert_eq!(
            share_of_disk(4 * gib, 0),
            PART_BYTES,
            "where little is free, little still runs"
        );
    }
}
