//! The daemon's end of a shim, and the shims that wait for the next jobs.
//!
//! To start one takes longer than most of what starts a job, so that is done before the job is there; and
//! one whose run ended as most do is asked to keep another.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::orphans;
use super::program::{OTHER_BUILD, Part, Program, Start};
use super::wire::{self, Event};
use crate::sandbox::Ground;

/// How long a shim without an order may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long one may take to be ready; after that it gets its order all the same.
const READY: Duration = Duration::from_secs(5);

/// How long more than one waits. Of a host with nothing to do one does.
const IDLE: Duration = Duration::from_secs(10);

/// The daemon's ends of a shim.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) child: Child,
    _registered: orphans::Registered,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) commands: OwnedWriteHalf,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) stderr: Option<pipe::Receiver>,
}

impl Shim {
    /// Starts one. It waits for its order, and ends by itself once its socket closes.
    pub(super) fn spawn(program: &Program, ground: &Ground) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        // It fits into the socket's buffer, so nobody need read it first.
        ours.set_nonblocking(true)?;
        wire::send(&ours, ground)?;
        let ((stdout, out), (stderr, err)) = (output()?, output()?);
        let (child, registered) = orphans::spawn(
            Command::new(program.path())
                .arg0_and(Part::Shim)
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::from(out))
                .stderr(Stdio::from(err)),
        )?;
        let (from, commands) = UnixStream::from_std(ours)?.into_split();
        let events = listen(from);
        let (stdout, stderr) = (Some(stdout), Some(stderr));
        Ok(Self { child, _registered: registered, events, commands, stdout, stderr })
    }

    /// Waits until it is ready for its order; false if it has ended instead.
    pub(super) async fn ready(&mut self) -> bool {
        // One that takes longer is found out by what comes of its order.
        !matches!(timeout(READY, self.events.recv()).await, Ok(None))
    }

    /// Whether it ended because it is not of this build.
    pub(super) async fn is_of_other_build(&mut self) -> bool {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.is_ok_and(|ended| ended.is_ok_and(|ended| ended.code() == Some(OTHER_BUILD)))
    }

    /// Asks it to keep another run, whose output will come here.
    fn again(&mut self) -> io::Result<()> {
        let ((stdout, out), (stderr, err)) = (output()?, output()?);
        let files = [out.as_fd(), err.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let word = wire::Command::Again.encode();
        let socket: &UnixStream = self.commands.as_ref();
        // It has read all before, so there is room.
        let sent = sendmsg(socket, &[IoSlice::new(&word)], &mut control, SendFlags::NOSIGNAL)?;
        if sent < word.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        (self.stdout, self.stderr) = (Some(stdout), Some(stderr));
        Ok(())
    }

    /// Lets it end, and collects its exit status.
    pub(super) async fn end(self) {
        let Self { mut child, commands, _registered, .. } = self;
        drop(commands);
        // It has nothing to end but its own preparations.
        let _ = timeout(PATIENCE, child.wait()).await;
        let _ = child.start_kill();
        let _ = child.wait().await;
    }
}

/// A pipe: this process's end, and that of a run.
fn output() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (from, to) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(from.into())?, to.into()))
}

/// Shims without an order, all of them laid out for what most runs stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Spare(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    shims: VecDeque<(Shim, Instant)>,
    /// No more than runs there may be at once.
    most: usize,
    closed: bool,
    /// Somebody looks for those that have waited for long.
    trimmed: bool,
}

impl Spare {
    pub(super) fn new(most: usize) -> Self {
        let shims = VecDeque::new();
        let waiting = Waiting { shims, most: most.max(1), closed: false, trimmed: false };
        Self(Arc::new(Mutex::new(waiting)))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that waits and lives: of those that are ready the last that came, so that those which are not
    /// needed stay idle; else the first, which will be soon.
    pub(super) fn take(&self) -> Option<Shim> {
        loop {
            let mut shim = {
                let shims = &mut self.lock().shims;
                let ready = shims.iter().rposition(|(shim, _)| !shim.events.is_empty());
                shims.remove(ready.unwrap_or(0))?.0
            };
            if matches!(shim.child.try_wait(), Ok(None)) {
                return Some(shim);
            }
        }
    }

    /// Starts one for the next job, unless one waits. Where that fails, the job's own start tells.
    pub(super) fn prepare(&self, program: &Program, ground: &Ground) {
        let mut waiting = self.lock();
        if waiting.shims.is_empty() && !waiting.closed {
            waiting.shims.extend(Shim::spawn(program, ground).ok().map(|it| (it, Instant::now())));
        }
    }

    /// Takes one back whose run is over and left nothing. It may see that otherwise, and end.
    pub(super) fn give_back(&self, mut shim: Shim) {
        let mut waiting = self.lock();
        if waiting.closed || waiting.shims.len() >= waiting.most || shim.again().is_err() {
            drop(waiting);
            tokio::spawn(shim.end());
            return;
        }
        waiting.shims.push_back((shim, Instant::now()));
        if waiting.shims.len() > 1 && !std::mem::replace(&mut waiting.trimmed, true) {
            tokio::spawn(self.clone().trim());
        }
    }

    /// Ends those that nothing has come for in a while, but for one.
    async fn trim(self) {
        loop {
            sleep(IDLE).await;
            let mut idle = Vec::new();
            {
                let mut waiting = self.lock();
                let is_idle = |at: &Instant| at.elapsed() >= IDLE;
                while waiting.shims.len() > 1
                    && waiting.shims.front().is_some_and(|(_, at)| is_idle(at))
                {
                    idle.extend(waiting.shims.pop_front());
                }
                waiting.trimmed = waiting.shims.len() > 1;
            }
            let over = !self.lock().trimmed;
            for (shim, _) in idle {
                shim.end().await;
            }
            if over {
                return;
            }
        }
    }

    /// Ends those that wait; none waits from now on.
    pub(super) async fn end(&self) {
        let shims = {
            let mut waiting = self.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.shims)
        };
        futures::future::join_all(shims.into_iter().map(|(shim, _)| shim.end())).await;
    }
}

/// Reads a shim's events until its end of the socket closes.
fn listen(from: OwnedReadHalf) -> mpsc::UnboundedReceiver<Event> {
    // At most seven events come of a run from an honest shim; a frame's size is bounded by its length.
    let (events, receiver) = mpsc::unbounded_channel();
    // What it says at once is read at once.
    let mut from = BufReader::with_capacity(512, from);
    tokio::spawn(async move {
        while let Ok(event) = read(&mut from).await {
            if events.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn read(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Event> {
    let mut head = [0; wire::HEAD];
    from.read_exact(&mut head).await?;
    let mut body = vec![0; wire::length(head)?];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}
