//! What a job writes, wherever it runs: of this node's own host directly, of others by a tunnel, and from
//! its result once it has ended.
//!
//! Always: one reader follows the job through its attempts and holds nothing but its place; whoever reads
//! slowly is waited for. All of it ends with whoever asked.

use std::time::Duration;

use futures::{StreamExt, stream};
use skyclaw_http_compat::{Backend, JobOutput, JobOutputs, OutputPlace, OutputQuery, OutputStream};
use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::{HostId, JobId, JobStatus, JobView, NodeId, Refusal, codec};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::NodeHandle;
use crate::net::{Duty, OpenError, Tunnel};
use crate::output::{Brought, OutputHeader, OutputLines};
use crate::supervisor::{OutputPiece, OutputReader, Outputs, Stream};

/// Pieces on their way to whoever reads: 16 KiB each.
const ROOM: usize = 8;

/// Longest wait for a tunnel.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause before a host is asked again, unless the job changes before: one that was granted a job a
/// moment ago may not have begun it.
const AGAIN: Duration = Duration::from_millis(250);

/// How often in a row a host may say that it does not run the job before the reader is told.
const PATIENT: u32 = 8;

/// Bytes of a result given at once.
const PIECE: usize = 16 << 10;

impl NodeHandle {
    /// What the jobs of this node's own host write. Only the first call counts.
    pub fn set_outputs(&self, outputs: Outputs) {
        if self.0.outputs.set(outputs).is_err() {
            tracing::error!("the node has the output of jobs already");
        }
    }
}

/// Begins to read; none if there is no such job.
pub(super) async fn open(
    handle: NodeHandle,
    id: JobId,
    query: OutputQuery,
) -> Result<Option<JobOutputs>, Refusal> {
    // From here on no change is missed.
    let changes = handle.0.shared.changes();
    if Backend::job(&handle, id.clone()).await?.is_none() {
        return Ok(None);
    }
    let (to, receiver) = mpsc::channel(ROOM);
    let OutputQuery { follow, from } = query;
    let follower =
        Follower { handle, id, follow, at: from, begun: false, said: None, refused: 0, to };
    tokio::spawn(follower.run(changes));
    let pieces =
        stream::unfold(
            receiver,
            |mut receiver| async move { Some((receiver.recv().await?, receiver)) },
        );
    Ok(Some(pieces.boxed()))
}

/// Nobody reads any more.
struct Gone;

/// Follows one job for one reader.
struct Follower {
    handle: NodeHandle,
    id: JobId,
    follow: bool,
    at: OutputPlace,
    /// The run was named to the reader.
    begun: bool,
    /// The last note.
    said: Option<String>,
    /// How often its host said in a row that it does not run it.
    refused: u32,
    to: mpsc::Sender<JobOutput>,
}

/// Where a run's output is.
enum Way {
    Here(OutputReader),
    There(NodeId),
}

impl Follower {
    async fn run(mut self, mut changes: Receiver<Shown>) {
        let to = self.to.clone();
        tokio::select! {
            _ = self.follow(&mut changes) => {}
            () = to.closed() => {}
        }
    }

    async fn follow(&mut self, changes: &mut Receiver<Shown>) -> Result<(), Gone> {
        loop {
            let job = match Backend::job(&self.handle, self.id.clone()).await {
                Ok(Some(job)) => job,
                Ok(None) => return self.note("nothing is known of the job any more").await,
                Err(refusal) => return self.note(&refusal.to_string()).await,
            };
            match job.status {
                JobStatus::Completed | JobStatus::Failed => return self.result(job).await,
                JobStatus::Queued if self.follow => self.note("the job waits for a host").await?,
                JobStatus::Queued => {}
                JobStatus::Leased => self.attempt(&job, changes).await?,
            }
            if !self.follow {
                return Ok(());
            }
            let pause = matches!(job.status, JobStatus::Leased).then_some(AGAIN);
            if changed(changes, &self.id, pause).await.is_err() {
                return self.note("the node stops").await;
            }
        }
    }

    /// Names the run that is read, where it is another one than before.
    async fn begin(&mut self, attempt: u32, host: Option<&HostId>) -> Result<(), Gone> {
        if self.begun && attempt == self.at.attempt {
            return Ok(());
        }
        if attempt != self.at.attempt {
            self.at = OutputPlace { attempt, ..OutputPlace::default() };
        }
        (self.begun, self.said, self.refused) = (true, None, 0);
        self.send(JobOutput::Attempt { attempt, host: host.cloned() }).await
    }

    /// Reads a run until it is over, cannot be read, or is no longer the one that counts.
    async fn attempt(&mut self, job: &JobView, changes: &mut Receiver<Shown>) -> Result<(), Gone> {
        self.begin(job.attempts, job.assigned_host.as_ref()).await?;
        let host = job.assigned_host.as_ref().map_or("?", HostId::as_str);
        let Some(way) = self.way(job).await else {
            let text = format!(
                "host {host} takes no tunnels (it talks HTTP only): what the job writes is shown when it ended"
            );
            return self.note(&text).await;
        };
        let handle = self.handle.clone();
        let mut over = std::pin::pin!(is_over(&handle, job, changes));
        match way {
            Way::Here(mut reader) => loop {
                let piece = tokio::select! {
                    piece = reader.next(), if self.follow => piece,
                    () = &mut over, if self.follow => return Ok(()),
                    else => reader.now(),
                };
                let Some(piece) = piece else { return Ok(()) };
                self.piece(piece).await?;
            },
            Way::There(node) => {
                let mut lines = match self.tunnel(node).await {
                    Ok(tunnel) => OutputLines::new(tunnel),
                    // One that was granted the job a moment ago may not have begun it.
                    Err(OpenError::Refused(_)) if self.refused < PATIENT => {
                        self.refused += 1;
                        return Ok(());
                    }
                    Err(why) => return self.note(&format!("host {host}: {why}")).await,
                };
                loop {
                    let brought = tokio::select! {
                        brought = lines.next() => brought,
                        () = &mut over => return Ok(()),
                    };
                    let Brought::Piece(piece) = brought else { return Ok(()) };
                    self.piece(piece).await?;
                }
            }
        }
    }

    /// None if there is none at all.
    async fn way(&self, job: &JobView) -> Option<Way> {
        let from = [self.at.stdout, self.at.stderr];
        let here = self.handle.0.outputs.get();
        if let Some(reader) = here.and_then(|here| here.read(&self.id, job.attempts, from)) {
            return Some(Way::Here(reader));
        }
        let host = job.assigned_host.clone()?;
        let node = self.handle.host_node(host).await.ok().flatten();
        node.filter(|node| Some(*node) != self.handle.node()).map(Way::There)
    }

    async fn tunnel(&self, node: NodeId) -> Result<Tunnel, OpenError> {
        let header = OutputHeader {
            job: self.id.clone(),
            attempt: self.at.attempt,
            stdout: self.at.stdout as u64,
            stderr: self.at.stderr as u64,
            follow: self.follow,
        };
        self.handle.0.net.open(node, Duty::Output, codec::encode(&header), PATIENCE).await
    }

    async fn piece(&mut self, piece: OutputPiece) -> Result<(), Gone> {
        match piece {
            OutputPiece::Text { stream, offset, text } => {
                let stream = match stream {
                    Stream::Stderr => OutputStream::Stderr,
                    Stream::Stdout | Stream::Host => OutputStream::Stdout,
                };
                self.text(stream, offset, text).await
            }
            OutputPiece::Full(stream) => {
                let stream = stream.as_str();
                let text = format!("no more of {stream} is kept than this, though the job goes on");
                self.note(&text).await
            }
        }
    }

    async fn text(
        &mut self,
        stream: OutputStream,
        offset: usize,
        text: String,
    ) -> Result<(), Gone> {
        let end = offset.saturating_add(text.len());
        match stream {
            OutputStream::Stdout => self.at.stdout = end,
            OutputStream::Stderr => self.at.stderr = end,
        }
        (self.said, self.refused) = (None, 0);
        self.send(JobOutput::Text { stream, offset, text }).await
    }

    /// What of the result was not given yet, and the end.
    async fn result(&mut self, job: JobView) -> Result<(), Gone> {
        self.begin(job.attempts, job.assigned_host.as_ref()).await?;
        let (stdout, stderr) =
            job.result.map_or((None, None), |result| (result.stdout, result.stderr));
        for (stream, text) in [(OutputStream::Stdout, stdout), (OutputStream::Stderr, stderr)] {
            let text = text.unwrap_or_default();
            let known = match stream {
                OutputStream::Stdout => self.at.stdout,
                OutputStream::Stderr => self.at.stderr,
            };
            let mut from = text.floor_char_boundary(known);
            while from < text.len() {
                let end = text.floor_char_boundary(from + PIECE);
                self.text(stream, from, text[from..end].to_owned()).await?;
                from = end;
            }
        }
        self.send(JobOutput::Ended(job.status)).await
    }

    /// Says it, unless it was said last.
    async fn note(&mut self, text: &str) -> Result<(), Gone> {
        if self.said.as_deref() == Some(text) {
            return Ok(());
        }
        self.said = Some(text.to_owned());
        self.send(JobOutput::Note(text.to_owned())).await
    }

    async fn send(&self, piece: JobOutput) -> Result<(), Gone> {
        self.to.send(piece).await.map_err(|_| Gone)
    }
}

/// Returns once another run of the job, or its end, counts.
async fn is_over(handle: &NodeHandle, then: &JobView, changes: &mut Receiver<Shown>) {
    while changed(changes, &then.id, None).await.is_ok() {
        let now = Backend::job(handle, then.id.clone()).await.ok().flatten();
        if now.is_none_or(|now| (now.status, now.attempts) != (then.status, then.attempts)) {
            return;
        }
    }
}

/// Returns once the job may have changed, or the pause is over; an error once the node stops.
async fn changed(
    changes: &mut Receiver<Shown>,
    id: &JobId,
    pause: Option<Duration>,
) -> Result<(), Gone> {
    let change = async {
        loop {
            match changes.recv().await {
                Ok(Shown::Job(job)) if job == *id => return Ok(()),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Ok(()),
                Err(RecvError::Closed) => return Err(Gone),
            }
        }
    };
    match pause {
        Some(pause) => timeout(pause, change).await.unwrap_or(Ok(())),
        None => change.await,
    }
}
