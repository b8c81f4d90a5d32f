//! The daemon's end of a shim, and one shim that waits for the next job.
//!
//! To start the binary again takes longer than most of what starts a job, so that is done before
//! the job is there.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::wire::{self, Event};
use super::{orphans, shim};
use crate::sandbox::Ground;

/// How long a shim without an order may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The daemon's ends of a shim.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) child: Child,
    _registered: orphans::Registered,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) commands: OwnedWriteHalf,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

impl Shim {
    /// Starts one. It waits for its order, and ends by itself once its socket closes.
    pub(super) fn spawn(program: &Path, ground: &Ground) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        // It fits into the socket's buffer, so nobody need read it first.
        ours.set_nonblocking(true)?;
        wire::send(&ours, ground)?;
        let (mut child, registered) = orphans::spawn(
            Command::new(program)
                .arg0("skyclaw-job")
                .arg(shim::SHIM_ARGUMENT)
                .env_clear()
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )?;
        let (from, commands) = UnixStream::from_std(ours)?.into_split();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let events = listen(from);
        Ok(Self { child, _registered: registered, events, commands, stdout, stderr })
    }
}

/// At most one shim without an order.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Option<Shim>>);

impl Spare {
    /// The one that waits, if it lives.
    pub(super) fn take(&self) -> Option<Shim> {
        let mut shim = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        matches!(shim.child.try_wait(), Ok(None)).then_some(shim)
    }

    /// Starts one for the next job, unless one waits. Where that fails, the job's own start tells.
    pub(super) fn prepare(&self, program: &Path, ground: &Ground) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none() {
            *spare = Shim::spawn(program, ground).ok();
        }
    }

    /// Ends the one that waits.
    pub(super) async fn end(&self) {
        let shim = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Shim { mut child, commands, .. }) = shim {
            drop(commands);
            // It has nothing to end but its own preparations.
            let _ = timeout(PATIENCE, child.wait()).await;
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
    }
}

/// Reads a shim's events until its end of the socket closes.
fn listen(mut from: OwnedReadHalf) -> mpsc::UnboundedReceiver<Event> {
    // At most six events come from an honest shim; a frame's size is bounded by its length.
    let (events, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(event) = read(&mut from).await {
            if events.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn read(from: &mut OwnedReadHalf) -> io::Result<Event> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let mut body = vec![0; wire::length(head)?];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}
