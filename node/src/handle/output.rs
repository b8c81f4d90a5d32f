//! What a job writes, wherever it runs: of this node's own host directly, of others by a tunnel, and from
//! its result once it has ended.
//!
//! Always: one reader follows the job through its attempts and holds nothing but its place; whoever reads
//! slowly is waited for. All of it ends with whoever asked.

mod way;

use std::pin::Pin;
use std::time::Duration;

use futures::{StreamExt, stream};
use skyclaw_http_compat::why::{AfterLoss, LeaseEnd, lease_end};
use skyclaw_http_compat::{
    Backend, History, JobOutput, JobOutputs, OutputPlace, OutputQuery, OutputStream,
};
use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{HostId, JobId, JobStatus, JobView, Refusal};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use self::way::Way;
use super::NodeHandle;
use crate::net::{OpenError, Tunnel};
use crate::output::{Brought, OutputLines};
use crate::supervisor::{OutputPiece, OutputReader, Outputs, Stream};
use crate::time;

/// Pieces on their way to whoever reads: 16 KiB each.
const ROOM: usize = 8;

/// Longest wait for a tunnel.
const PATIENCE: Duration = Duration::from_secs(10);

/// First pause before a host is asked again, unless the job changes before.
const AGAIN: Duration = Duration::from_millis(250);

/// The job is looked at again after this, also if no change was heard of: it may end by its time alone, or
/// at an original.
const LOOK: Duration = Duration::from_secs(5);

/// How often in a row a host may have nothing of the run before the reader is told: within some 9 s.
const PATIENT: u32 = 8;

/// How long what a run wrote last may take after another one counts.
const DRAIN: Duration = Duration::from_secs(2);

/// So much later than it was told a lease ends only if its host was heard of since, in milliseconds: what is
/// known of a host of others may be some seconds old.
const HEARD_MS: u64 = 10_000;

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
    let follower = Follower {
        handle,
        id,
        follow,
        at: from,
        begun: false,
        said: None,
        misses: 0,
        unreached: None,
        to,
    };
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
    /// How often in a row its host had nothing of the run.
    misses: u32,
    /// What was told last of a host that cannot be reached; none while it is not known that it cannot.
    unreached: Option<Unreached>,
    to: mpsc::Sender<JobOutput>,
}

/// What was told of a host that cannot be reached.
#[derive(Clone, Copy)]
enum Unreached {
    /// When its lease was to end then.
    Ends(Wall),
    /// That it was heard of since.
    Heard,
}

/// What it comes from.
enum Source {
    Here(OutputReader),
    There(Box<OutputLines<Tunnel>>),
}

impl Source {
    async fn next(&mut self) -> Brought {
        match self {
            Self::Here(reader) => reader.next().await.map_or(Brought::Ended, Brought::Piece),
            Self::There(lines) => lines.next().await,
        }
    }
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
            let pause = match Backend::job(&self.handle, self.id.clone()).await {
                Ok(Some(job)) => match job.status {
                    JobStatus::Completed | JobStatus::Failed => {
                        let status = job.status;
                        self.result(job).await?;
                        return self.send(JobOutput::Ended(status)).await;
                    }
                    JobStatus::Queued if self.follow => {
                        self.note("the job waits for a host").await?;
                        LOOK
                    }
                    // Of the run before, if that left one.
                    JobStatus::Queued => return self.result(job).await,
                    JobStatus::Leased => self.attempt(&job, changes).await?,
                },
                Ok(None) => return self.note("nothing is known of the job any more").await,
                Err(Refusal::Stopping) => return self.note("the node stops").await,
                Err(refusal) => {
                    self.note(&refusal.to_string()).await?;
                    LOOK
                }
            };
            if !self.follow {
                return Ok(());
            }
            let change = timeout(pause, changed(changes, &self.id)).await;
            if matches!(change, Ok(Err(Gone))) {
                return self.note("the node stops").await;
            }
        }
    }

    /// Names the run that is read, where it is another one than before.
    async fn begin(&mut self, attempt: u32, job: &JobView) -> Result<(), Gone> {
        if self.begun && attempt == self.at.attempt {
            return Ok(());
        }
        if attempt != self.at.attempt {
            self.at = OutputPlace { attempt, ..OutputPlace::default() };
        }
        (self.begun, self.said, self.misses) = (true, None, 0);
        self.unreached = None;
        let host = job.assigned_host.clone().filter(|_| attempt == job.attempts);
        self.send(JobOutput::Attempt { attempt, host }).await?;
        if job.verify.is_some() && job.status == JobStatus::Leased {
            let text = "this is one of several copies: what enough of them agree on is the result";
            self.note(text).await?;
        }
        Ok(())
    }

    /// Reads a run until it is over, cannot be read, or is no longer the one that counts. How long to
    /// wait for a change of the job then.
    async fn attempt(
        &mut self,
        job: &JobView,
        changes: &mut Receiver<Shown>,
    ) -> Result<Duration, Gone> {
        self.begin(job.attempts, job).await?;
        let handle = self.handle.clone();
        let over = std::pin::pin!(is_over(&handle, job, changes));
        let source = match self.way(job).await {
            Way::Here(reader) => Source::Here(reader),
            Way::There(node) => match self.tunnel(node).await {
                Ok(tunnel) => {
                    self.unreached = None;
                    Source::There(Box::new(OutputLines::new(tunnel)))
                }
                Err(OpenError::Refused(_)) => {
                    self.unreached = None;
                    return self.missed(job).await;
                }
                Err(error) => {
                    tracing::debug!(job = %self.id, %error, "a run's host cannot be asked");
                    return self.unreached(job).await;
                }
            },
            Way::AtItsEnd => {
                let host = host_of(job);
                let text = format!(
                    "host {host} talks HTTP only: it reports output only when the job ends"
                );
                self.note(&text).await?;
                return Ok(LOOK);
            }
            Way::Nowhere => return self.missed(job).await,
        };
        let before = self.at;
        self.pass_on(source, over).await?;
        // A host that ends the tunnel at once is not asked all the time.
        if self.follow && self.at == before {
            return self.missed(job).await;
        }
        Ok(AGAIN)
    }

    /// Passes on what comes until that ends, or a moment after another run counts.
    async fn pass_on(
        &mut self,
        mut from: Source,
        mut over: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Gone> {
        let mut until: Option<Instant> = None;
        loop {
            let brought = match (&mut from, until) {
                (Source::Here(reader), _) if !self.follow => {
                    reader.now().map_or(Brought::Over, Brought::Piece)
                }
                // What it wrote last is on its way.
                (from, Some(until)) => {
                    timeout_at(until, from.next()).await.unwrap_or(Brought::Over)
                }
                (from, None) => tokio::select! {
                    biased;
                    () = &mut over => {
                        until = Some(Instant::now() + DRAIN);
                        continue;
                    }
                    brought = from.next() => brought,
                },
            };
            match brought {
                // A host may say anything: what is not the next of a stream is no output.
                Brought::Piece(piece) if self.goes_on(&piece) => self.piece(piece).await?,
                Brought::Piece(_) | Brought::Ended | Brought::Over => return Ok(()),
            }
        }
    }

    /// Whether a piece begins where the reader is, or as near before that as a character is long.
    fn goes_on(&self, piece: &OutputPiece) -> bool {
        let OutputPiece::Text { stream, offset, .. } = piece else { return true };
        let at = if *stream == Stream::Stderr { self.at.stderr } else { self.at.stdout };
        *offset <= at && at - offset < 4
    }

    /// Its host has nothing of the run, or cannot be asked. One that was granted the job a moment ago may
    /// not have begun it, and one that ended it may not have reported it.
    async fn missed(&mut self, job: &JobView) -> Result<Duration, Gone> {
        self.misses = self.misses.saturating_add(1);
        if self.misses == PATIENT || !self.follow {
            let text = format!(
                "what the job writes on host {} cannot be read now: it talks HTTP only, or has not begun \
                 or just ended the run. It is shown when the job has ended",
                host_of(job)
            );
            self.note(&text).await?;
        }
        Ok((AGAIN * self.misses).min(LOOK))
    }

    /// There is no way to its host. It is told once; and again where the host is heard of since, and where it
    /// is not any more.
    async fn unreached(&mut self, job: &JobView) -> Result<Duration, Gone> {
        let history = self.handle.insight().history(self.id.clone()).await.ok().flatten();
        let end = self.lease_end(job, history.as_ref()).await;
        let (host, left_ms) = (host_of(job), end.latest.ms_since(time::wall()));
        let then = AfterLoss::of_view(job, history.as_ref()).words();
        let seconds = left_ms.div_ceil(1000);
        let (told, text) = match self.unreached {
            Some(Unreached::Ends(told)) if end.latest.ms_since(told) < HEARD_MS => return Ok(LOOK),
            Some(Unreached::Ends(_)) => (
                Unreached::Heard,
                format!(
                    "host {host} cannot be reached from here, but was heard of since: what the job writes \
                     is shown when it has ended"
                ),
            ),
            // Hosts renew a lease before half of it is over.
            Some(Unreached::Heard) if left_ms > end.lease_ms / 2 => return Ok(LOOK),
            _ if left_ms == 0 => (
                Unreached::Ends(end.latest),
                format!("host {host} cannot be reached, and its lease should be over: {then}"),
            ),
            _ => (
                Unreached::Ends(end.latest),
                format!(
                    "host {host} cannot be reached; its lease ends within about {seconds} s, then {then}"
                ),
            ),
        };
        self.unreached = Some(told);
        self.note(&text).await?;
        Ok(LOOK)
    }

    /// When the lease of its host ends unless it is renewed.
    async fn lease_end(&self, job: &JobView, history: Option<&History>) -> LeaseEnd {
        let hosts = self.handle.host_list().await.unwrap_or_default();
        let host = hosts.iter().find(|host| Some(&host.id) == job.assigned_host.as_ref());
        let leader = history.map(|history| history.keepers.leader);
        let leads = leader.is_some() && leader == self.handle.node();
        lease_end(job, history, host, leads).unwrap_or_default()
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
        (self.said, self.misses, self.unreached) = (None, 0, None);
        self.send(JobOutput::Text { stream, offset, text }).await
    }

    /// What of the result was not given yet.
    async fn result(&mut self, mut job: JobView) -> Result<(), Gone> {
        let Some(result) = job.result.take() else {
            return match (job.attempts, job.status) {
                (_, JobStatus::Queued) => self.note("the job waits for a host").await,
                (0, _) => self.note("it never ran").await,
                // Its copies differ: nobody's word is its result.
                _ if job.verify.is_some() => {
                    self.note(job.error.as_deref().unwrap_or("its copies have no result")).await
                }
                _ if self.at == OutputPlace { attempt: self.at.attempt, ..Default::default() } => {
                    self.note("nothing of what it wrote is kept").await
                }
                _ => self.note("its run ended without a report: there may have been more").await,
            };
        };
        let attempt = result.attempt.unwrap_or(job.attempts);
        if attempt < self.at.attempt {
            let text = format!("this run left no report: the result is of attempt {attempt}");
            return self.note(&text).await;
        }
        self.begin(attempt, &job).await?;
        let streams =
            [(OutputStream::Stdout, result.stdout), (OutputStream::Stderr, result.stderr)];
        for (stream, text) in streams {
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
        if attempt < job.attempts {
            let text =
                format!("attempt {} left no report: this is of attempt {attempt}", job.attempts);
            self.note(&text).await?;
        }
        Ok(())
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

fn host_of(job: &JobView) -> &str {
    job.assigned_host.as_ref().map_or("?", HostId::as_str)
}

/// Returns once another run of the job, or its end, counts.
async fn is_over(handle: &NodeHandle, then: &JobView, changes: &mut Receiver<Shown>) {
    while changed(changes, &then.id).await.is_ok() {
        match Backend::job(handle, then.id.clone()).await {
            Ok(Some(now)) if (now.status, now.attempts) == (then.status, then.attempts) => {}
            Err(refusal) if refusal != Refusal::Stopping => {}
            _ => return,
        }
    }
}

/// Returns once the job may have changed; an error once the node stops.
async fn changed(changes: &mut Receiver<Shown>, id: &JobId) -> Result<(), Gone> {
    loop {
        match changes.recv().await {
            Ok(Shown::Job(job)) if job == *id => return Ok(()),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return Ok(()),
            Err(RecvError::Closed) => return Err(Gone),
        }
    }
}
