//! Control groups of a run, of both versions, as far as this user may make them: memory, processes,
//! and a share of the processors that does not grow with their number.
//!
//! Always: made below the group that the node was started in, so that what binds the node binds its runs;
//! taken away when no process is left in them.
//!
//! In version 2 a group has processes or bounded groups below it, not both. A node that was given a group
//! of its own (systemd's `Delegate=yes`, a container) moves into one below that, beside those of its runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::profile::Limits;

/// What their names begin with; the number of the process that keeps them follows.
const PREFIX: &str = "skyclaw-run-";

/// Where a node moves within its own group of version 2.
const LEAF: &str = "skyclaw-node";

/// Controllers of version 1 that are asked for.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The groups of one run.
#[derive(Debug)]
pub(crate) struct Cgroup {
    groups: Vec<Group>,
}

/// The groups below which those of runs are made.
#[derive(Debug)]
pub(crate) struct Parents(Vec<Group>);

impl Parents {
    /// Those of this process.
    pub(crate) fn find() -> Self {
        Self(parents())
    }

    /// Of runs that are kept in none.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }
}

#[derive(Debug)]
struct Group {
    path: PathBuf,
    /// Of version 1, which controller; none for version 2, which has all of them in one.
    controller: Option<&'static str>,
}

impl Cgroup {
    /// Makes what can be made for the run that process `keeper` keeps.
    pub(crate) fn create(parents: &Parents, keeper: u32) -> Self {
        let made = parents.0.iter().filter_map(|Group { path, controller }| {
            let path = path.join(format!("{PREFIX}{keeper}"));
            fs::create_dir(&path).ok()?;
            Some(Group { path, controller: *controller })
        });
        let groups = made.collect();
        Self { groups }
    }

    /// Puts a process and what it starts from now on into them. Those that do not take it are given up.
    pub(crate) fn take(&mut self, process: u32) {
        let process = process.to_string();
        self.groups.retain(|group| {
            let taken = fs::write(group.path.join("cgroup.procs"), &process).is_ok();
            if !taken {
                let _ = fs::remove_dir(&group.path);
            }
            taken
        });
    }

    /// Sets the bounds. True if memory is bound by the kernel now.
    pub(crate) fn limit(&self, limits: &Limits) -> bool {
        let mut memory = false;
        for Group { path, controller } in &self.groups {
            let write = |file: &str, value: u64| fs::write(path.join(file), value.to_string());
            match controller {
                Some("memory") => {
                    memory |= write("memory.limit_in_bytes", limits.memory_bytes).is_ok();
                    // Memory and swap together, where swap is counted.
                    let _ = write("memory.memsw.limit_in_bytes", limits.memory_bytes);
                }
                Some("pids") => {
                    let _ = write("pids.max", limits.processes);
                }
                Some(_) => {}
                None => {
                    memory |= write("memory.max", limits.memory_bytes).is_ok();
                    let _ = write("memory.swap.max", 0);
                    let _ = fs::write(path.join("memory.oom.group"), "1");
                    let _ = write("pids.max", limits.processes);
                }
            }
        }
        memory
    }

    /// The file in which the kernel counts processes that it ended for want of memory.
    pub(crate) fn kills(&self) -> Option<PathBuf> {
        self.groups.iter().find_map(|Group { path, controller }| {
            let file = match controller {
                Some("memory") => "memory.oom_control",
                None => "memory.events",
                Some(_) => return None,
            };
            Some(path.join(file)).filter(|path| path.exists())
        })
    }

    /// Takes them away, once no process is in them. True if none is left.
    pub(crate) fn remove(&self) -> bool {
        // The last process is out when it has been waited for, not a moment later.
        self.groups.iter().fold(true, |all, group| all & fs::remove_dir(&group.path).is_ok())
    }
}

impl Group {
    /// Whether it is of version 2, or of the controller for memory.
    fn holds_memory(&self) -> bool {
        self.controller.is_none_or(|controller| controller == "memory")
    }
}

/// Whether the kernel ended a process of the group, from what stands in [`Cgroup::kills`].
pub(crate) fn was_killed(events: &str) -> bool {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.is_some_and(|count| count.trim() != "0")
}

/// Which parts can be had here, and why others cannot, found out by making a group.
pub(crate) fn probe() -> Result<(), String> {
    let mut group = Cgroup::create(&Parents::find(), std::process::id());
    let limits = Limits::default();
    let memory = !group.groups.is_empty() && group.limit(&limits);
    let reason = match group.groups.first() {
        None => parents().iter().find(|group| group.holds_memory()).map_or_else(
            || match unified().is_some_and(|own| names_memory(&own.join("cgroup.controllers"))) {
                true => "this node has no control group to itself".to_owned(),
                false => "no control group with a memory controller is mounted".to_owned(),
            },
            |Group { path, .. }| format!("no group can be made in {}", path.display()),
        ),
        Some(_) => "the memory controller is not handed on to this user's groups".to_owned(),
    };
    group.remove();
    group.groups.clear();
    if memory { Ok(()) } else { Err(reason) }
}

/// Makes room for groups of runs in this process's group of version 2, if that is its own alone: others in
/// it would have to move too. To be called once, before anything is run.
pub(crate) fn settle() {
    let Some(own) = unified() else { return };
    let enabled = |file: &str| names_memory(&own.join(file));
    if enabled("cgroup.subtree_control") || !enabled("cgroup.controllers") {
        return;
    }
    let alone = fs::read_to_string(own.join("cgroup.procs"))
        .is_ok_and(|all| all.trim() == std::process::id().to_string());
    if !alone {
        return;
    }
    let leaf = own.join(LEAF);
    let moved = (fs::create_dir(&leaf).is_ok() || leaf.is_dir()) && enter(&leaf);
    // Each for itself: one that is not handed on here does not keep the others from being.
    for controller in CONTROLLERS {
        let _ = fs::write(own.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    if moved && !enabled("cgroup.subtree_control") {
        let _ = enter(&own);
        let _ = fs::remove_dir(&leaf);
    }
}

fn enter(group: &Path) -> bool {
    fs::write(group.join("cgroup.procs"), "0").is_ok()
}

fn names_memory(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|on| on.split_whitespace().any(|name| name == "memory"))
}

/// This process's group of version 2, where it is mounted.
fn unified() -> Option<PathBuf> {
    placed().into_iter().find(|group| group.controller.is_none()).map(|group| group.path)
}

/// Removes groups whose keeper is no more.
pub(crate) fn sweep() {
    for Group { path, .. } in parents() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let keeper =
                name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if keeper.is_some_and(|keeper| !Path::new(&format!("/proc/{keeper}")).exists()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// The groups below which those of runs are made.
fn parents() -> Vec<Group> {
    let mut all = placed();
    all.retain_mut(|Group { path, controller }| {
        if controller.is_some() {
            return true;
        }
        if path.file_name().is_some_and(|name| name == LEAF) {
            path.pop();
        }
        // Version 2 beside version 1 may have no controller worth a group.
        names_memory(&path.join("cgroup.subtree_control"))
    });
    all
}

/// The groups that this process is in, where they are mounted.
fn placed() -> Vec<Group> {
    let read = |path: &str| -> io::Result<String> { fs::read_to_string(path) };
    let (Ok(mounts), Ok(own)) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (left, right): (Vec<_>, Vec<_>) =
            (left.split(' ').collect(), right.split(' ').collect());
        let (Some(root), Some(at), Some(kind)) = (left.get(3), left.get(4), right.first()) else {
            continue;
        };
        let options = right.get(2).copied().unwrap_or_default();
        let controllers: Vec<Option<&'static str>> = match *kind {
            "cgroup2" => vec![None],
            "cgroup" => CONTROLLERS
                .into_iter()
                .filter(|name| options.split(',').any(|option| option == *name))
                .map(Some)
                .collect(),
            _ => continue,
        };
        for controller in controllers {
            let Some(path) = own_path(&own, controller) else { continue };
            // In a container the mount may begin at the container's own group.
            let path = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
            let path = Path::new(at).join(path);
            let path = if path.is_dir() { path } else { PathBuf::from(at) };
            found.push(Group { path, controller });
        }
    }
    found
}

/// This process's group, from `number:controllers:path`.
fn own_path<'a>(own: &'a str, controller: Option<&str>) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is = match controller {
            None => names.is_empty(),
            Some(controller) => names.split(',').any(|name| name == controller),
        };
        is.then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_its_group_of_either_version() {
        let own = "8:pids:/a\n4:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/d/e\n";
        assert_eq!(own_path(own, Some("pids")), Some("/a"));
        assert_eq!(own_path(own, Some("cpu")), Some("/b"));
        assert_eq!(own_path(own, Some("memory")), None);
        assert_eq!(own_path(own, None), Some("/d/e"));
    }

    #[test]
    fn a_kill_for_want_of_memory_is_seen_in_the_files_of_both_versions() {
        assert!(was_killed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"));
        assert!(!was_killed("low 0\nhigh 0\nmax 4\noom 1\noom_kill 0\n"));
    }
}
