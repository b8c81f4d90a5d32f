//! The process of ours that becomes a sandbox and then, where it has processes of its own, stays its
//! first one: the shim's program again, started by the shim ahead of its job.
//!
//! ```text
//! shim ──> inner: namespaces, mounts ──(the job is there)──> its folders, network, limits, rules,
//!            user, rights, filter ──> basic, landlock: becomes the job's program
//!                                 └─> isolated: starts it, and reaps until nothing is left
//! ```
//!
//! Always: nothing of the job runs before all of it is in force; if a step fails the shim hears which,
//! and nothing is run. At `isolated` this is process 1 of its namespace: the job cannot signal it, and
//! when it ends, the kernel ends everything in there.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, chdir, geteuid, set_dumpable_behavior,
    set_parent_process_death_signal, umask, wait,
};
use skyclaw_protocol::SandboxLevel;

use super::wire::{self, Event, Launch};
use crate::sandbox::fault::{Fault, Step};
use crate::sandbox::filter::{self, Sockets};
use crate::sandbox::mounts::{self, Begun};
use crate::sandbox::rules::{self, InForce};
use crate::sandbox::{Ground, Network, forward, namespaces, restrict};

/// Does the work; the answer is this process's exit code, if it does not become the job.
pub(super) fn run() -> i32 {
    // If it failed the shim sees the socket close.
    keep().unwrap_or(70)
}

fn keep() -> io::Result<i32> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let ground: Ground = wire::receive(&mut socket)?;
    let begun = begin(&ground);
    let Ok(launch) = wire::receive::<Launch>(&mut socket) else { return Ok(0) };
    let ready = begun.and_then(|begun| finish(begun, &ground, &launch));
    let stdin = match ready {
        Ok(stdin) => stdin,
        Err(fault) => {
            wire::send(&socket, &Event::Unkept { text: fault.to_string() })?;
            return Ok(0);
        }
    };
    // What is wrong with these is the job's.
    if let Err(errno) = chdir(launch.cwd.as_str()) {
        return not_started(&socket, &errno.into());
    }
    let mut command = Command::new(&launch.program);
    command
        .arg0(&launch.arg0)
        .args(&launch.args)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(stdin);
    wire::send(&socket, &Event::Starting)?;
    if ground.level != SandboxLevel::Isolated {
        // The socket closes with that.
        return not_started(&socket, &command.exec());
    }
    if let Network::Proxy(_) = launch.profile.network {
        command.envs(forward::variables());
    }
    // Its own group, so that a job which signals its group does not hit this process.
    match command.process_group(0).spawn() {
        Err(error) => not_started(&socket, &error),
        Ok(child) => {
            // The job alone may hold the pipes, or their end would never be seen.
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            let main = Pid::from_child(&child);
            wire::send(&socket, &Event::Started { pid: main.as_raw_nonzero().get() })?;
            reap(main, &socket);
            Ok(0)
        }
    }
}

fn not_started(socket: &UnixStream, error: &io::Error) -> io::Result<i32> {
    let event = Event::NotStarted { errno: error.raw_os_error(), text: error.to_string() };
    wire::send(socket, &event)?;
    Ok(0)
}

/// What can be done before the job is known.
fn begin(ground: &Ground) -> Result<Option<Begun>, Fault> {
    if ground.level != SandboxLevel::Isolated {
        return Ok(None);
    }
    namespaces::own_view()?;
    if ground.own_network {
        namespaces::own_network()?;
    }
    mounts::begin(ground).map(Some)
}

/// The rest, up to the job's own folder and program; its standard input.
fn finish(begun: Option<Begun>, ground: &Ground, launch: &Launch) -> Result<Stdio, Fault> {
    let (profile, isolated) = (&launch.profile, begun.is_some());
    let Some(places) = &launch.places else {
        return Err(Fault::new("the run's folders", "none were named"));
    };
    if let Some(begun) = begun {
        begun.finish(ground, profile, places)?;
    } else if matches!(profile.network, Network::Proxy(_)) {
        return Err(Fault::new(
            "a network by a list of hosts",
            "only isolated runs are held to one",
        ));
    }
    // Counted by itself: in a user namespace of its own, or as a user of its own.
    let alone = isolated || places.user.is_some();
    let others = if alone { 0 } else { restrict::processes_of_user() };
    restrict::limits(&profile.limits, others)?;
    restrict::ends_first(true);
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Opened while this process may open what is only handed on.
    let stdin = File::open(launch.stdin.as_deref().unwrap_or("/dev/null"));
    let stdin = Stdio::from(stdin.step(|| "its standard input")?);
    let force = if ground.level >= SandboxLevel::Landlock {
        rules::apply(ground, profile, places)?
    } else {
        InForce { files: false, ports: false }
    };
    restrict::drop_rights(places.user)?;
    if isolated {
        // Taking another user took this back.
        set_parent_process_death_signal(Some(Signal::KILL)).step(|| "the end with the shim")?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable).step(|| "hiding the first process")?;
    }
    debug_assert!(places.user.is_none_or(|user| geteuid().as_raw() == user));
    let sockets = match (&profile.network, profile.port) {
        (Network::Host, _) => Sockets::Internet,
        (_, Some(_)) => Sockets::Answering { held: force.ports },
        (_, None) if isolated => Sockets::Internet,
        (_, None) => Sockets::Unix,
    };
    filter::apply(sockets, isolated)?;
    if let Network::Proxy(_) = profile.network {
        forward::start(mounts::PROXY, profile.limits.processes)?;
    }
    Ok(stdin)
}

/// Waits for every process of the namespace: all orphans in it are this process's children.
fn reap(main: Pid, socket: &UnixStream) {
    let mut ended = None;
    loop {
        // Whether it was the last one is told with its end.
        let options = if ended.is_some() { WaitOptions::NOHANG } else { WaitOptions::empty() };
        match wait(options) {
            Ok(Some((pid, status))) if pid == main => ended = Some(status.exit_status()),
            Ok(None) => {
                if let Some(code) = ended.take() {
                    let _ = wire::send(socket, &Event::Exited { code, last: false });
                }
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Err(_) => {
                if let Some(code) = ended {
                    let _ = wire::send(socket, &Event::Exited { code, last: true });
                }
                // Told here: the kernel takes some milliseconds to clear the namespaces away.
                let _ = wire::send(socket, &Event::Gone);
                return;
            }
        }
    }
}
