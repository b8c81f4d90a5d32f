//! A node and all that runs below it: standing still and going on.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

fn children(of: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    let text: String = lists.map(Result::unwrap_or_default).collect();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn below(of: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    let mut open = children(of);
    while let Some(pid) = open.pop() {
        if all.insert(pid) {
            open.extend(children(pid));
        }
    }
    all
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended.
        let _ = kill_process(pid, signal);
    }
}

/// Stops all that runs below a node that stands still itself.
pub(crate) fn freeze(node: u32) {
    let mut stopped = BTreeSet::new();
    loop {
        let fresh: Vec<u32> = below(node).difference(&stopped).copied().collect();
        if fresh.is_empty() {
            return;
        }
        for pid in fresh {
            signal(pid, Signal::STOP);
            stopped.insert(pid);
        }
    }
}

/// The node and the shims go on, and after the head start all below them.
pub(crate) fn wake(node: u32, head_start: Duration) {
    signal(node, Signal::CONT);
    let shims = children(node);
    shims.iter().for_each(|pid| signal(*pid, Signal::CONT));
    if below(node).len() > shims.len() {
        sleep(head_start);
    }
    below(node).into_iter().for_each(|pid| signal(pid, Signal::CONT));
}
