//! Which level this machine reaches, found out by reaching for it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use skyclaw_protocol::SandboxLevel;

use super::finding::Finding;
use super::{Ground, Wanted, cgroup, rules, user};
use crate::supervisor::program::Program;
use crate::supervisor::trial;

/// Trials of a level before it is given up, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Tries the levels from the strongest that is wanted down to the first that works.
pub(super) fn probe(wanted: &Wanted) -> (SandboxLevel, Vec<Finding>) {
    let most = wanted.level.unwrap_or(SandboxLevel::Isolated);
    let program = Program::of(wanted.shim.as_deref());
    let work_dir = wanted.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    cgroup::sweep();
    let mut findings = Vec::new();
    let levels = SandboxLevel::ALL.into_iter().rev().filter(|level| *level <= most);
    for level in levels {
        if level == SandboxLevel::None {
            break;
        }
        match try_out(wanted, level, (&program, &work_dir)) {
            Ok(()) => {
                findings.extend(missing(level));
                return (level, findings);
            }
            Err(reason) => findings.push(decisive(level, &reason)),
        }
    }
    (SandboxLevel::None, findings)
}

/// Runs something at that level. The machine goes on meanwhile: a mount that is taken away while it is bound,
/// say, spoils a trial, and a level must not be given up for long because of that.
fn try_out(
    wanted: &Wanted,
    level: SandboxLevel,
    (program, work_dir): (&Program, &Path),
) -> Result<(), String> {
    let mut tries = 1;
    loop {
        let profile = wanted.profile(level);
        let ground = Ground::new(&profile, wanted.readable.clone(), &wanted.hidden);
        match trial::run(program, work_dir, &ground, profile) {
            Err(_) if tries < TRIES => thread::sleep(PAUSE),
            done => return done,
        }
        tries += 1;
    }
}

/// Why a level is not reached.
fn decisive(level: SandboxLevel, reason: &str) -> Finding {
    let (part, said) = reason.split_once(": ").unwrap_or(("a trial", reason));
    let namespace = part.contains("namespace");
    let remedy = if part.contains("user namespace") || (namespace && !user::can_be_given()) {
        let mut text = "let this user make user namespaces".to_owned();
        for name in [
            "user/max_user_namespaces",
            "kernel/unprivileged_userns_clone",
            "kernel/apparmor_restrict_unprivileged_userns",
        ] {
            if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(name)) {
                text.push_str(&format!(" (sysctl {} is {})", name.replace('/', "."), value.trim()));
            }
        }
        text
    } else if part == "mounting /proc" {
        "parts of /proc are covered here, and the kernel gives nobody a fresh one to look behind that: \
         take away what covers them (systemd: ProtectKernelTunables, ProtectKernelLogs, ProtectProc; \
         a container: --security-opt systempaths=unconfined)"
            .to_owned()
    } else if namespace
        || part.contains("root")
        || part.contains("mounting")
        || part.contains("binding")
    {
        "the right to make namespaces and mounts is missing; in a container run it with \
         --security-opt seccomp=unconfined and CAP_SYS_ADMIN, or as an ordinary user"
            .to_owned()
    } else if part.contains("Landlock") {
        "a kernel from 5.13 on, with landlock among its security modules (lsm=)".to_owned()
    } else if part.contains("filter") {
        "a kernel with CONFIG_SECCOMP_FILTER".to_owned()
    } else if part.contains("starting a program") && user::can_be_given() {
        "runs have users of their own, who must be able to enter the folder of runs: open the \
         folders above it (chmod o+x) or name another in SKYCLAW_WORK_DIR"
            .to_owned()
    } else {
        String::new()
    };
    Finding { level, part: part.to_owned(), reason: said.to_owned(), remedy, decides: true }
}

/// What a level that is reached lacks, and what stands in for it.
fn missing(level: SandboxLevel) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |part: &str, reason: String, remedy: &str| {
        let (part, remedy) = (part.to_owned(), remedy.to_owned());
        found.push(Finding { level, part, reason, remedy, decides: false });
    };
    if let Err(reason) = cgroup::probe() {
        let instead = "memory is looked at ten times a second instead; a control group that is handed to \
                       this user (systemd: Delegate=yes) would bound it at once";
        add("memory control group", reason, instead);
    }
    if level >= SandboxLevel::Landlock {
        let files = "a kernel from 5.13 on with landlock among its security modules";
        match rules::version() {
            Err(reason) if level == SandboxLevel::Isolated => {
                add("Landlock", reason, files);
            }
            Ok(version) if version < 4 => {
                let reason =
                    format!("this kernel has version {version} of Landlock, TCP came with 4");
                add(
                    "Landlock for TCP",
                    reason,
                    "services begin no connections at all; a kernel from 6.7 on",
                );
            }
            Ok(version) if version < 6 => {
                let reason =
                    format!("this kernel has version {version} of Landlock, scopes came with 6");
                add("Landlock for signals and abstract sockets", reason, "a kernel from 6.12 on");
            }
            Ok(_) | Err(_) => {}
        }
    }
    if !user::can_be_given() && level < SandboxLevel::Isolated {
        let reason = "runs have the node's own user, and no count of their own".to_owned();
        add("bound of processes", reason, "processes are counted ten times a second instead");
    }
    found
}
