//! What a process of ours gives up before a job's program is there: limits, rights, its user.
//!
//! Always: in this order, each step of which needs what a later one takes. Nothing of it can be got
//! back, by the process or by what it starts.

use std::fs;

use rustix::process::{Resource, Rlimit, getegid, geteuid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::thread::{Gid, Uid, remove_capability_from_bounding_set};

use super::fault::{Fault, Step};
use super::profile::Limits;

/// Bounds of the kernel for one process; `others` is what this user has running beside the run, where
/// it has no count of its own.
pub(crate) fn limits(limits: &Limits, others: u64) -> Result<(), Fault> {
    let set = |resource: Resource, most: u64| {
        let hard = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
        let limit = Rlimit { current: Some(hard), maximum: Some(hard) };
        setrlimit(resource, limit).step(|| format!("the limit {resource:?}"))
    };
    set(Resource::Core, 0)?;
    set(Resource::Nofile, limits.open_files)?;
    set(Resource::Fsize, limits.file_bytes)?;
    set(Resource::Nproc, limits.processes.saturating_add(others))?;
    // Pages that cannot be swapped, queues and signals that wait: of no use to a job, and the machine's.
    set(Resource::Memlock, 8 << 20)?;
    set(Resource::Msgqueue, 1 << 20)?;
    set(Resource::Sigpending, 4096)
}

/// Lets the kernel end the job before anything else when memory is short.
pub(crate) fn ends_first(yes: bool) {
    // Without `/proc` it is as likely as others.
    let _ = fs::write("/proc/self/oom_score_adj", if yes { "1000" } else { "0" });
}

/// Becomes `user`, if there is one to become, and nothing more than that user.
pub(crate) fn drop_rights(user: Option<u32>) -> Result<(), Fault> {
    let bounding = || "the bounding set of rights";
    let held = rustix::thread::capabilities(None).step(bounding)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for one in CapabilitySet::all().iter().filter(|one| one.bits().count_ones() == 1) {
            // Those that this kernel does not know are not there either.
            let _ = remove_capability_from_bounding_set(one);
        }
    }
    if let Some(user) = user {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_groups(&[]).step(|| "no groups")?;
        set_thread_res_gid(gid, gid, gid).step(|| format!("group {user}"))?;
        set_thread_res_uid(uid, uid, uid).step(|| format!("user {user}"))?;
        if geteuid() != uid || getegid() != gid {
            return Err(Fault::new(format!("user {user}"), "it was not taken"));
        }
    }
    let none = CapabilitySet::empty();
    let _ = clear_ambient_capability_set();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .step(|| "no rights")?;
    set_no_new_privs(true).step(|| "no new privileges")
}

/// Processes and threads that this user has running. Those of others are not counted.
pub(crate) fn processes_of_user() -> u64 {
    let me = geteuid().as_raw();
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
        .filter_map(|entry| {
            use std::os::unix::fs::MetadataExt;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
            // The folder's owner is root for processes that hide; the real user stands in the text.
            let owner = line("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse().ok());
            let owner: u32 = owner.or_else(|| entry.metadata().ok().map(|meta| meta.uid()))?;
            (owner == me).then(|| line("Threads:")?.trim().parse::<u64>().ok()).flatten()
        })
        .sum()
}
