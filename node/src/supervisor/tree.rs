//! Processes as `/proc` shows them: who descends from whom, and how to reach them all.
//!
//! Always: a signal goes to the process that was seen, never to a later one that got its number.

use std::collections::HashSet;
use std::fs;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal,
};

/// One process at the time of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) zombie: bool,
    /// Start time in clock ticks since boot; with the pid it names a process for good.
    start: u64,
}

/// All processes that can be seen.
pub(super) fn scan() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: i32) -> Option<Process> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state parent group session ... start`; the name may hold anything.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Process {
        pid: Pid::from_raw(pid)?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        start: fields.get(19)?.parse().ok()?,
    })
}

/// Those of `all` that descend from one of `roots`; the roots themselves are left out.
pub(super) fn descendants(all: &[Process], roots: &[Pid]) -> Vec<Process> {
    let mut known: HashSet<i32> = roots.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let mut found: Vec<Process> = Vec::new();
    loop {
        let before = found.len();
        for process in all {
            let pid = process.pid.as_raw_nonzero().get();
            if known.contains(&process.parent) && known.insert(pid) {
                found.push(*process);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Signals one process, if it is still the one that was seen.
pub(super) fn signal(process: &Process, signal: Signal) {
    match pidfd_open(process.pid, PidfdFlags::empty()) {
        Ok(fd) => {
            let pid = process.pid.as_raw_nonzero().get();
            if read(pid).is_some_and(|now| now.start == process.start) {
                let _ = pidfd_send_signal(fd, signal);
            }
        }
        // Kernels before 5.3: the number is all there is.
        Err(Errno::NOSYS) => {
            let _ = kill_process(process.pid, signal);
        }
        Err(_) => {}
    }
}

/// Signals every descendant of `roots` once. A second look catches those born during the first;
/// more looks would hit the helpers that a handler of the signal starts to clean up.
pub(super) fn signal_once(roots: &[Pid], with: Signal) {
    let mut told = HashSet::new();
    for _ in 0..2 {
        for process in descendants(&scan(), roots) {
            if !process.zombie && told.insert((process.pid, process.start)) {
                signal(&process, with);
            }
        }
    }
}

/// One round of killing every descendant of `roots`; true if one was alive. With `groups`, whole
/// process groups are killed too: that reaches processes which fork faster than `/proc` is read.
/// It is safe since a group never spans sessions and the caller's own group is spared.
pub(super) fn kill_round(roots: &[Pid], groups: bool) -> bool {
    let (all, me) = (scan(), getpid());
    let Some(own) = all.iter().find(|process| process.pid == me).map(|own| own.group) else {
        return true; // A scan that misses its reader says nothing about others.
    };
    let alive: Vec<Process> =
        descendants(&all, roots).into_iter().filter(|process| !process.zombie).collect();
    for process in &alive {
        if groups
            && process.group != own
            && let Some(group) = Pid::from_raw(process.group)
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        signal(process, Signal::KILL);
    }
    !alive.is_empty()
}

/// Kills the caller's direct children as the kernel lists them: one read, so it keeps up with a
/// process that only ever forks and exits. False if the kernel has no such list.
pub(super) fn kill_children() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return false };
    let mut listed = false;
    for thread in threads.flatten() {
        let Ok(children) = fs::read_to_string(thread.path().join("children")) else { continue };
        listed = true;
        for pid in children.split_ascii_whitespace() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat =
            b"77 (a) b (c) S 5 6 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 18446744073709551615";
        let process = parse(77, stat).unwrap();
        assert_eq!((process.parent, process.group, process.session), (5, 6, 7));
        assert_eq!(process.start, 4242);
    }

    #[test]
    fn descendants_are_found_whatever_the_order_of_the_list() {
        let process = |pid, parent| Process {
            pid: Pid::from_raw(pid).unwrap(),
            parent,
            group: pid,
            session: pid,
            zombie: false,
            start: 1,
        };
        let all = [process(30, 20), process(20, 10), process(10, 1), process(40, 1)];
        let found = descendants(&all, &[Pid::from_raw(10).unwrap()]);
        let pids: Vec<i32> = found.iter().map(|p| p.pid.as_raw_nonzero().get()).collect();
        assert_eq!(pids, [20, 30]);
    }
}
