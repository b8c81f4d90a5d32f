//! The process between the daemon and its runs: a small program of ours, or the daemon's own file again,
//! started with a hidden argument.
//!
//! It is the job's *child subreaper*: whatever the job starts, forked twice, in a session of its
//! own or daemonised, is re-parented to the shim and to nobody else. So the shim can reach every
//! descendant, and `wait` answering "no child" is the kernel's word that none is left. It ends
//! the job when the daemon says so or when the daemon's end of the socket closes, which happens
//! even if the daemon is killed outright, or when the moment is over until which the job may run: a
//! daemon that stands still renews no lease and ends no job.
//!
//! What runs in a sandbox has a second process of ours between, which becomes the sandbox (see `kept`).
//! A shim whose run left nothing behind may keep another one (see `again`).
//!
//! Never here: policy, secrets, output. The shim gets a ready order and an empty environment.

mod again;
mod keeper;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{
    DumpableBehavior, Pid, Signal, getpid, set_child_subreaper, set_dumpable_behavior, setsid,
};
use skyclaw_protocol::SandboxLevel;

use super::inner;
use super::program::{self, NAME, OTHER_BUILD, Part};
use super::wire::{self, Launch};
use crate::sandbox::{Ground, namespaces, user};
use keeper::Keeper;

/// Turns this process into a shim, or what it starts, if it was started as one, and then does not return.
///
/// To be called first thing in `main`, before arguments are parsed and threads start.
pub fn run_if_asked() {
    let Some(asked) = std::env::args_os().nth(1).and_then(|argument| Part::read(&argument)) else {
        return;
    };
    std::process::exit(match asked {
        None => OTHER_BUILD,
        Some(Part::Check) => program::answer(),
        Some(Part::Inner) => inner::run(),
        // Nobody reads its standard error; the daemon sees the socket close.
        Some(Part::Shim) => supervise().map_or(70, |()| 0),
    });
}

/// The ends of pipes to which a run writes its output.
type Outputs = (OwnedFd, OwnedFd);

/// Closes what this process was given beside the three: what the daemon itself got from whoever started
/// it, and does not know of, must not reach a job. Called before anything here is opened.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // That of the listing itself is closed already.
    for number in numbers.into_iter().filter(|number| *number > 2) {
        let _ = nix::unistd::close(number);
    }
}

fn supervise() -> io::Result<()> {
    close_inherited();
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    // The job alone may hold the pipes, or their end would never be seen.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);

    let _ = setsid();
    // By the file it was started from it would be called by a number.
    let _ = rustix::thread::set_name(&std::ffi::CString::new(NAME)?);
    set_child_subreaper(Some(getpid()))?;
    let ground: Ground = wire::receive(&socket)?;
    // While there is one thread, and before this process is hidden from itself.
    let alone = ground.level == SandboxLevel::Isolated && !user::can_be_given();
    let entered = if alone { namespaces::own_users() } else { Ok(()) };
    // The job runs under the same user: it may not look into the shim nor trace it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Keeper::new(socket, listen()?, ground, entered)?.keep((stdout, stderr))
}

/// From now on a byte comes here for each time that children ended.
///
/// Other signals are taken and do nothing: a service manager signals every process of the daemon's
/// unit. The shim must stay, or nobody would hold the job's processes; the daemon decides when they end.
/// Handlers, unlike ignored signals, are not inherited by the job.
fn listen() -> io::Result<UnixStream> {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        signal_hook::flag::register(signal.as_raw(), Arc::new(AtomicBool::new(false)))?;
    }
    let (deaths, ours) = UnixStream::pair()?;
    deaths.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(Signal::CHILD.as_raw(), ours)?;
    Ok(deaths)
}

/// Starts what is not kept in anything.
fn start(launch: &Launch, (stdout, stderr): Outputs) -> io::Result<Pid> {
    let stdin = match &launch.stdin {
        Some(path) => Stdio::from(File::open(path)?),
        None => Stdio::null(),
    };
    let child = Command::new(&launch.program)
        .arg0(&launch.arg0)
        .args(&launch.args)
        .current_dir(&launch.cwd)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        // Its own group, so that a job which signals its group does not hit the shim.
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_child(&child))
}
