//! The process between the daemon and one job: this binary again, started with a hidden argument.
//!
//! It is the job's *child subreaper*: whatever the job starts, forked twice, in a session of its
//! own or daemonised, is re-parented to the shim and to nobody else. So the shim can reach every
//! descendant, and `wait` answering "no child" is the kernel's word that none is left. It ends
//! the job when the daemon says so or when the daemon's end of the socket closes, which happens
//! even if the daemon is killed outright, or when the moment is over until which the job may run: a
//! daemon that stands still renews no lease and ends no job.
//!
//! What runs in a sandbox has a second process of ours between, which becomes the sandbox (see `kept`).
//!
//! Never here: policy, secrets, output. The shim gets a ready order and an empty environment.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, getpid, set_child_subreaper, set_dumpable_behavior,
    setsid, wait,
};

use skyclaw_protocol::SandboxLevel;

use super::wire::{self, Command as Order, Event, Launch};
use super::{inner, kept, tree};
use crate::sandbox::{Ground, namespaces, user};
use crate::time;

/// First argument that turns the binary into a shim.
pub const SHIM_ARGUMENT: &str = "__skyclaw-job-shim";

/// Grace for the job's processes when the daemon is gone: nobody waits for their answer.
const ORPHAN_GRACE: Duration = Duration::from_millis(300);

/// How often the clock is looked at while a job may run until some moment: waiting itself does not
/// see a time in which the machine slept.
const LOOK: Duration = Duration::from_secs(1);

/// Turns this process into a job's shim if it was started as one, and then does not return.
///
/// To be called first thing in `main`, before arguments are parsed and threads start.
pub fn run_if_asked() {
    let argument = std::env::args_os().nth(1);
    if argument.as_ref().is_some_and(|argument| argument == inner::INNER_ARGUMENT) {
        std::process::exit(inner::run());
    }
    if argument.is_some_and(|argument| argument == SHIM_ARGUMENT) {
        let code = match supervise() {
            Ok(never) => match never {},
            // Nobody reads its standard error; the daemon sees the socket close.
            Err(_) => 70,
        };
        std::process::exit(code);
    }
}

pub(super) enum Never {}

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

fn supervise() -> io::Result<Never> {
    close_inherited();
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    // The job alone may hold the pipes, or their end would never be seen.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);

    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    let ground: Ground = wire::receive(&mut socket)?;
    // While there is one thread, and before this process is hidden from itself.
    let alone = ground.level == SandboxLevel::Isolated && !user::can_be_given();
    let entered = if alone { namespaces::own_users() } else { Ok(()) };
    // The job runs under the same user: it may not look into the shim nor trace it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let _signals = outlive_signals()?;
    if ground.level != SandboxLevel::None {
        return kept::supervise(socket, (stdout, stderr), &ground, entered);
    }

    let launch: Launch = wire::receive(&mut socket)?;
    // Whatever may fail for want of something fails before the job starts.
    let reports = socket.try_clone()?;
    let (started, main) = mpsc::channel();
    thread::Builder::new().name("reaper".into()).spawn(move || {
        // Its end without a word is that of a job that did not start.
        if let Ok(main) = main.recv() {
            reap(main, &reports);
        }
    })?;
    let tells = socket.try_clone()?;
    wire::send(&socket, &Event::Starting)?;
    match start(&launch, stdout, stderr) {
        Ok(main) => {
            // A daemon that is gone is noticed, and the job ended, below.
            let _ = wire::send(&socket, &Event::Started { pid: main.as_raw_nonzero().get() });
            let _ = started.send(main);
            obey(socket, &tells)
        }
        Err(error) => {
            let event = Event::NotStarted { errno: error.raw_os_error(), text: error.to_string() };
            wire::send(&socket, &event)?;
            wire::send(&socket, &Event::Gone)?;
            std::process::exit(0)
        }
    }
}

/// A service manager signals every process of the daemon's unit. The shim must stay, or nobody
/// would hold the job's processes; the daemon decides when they end. Handlers, unlike ignored
/// signals, are not inherited by the job.
fn outlive_signals() -> io::Result<impl Sized> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let streams = kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()?;
    drop(guard);
    Ok((runtime, streams))
}

fn start(launch: &Launch, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> io::Result<Pid> {
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

/// Waits for every child and adopted descendant; ends the shim when there is none.
fn reap(main: Pid, reports: &UnixStream) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == main => {
                let _ = wire::send(reports, &Event::Exited { code: status.exit_status() });
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => {
                let _ = wire::send(reports, &Event::Gone);
                std::process::exit(0);
            }
        }
    }
}

/// Takes commands until the last grace period, or the time of the job, is over, then kills until
/// nothing is left.
pub(super) fn obey(mut socket: UnixStream, tells: &UnixStream) -> io::Result<Never> {
    let mut ends: Option<Instant> = None;
    let mut until: Option<Duration> = None;
    let mut command = [0; Order::LENGTH];
    let mut filled = 0;
    let mut daemon_lives = true;
    loop {
        let left = ends.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
        let rest = until.map(|at| at.saturating_sub(time::since_boot()));
        if rest.is_some_and(|rest| rest.is_zero()) {
            // It is told before the deaths are. Nobody may be there to read it.
            let _ = wire::send(tells, &Event::Expired);
            break;
        }
        let left = left.into_iter().chain(rest.map(|rest| rest.min(LOOK))).min();
        let mut stop = None;
        if daemon_lives {
            socket.set_read_timeout(left)?;
            match socket.read(&mut command[filled..]) {
                Ok(0) => daemon_lives = false,
                Ok(n) => {
                    filled = (filled + n) % command.len();
                    if filled == 0 {
                        match Order::decode(command) {
                            Order::Stop(grace) => stop = Some(grace),
                            Order::Until(at) => until = Some(at),
                        }
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut => {}
                    _ => daemon_lives = false,
                },
            }
            if !daemon_lives {
                stop = Some(ORPHAN_GRACE);
            }
        } else if let Some(left) = left {
            thread::sleep(left);
        }
        if let Some(grace) = stop {
            if ends.is_none() && !grace.is_zero() {
                tree::signal_once(&[getpid()], Signal::TERM);
            }
            let asked = Instant::now().checked_add(grace);
            ends = [ends, asked].into_iter().flatten().min();
        }
    }
    kill_all()
}

/// Kills descendants until the reaper finds none and ends this process.
pub(super) fn kill_all() -> ! {
    let me = [getpid()];
    let mut round = 0_u32;
    loop {
        // From the third round on something resists: it forks as fast as it is killed, or the
        // kernel does not let go of it.
        tree::kill_round(&me, round >= 2);
        if round >= 2 {
            for _ in 0..200 {
                if !tree::kill_children() {
                    break;
                }
            }
        }
        let pause = if round < 10 { 1 } else { 20 };
        thread::sleep(Duration::from_millis(pause));
        round = round.saturating_add(1);
    }
}
