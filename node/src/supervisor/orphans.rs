//! Which children of this process are shims, and what to do about all others that jobs leave.
//!
//! A job runs under the daemon's user and may kill its own shim. Its processes are then
//! re-parented to the daemon, which is a subreaper for this reason. What is looked for: children
//! that are no shim and stand in another session than the daemon. A job's process is always in
//! its shim's session or in one made below it, and no process can enter a session that exists;
//! children that other parts of the program start stay in the daemon's session. That session may
//! have been made outside the daemon's pid namespace (a container's first process that was started
//! from a shell outside); its number is then 0 for all who see it from within.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use tokio::process::{Child, Command};

use super::tree;

/// Children belong to a process, not to one of its supervisors.
static SHIMS: Mutex<Option<HashSet<Pid>>> = Mutex::new(None);

fn shims() -> MutexGuard<'static, Option<HashSet<Pid>>> {
    SHIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on orphans of jobs come to this process.
pub(super) fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// A shim's place among the known children; freed when it was waited for.
#[derive(Debug)]
pub(super) struct Registered(Pid);

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(known) = shims().as_mut() {
            known.remove(&self.0);
        }
    }
}

/// Spawns a shim. Under the lock, so that no sweep takes the newcomer for an orphan.
pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, Registered)> {
    let mut known = shims();
    let child = command.spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the shim has no process id"))?;
    known.get_or_insert_default().insert(pid);
    Ok((child, Registered(pid)))
}

/// Kills and reaps what dead shims left behind, once round; true if something was there. To be
/// repeated until it answers false.
pub(super) fn sweep() -> bool {
    let known = shims();
    let me = getpid();
    let all = tree::scan();
    let Some(session) = all.iter().find(|process| process.pid == me).map(|own| own.session) else {
        return false;
    };
    let orphans: Vec<Pid> = all
        .iter()
        .filter(|process| {
            process.parent == me.as_raw_nonzero().get()
                && process.session != session
                && !known.as_ref().is_some_and(|shims| shims.contains(&process.pid))
        })
        .map(|process| process.pid)
        .collect();
    for process in all.iter().filter(|process| orphans.contains(&process.pid)) {
        tree::signal(process, rustix::process::Signal::KILL);
    }
    if !orphans.is_empty() {
        tree::kill_round(&orphans, false);
    }
    for orphan in &orphans {
        let _ = waitpid(Some(*orphan), WaitOptions::NOHANG);
    }
    !orphans.is_empty()
}
