//! The shim of a run in a sandbox: between the daemon and the sandbox's first process, [`inner`].
//!
//! Always: it is outside of the sandbox, so nothing in there sees or signals it; it alone ends the run,
//! for the daemon, for the clock, or for what [`Watch`] finds. Its threads are there before the
//! namespace of processes is made, since none can be made after that.
//!
//! [`inner`]: super::inner

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};
use skyclaw_protocol::SandboxLevel;

use super::inner::INNER_ARGUMENT;
use super::shim::{self, Never};
use super::wire::{self, Event, Launch};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::fault::Fault;
use crate::sandbox::watch::Watch;
use crate::sandbox::{Ground, namespaces, user};

/// What a thread of the shim waits for.
#[derive(Debug)]
struct Threads {
    main: mpsc::Sender<Pid>,
    watch: Arc<OnceLock<Watch>>,
    look: mpsc::Sender<()>,
}

/// What the inner process said before its end of the socket closed.
#[derive(Debug, Default)]
struct Heard {
    begun: bool,
    failed: bool,
    gone: bool,
}

/// Keeps one run. `entered` tells whether the user namespace it may need is there.
pub(super) fn supervise(
    mut socket: UnixStream,
    (stdout, stderr): (OwnedFd, OwnedFd),
    ground: &Ground,
    entered: Result<(), Fault>,
) -> io::Result<Never> {
    let isolated = ground.level == SandboxLevel::Isolated;
    let (mut ours, theirs) = UnixStream::pair()?;
    let group = Arc::new(Mutex::new(Cgroup::create(std::process::id())));
    let threads = threads(&socket, &ours, isolated, &group)?;
    let entered = match entered {
        Ok(()) if isolated => namespaces::own_processes(),
        other => other,
    };
    let inner = match entered {
        Ok(()) => start(theirs, stdout, stderr)?,
        Err(fault) => {
            lock(&group).remove();
            // Told to who asks for a run: a spare one has nobody to tell.
            wire::receive_bytes(&mut socket)?;
            wire::send(&socket, &Event::Unkept { text: fault.to_string() })?;
            std::process::exit(0);
        }
    };
    lock(&group).take(inner.as_raw_nonzero().get().unsigned_abs());
    let _ = threads.main.send(inner);
    wire::send(&ours, ground)?;
    let order = wire::receive_bytes(&mut socket).and_then(|bytes| {
        let launch: Launch = serde_json::from_slice(&bytes)?;
        Ok((bytes, launch))
    });
    let Ok((bytes, launch)) = order else {
        // The inner process ends with that, then the reaper ends this one.
        let _ = ours.shutdown(Shutdown::Both);
        loop {
            thread::park();
        }
    };
    if let Some(places) = &launch.places {
        let limits = launch.profile.limits.clone();
        let bound = lock(&group).limit(&limits);
        let kills = if bound { lock(&group).kills() } else { None };
        let root = inner.as_raw_nonzero().get();
        let count = !isolated && !user::can_be_given();
        let base = places.base.clone();
        let _ = threads.watch.set(Watch { root, base, limits, kills, count });
        let _ = threads.look.send(());
    }
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let tells = socket.try_clone()?;
    // An inner process that is gone is noticed by the reaper.
    let _ = ours.write_all(&length.to_be_bytes()).and_then(|()| ours.write_all(&bytes));
    drop(bytes);
    shim::obey(socket, &tells)
}

fn lock(group: &Mutex<Cgroup>) -> std::sync::MutexGuard<'_, Cgroup> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(socket: UnixStream, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Pid> {
    let child = Command::new("/proc/self/exe")
        .arg0("skyclaw-job")
        .arg(INNER_ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_child(&child))
}

fn threads(
    socket: &UnixStream,
    inner: &UnixStream,
    isolated: bool,
    group: &Arc<Mutex<Cgroup>>,
) -> io::Result<Threads> {
    let watch = Arc::new(OnceLock::<Watch>::new());
    let (main, its_pid) = mpsc::channel();
    let (heard, hears) = mpsc::channel();
    let (look, looks) = mpsc::channel();
    let named = |name: &str| thread::Builder::new().name(name.into());

    let (from, reports) = (inner.try_clone()?, socket.try_clone()?);
    let seen = Arc::clone(&watch);
    named("listener").spawn(move || {
        let _ = heard.send(listen(&from, &reports, isolated, &seen));
    })?;

    let (reports, group, seen) = (socket.try_clone()?, Arc::clone(group), Arc::clone(&watch));
    named("reaper").spawn(move || {
        // Its end without a word is that of a run that did not start.
        if let Ok(main) = its_pid.recv() {
            reap(main, &reports, isolated, &hears, &seen);
            lock(&group).remove();
            std::process::exit(0);
        }
    })?;

    let (reports, seen) = (socket.try_clone()?, Arc::clone(&watch));
    named("watch").spawn(move || {
        if let (Ok(()), Some(watch)) = (looks.recv(), seen.get()) {
            let text = watch.until_over();
            let _ = wire::send(&reports, &Event::Over { text });
            shim::kill_all();
        }
    })?;
    Ok(Threads { main, watch, look })
}

/// Hands on what the inner process says, until its end of the socket closes: with its own end, or when
/// it becomes the job.
fn listen(
    mut from: &UnixStream,
    reports: &UnixStream,
    isolated: bool,
    watch: &OnceLock<Watch>,
) -> Heard {
    let mut heard = Heard::default();
    while let Ok(event) = wire::receive::<Event>(&mut from) {
        match event {
            Event::Starting => heard.begun = true,
            Event::NotStarted { .. } | Event::Unkept { .. } => heard.failed = true,
            Event::Gone => {
                heard.gone = true;
                last_look(watch, reports);
            }
            _ => {}
        }
        let _ = wire::send(reports, &event);
    }
    if !isolated && heard.begun && !heard.failed {
        let _ = wire::send(reports, &Event::Started { pid: 0 });
    }
    heard
}

/// Waits for every child and adopted descendant, and tells the end.
fn reap(
    main: Pid,
    reports: &UnixStream,
    isolated: bool,
    hears: &mpsc::Receiver<Heard>,
    watch: &OnceLock<Watch>,
) {
    let mut heard = Heard::default();
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == main => {
                // What it said goes first.
                heard = hears.recv().unwrap_or_default();
                if !isolated && heard.begun && !heard.failed {
                    let _ = wire::send(reports, &Event::Exited { code: status.exit_status() });
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    if !heard.begun && !heard.failed {
        // The daemon takes the silence for what it is: the job had no part in it.
        return;
    }
    if !heard.gone {
        last_look(watch, reports);
        let _ = wire::send(reports, &Event::Gone);
    }
}

/// The kernel may have ended the run for want of memory before the next look.
fn last_look(watch: &OnceLock<Watch>, reports: &UnixStream) {
    if let Some(text) = watch.get().filter(|watch| watch.kills.is_some()).and_then(Watch::memory) {
        let _ = wire::send(reports, &Event::Over { text });
    }
}
