//! One run of one job, or of one service's process, from its launch to "no process is left", as the daemon sees it.
//!
//! ```text
//!            launch ──> running ──> main process ended ──> pipes closed ──> gone ──> outcome
//!                          │               │                    (leftovers are killed)  ^
//!                          └── timeout, cancel, shutdown: TERM, grace, KILL ────────────┘
//! ```
//!
//! Always: exactly one outcome, and none before every process of the job is gone, unless the
//! kernel itself does not let go of one.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::errno::{is_shortage, spawn_error};
use super::live::Live;
use super::output::{Fill, Quoted};
use super::program::Program;
use super::ring::{LogRing, Stream};
use super::spare::{Shim, Spare};
use super::wire::{self, Command, Event, Launch};
use super::{Cancel, Ended, HostFault, Outcome, StopReason, orphans};
use crate::sandbox::Ground;

/// How long a shim may take beyond the grace period before it is given up as stopped or stuck.
const SHIM_PATIENCE: Duration = Duration::from_secs(5);

/// How long a pipe is read after the last process is gone. It ends by itself then, unless the
/// job passed it to a process that is not its own.
const DRAIN: Duration = Duration::from_secs(2);

/// What is said of a run whose shim was killed.
pub(super) const LOST: &str = "the job's supervisor was killed; what the job left was ended";

/// How long a process that has given its whole answer, or has ended, may leave others behind.
const LINGER: Duration = Duration::from_secs(10);

/// Rounds of killing orphans before the rest is left to the next sweep.
const SWEEPS: u32 = 400;

/// What a run needs.
pub(super) struct Task<'a> {
    pub(super) program: &'a Program,
    pub(super) spare: &'a Spare,
    /// What the shims that wait were laid out for.
    pub(super) ground: &'a Ground,
    pub(super) launch: Launch,
    /// None for a service: it runs until it ends or is ended.
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Duration,
    /// Told when the main process runs.
    pub(super) launched: Option<oneshot::Sender<()>>,
    pub(super) cancelled: watch::Receiver<Option<Cancel>>,
    /// Until when the job may run.
    pub(super) until: watch::Receiver<Option<Duration>>,
    pub(super) shutdown: watch::Receiver<Option<Duration>>,
    /// Told when the output holds all that is wanted: the run is then over within [`LINGER`].
    pub(super) answered: Option<Arc<Notify>>,
}

/// How a run is over. No process of it is left.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) fate: Fate,
    /// From launch until the output ended.
    pub(super) duration: Duration,
}

/// What became of the main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was not started, for this reason.
    NotStarted(String),
    /// It ended; without a code by a signal.
    Exited(Option<i32>),
    /// It had answered and did not end: it was ended.
    Lingered,
    /// Its time was over.
    TimedOut,
    /// It took more than it may, as this sentence says.
    Over(String),
    /// It was ended from outside.
    Stopped(StopReason),
    /// Its shim was killed.
    Lost,
}

/// Why a run is being ended before it ended itself.
enum Cause {
    TimedOut,
    Over(String),
    Stopped(StopReason),
}

/// How far a run has come.
#[derive(Default)]
struct Progress {
    /// The shim was about to start the main process.
    begun: bool,
    /// Exit code of the main process; inner none for a signal.
    exited: Option<Option<i32>>,
    /// Why it was not started: the system's number, and words.
    not_started: Option<(Option<i32>, String)>,
    /// Why what it was to be kept in could not be made.
    unkept: Option<String>,
    cause: Option<Cause>,
    gone: bool,
    /// The shim ended without saying that all is gone.
    lost: bool,
    drained: bool,
    /// It was ended after its answer.
    lingered: bool,
    /// The main process was the last one to end.
    last: bool,
    /// The shim was told to end what was left.
    leftovers: bool,
}

impl Progress {
    /// Whether it ran to its own end and nothing had to be done about it.
    fn is_usual(&self) -> bool {
        let ended = self.begun && self.gone && self.drained && matches!(self.exited, Some(Some(_)));
        let odd = self.lost || self.lingered || self.leftovers || self.cause.is_some();
        ended && !odd && self.not_started.is_none() && self.unkept.is_none()
    }

    /// Notes what the shim tells. True if nothing is left for it to do but to end.
    fn note(&mut self, event: Event) -> bool {
        match event {
            // Of the first, it took longer than it was waited for.
            Event::Ready | Event::Started { .. } => {}
            Event::Starting => self.begun = true,
            Event::NotStarted { errno, text } => self.not_started = Some((errno, text)),
            Event::Unkept { text } => self.unkept = Some(text),
            Event::Gone => self.gone = true,
            Event::Over { text } => {
                self.cause.get_or_insert(Cause::Over(text));
                return true;
            }
            Event::Exited { code, last } => {
                (self.exited, self.last) = (Some(code), last);
                return last;
            }
            Event::Expired => {
                self.cause.get_or_insert(Cause::Stopped(StopReason::LeaseLost));
                return true;
            }
        }
        false
    }
}

impl Task<'_> {
    /// Runs a job; what it writes can be read while it does.
    pub(super) async fn run(mut self, live: &Live) -> Result<Outcome, HostFault> {
        let (mut stdout, mut stderr) = (live.pen(Stream::Stdout), live.pen(Stream::Stderr));
        let over = self.over(&mut stdout, &mut stderr).await?;
        let ms = self.timeout.unwrap_or_default().as_millis();
        let (success, exit_code, error) = match over.fate {
            Fate::NotStarted(text) => (false, 1, Some(text)),
            Fate::TimedOut => (false, 1, Some(format!("timed out after {ms}ms"))),
            Fate::Over(text) => (false, 1, Some(text)),
            Fate::Stopped(reason) => (false, 1, Some(reason.as_str().to_owned())),
            Fate::Lost => (false, 1, Some(LOST.to_owned())),
            Fate::Exited(code) => (code == Some(0), code.unwrap_or(1), None),
            Fate::Lingered => (false, 1, None),
        };
        let truncated = live.of(Stream::Stdout).is_cut() || live.of(Stream::Stderr).is_cut();
        Ok(Outcome {
            success,
            exit_code,
            duration: over.duration,
            stdout: live.text(Stream::Stdout),
            stderr: live.text(Stream::Stderr),
            error,
            outputs: Vec::new(),
            agent: None,
            truncated,
        })
    }

    /// Runs the process until nothing of it is left; its outputs go where they are said to.
    pub(super) async fn over(
        &mut self,
        stdout: &mut impl Fill,
        stderr: &mut impl Quoted,
    ) -> Result<Over, HostFault> {
        let started = Instant::now();
        let Ok(order) = wire::encode(&self.launch) else {
            let text = "the job's command, arguments and environment are too large".to_owned();
            return Ok(Over { fate: Fate::NotStarted(text), duration: Duration::ZERO });
        };
        let (mut shim, is_for_most) = self.open(&order).await?;
        drop(order);
        let (out, err) = (shim.stdout.take(), shim.stderr.take());
        let drain = async { tokio::join!(stdout.fill(out), stderr.fill(err)) };
        let progress = self.watch(started, &mut shim, drain).await;
        let duration = started.elapsed();
        let fate = shim.child.try_wait();
        if is_for_most && self.ground.may_keep_another() && progress.is_usual() {
            self.spare.give_back(shim);
        } else {
            // The shim has said its last word; this only collects its exit status.
            tokio::spawn(shim.end());
        }
        let fate = match progress {
            Progress { unkept: Some(text), .. } => return Err(unkept(&text)),
            Progress { not_started: Some((errno, text)), .. } => {
                let text = spawn_error(&self.launch.arg0, errno, &text);
                if is_shortage(errno) {
                    return Err(HostFault(text));
                }
                Fate::NotStarted(text)
            }
            Progress { cause: Some(Cause::TimedOut), .. } => Fate::TimedOut,
            Progress { cause: Some(Cause::Over(text)), .. } => Fate::Over(text),
            Progress { cause: Some(Cause::Stopped(reason)), .. } => Fate::Stopped(reason),
            Progress { lost: true, begun: false, .. } => {
                return Err(unready(fate, &stderr.so_far()));
            }
            Progress { lost: true, .. } => Fate::Lost,
            Progress { lingered: true, .. } => Fate::Lingered,
            Progress { exited, .. } => Fate::Exited(exited.flatten()),
        };
        Ok(Over { fate, duration })
    }

    /// Runs a service's process; its output goes into `log`.
    pub(super) async fn serve(mut self, log: &LogRing) -> Result<Ended, HostFault> {
        let started = Instant::now();
        let Ok(order) = wire::encode(&self.launch) else {
            let text = "the service's command, arguments and environment are too large";
            return Ok(Ended::Refused(text.to_owned()));
        };
        let (mut shim, _) = self.open(&order).await?;
        drop(order);
        let (out, err) = (shim.stdout.take(), shim.stderr.take());
        let drain =
            async { tokio::join!(log.fill(Stream::Stdout, out), log.fill(Stream::Stderr, err)) };
        let progress = self.watch(started, &mut shim, drain).await;
        let fate = shim.child.try_wait();
        tokio::spawn(shim.end());
        match progress {
            Progress { unkept: Some(text), .. } => Err(unkept(&text)),
            Progress { cause: Some(Cause::Over(text)), .. } => Ok(Ended::Over(text)),
            Progress { not_started: Some((errno, text)), .. } => {
                let text = spawn_error(&self.launch.arg0, errno, &text);
                if is_shortage(errno) { Err(HostFault(text)) } else { Ok(Ended::Refused(text)) }
            }
            Progress { cause: Some(Cause::Stopped(reason)), .. } => Ok(Ended::Stopped(reason)),
            Progress { lost: true, begun: false, .. } => Err(unready(fate, &log.last_words())),
            Progress { lost: true, .. } => Ok(Ended::Lost(LOST.to_owned())),
            Progress { exited, .. } => Ok(Ended::Exited(exited.flatten())),
        }
    }

    /// Gives its order to a shim, to one that waits for it if there is one. With it, whether that is laid
    /// out as those that wait are.
    async fn open(&mut self, order: &[u8]) -> Result<(Shim, bool), HostFault> {
        // What is kept otherwise than most must not be started within what waits for those.
        let other = self.ground.other_for(&self.launch.profile);
        let mut shim = loop {
            let spare = if other.is_none() { self.spare.take() } else { None };
            let waited = spare.is_some();
            let mut shim = match spare {
                Some(shim) => shim,
                None => self.spawn(other.as_ref().unwrap_or(self.ground))?,
            };
            if shim.ready().await {
                break shim;
            }
            let stands_in = shim.is_of_other_build().await && self.program.give_up();
            if !stands_in && !waited {
                break shim;
            }
        };
        // With the order it hears until when the job may run: this process may stand still right after.
        let until = *self.until.borrow_and_update();
        let until = until.map(|at| Command::Until(at).encode());
        let order = [order, until.as_ref().map_or(&[], |it| it.as_slice())].concat();
        // A shim that dies at once is noticed by the end of its events.
        let _ = shim.commands.write_all(&order).await;
        Ok((shim, other.is_none()))
    }

    fn spawn(&self, ground: &Ground) -> Result<Shim, HostFault> {
        Shim::spawn(self.program, ground).map_err(|error| {
            HostFault(format!("cannot start a job's supervisor ({}): {error}", self.program))
        })
    }

    async fn watch(
        &mut self,
        started: Instant,
        shim: &mut Shim,
        drain: impl Future<Output = ((), ())>,
    ) -> Progress {
        let mut progress = Progress::default();
        let mut drain = std::pin::pin!(drain);
        let mut out_of_time = std::pin::pin!(expiry(self.timeout.map(|time| started + time)));
        // When the current wait for the shim, or for the pipes after it, is given up.
        let mut patience: Option<Instant> = None;
        // Until when what has answered may go on.
        let mut linger: Option<Instant> = None;

        while !(progress.gone && progress.drained) {
            let may_stop = progress.cause.is_none() && !progress.gone;
            tokio::select! {
                event = shim.events.recv(), if !progress.gone => {
                    match event {
                        Some(Event::Started { pid }) => {
                            tracing::debug!(pid, "started");
                            if let Some(launched) = self.launched.take() {
                                // Not everybody wants to know.
                                let _ = launched.send(());
                            }
                        }
                        Some(event) => {
                            if progress.note(event) {
                                patience = Some(Instant::now() + SHIM_PATIENCE);
                            }
                        }
                        None => {
                            end_orphans(&mut shim.child).await;
                            (progress.gone, progress.lost) = (true, true);
                        }
                    }
                    if progress.gone {
                        patience = Some(Instant::now() + DRAIN);
                    }
                }
                _ = &mut drain, if !progress.drained => progress.drained = true,
                () = &mut out_of_time, if may_stop => {
                    progress.cause = Some(Cause::TimedOut);
                    patience = Some(tell(shim, self.grace).await);
                }
                (reason, grace) = asked(&mut self.cancelled), if may_stop => {
                    progress.cause = Some(Cause::Stopped(reason));
                    patience = Some(tell(shim, grace.unwrap_or(self.grace)).await);
                }
                at = changed(&mut self.until), if may_stop => {
                    // A failed write means a dead shim, which its events tell too.
                    let _ = shim.commands.write_all(&Command::Until(at).encode()).await;
                }
                grace = asked(&mut self.shutdown), if may_stop => {
                    progress.cause = Some(Cause::Stopped(StopReason::HostStopped));
                    patience = Some(tell(shim, grace).await);
                }
                () = told(self.answered.as_deref()), if linger.is_none() => {
                    linger = Some(Instant::now() + LINGER);
                }
                () = expiry(linger), if may_stop && !progress.leftovers => {
                    progress.leftovers = true;
                    progress.lingered = progress.exited.is_none();
                    patience = Some(tell(shim, self.grace).await);
                }
                () = expiry(patience) => {
                    if progress.gone {
                        tracing::warn!("output is held open by a process that is not the job's");
                        return progress;
                    }
                    tracing::warn!("the job's shim does not answer; it is killed");
                    let _ = shim.child.start_kill();
                    // Its events end now. Should even that not happen, the run ends here.
                    if Instant::now() > patience.unwrap_or(started) + SHIM_PATIENCE {
                        progress.lost = true;
                        return progress;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            }
            if self.answered.is_some() && progress.exited.is_some() {
                linger.get_or_insert_with(|| Instant::now() + LINGER);
            }
            // A job lasts as long as its output; a service is over with its main process.
            let over = progress.drained || self.timeout.is_none();
            let ended = progress.exited.is_some() && !progress.last && over;
            if ended && !progress.gone && progress.cause.is_none() && !progress.leftovers {
                progress.leftovers = true;
                patience = Some(tell(shim, Duration::ZERO).await);
            }
        }
        progress
    }
}

/// This machine could not make what the run was to be kept in.
fn unkept(text: &str) -> HostFault {
    HostFault(format!("cannot make the sandbox of a run: {text}"))
}

/// What a shim that ended before it started anything leaves to be said.
fn unready(fate: io::Result<Option<ExitStatus>>, said: &str) -> HostFault {
    let mut text = "a job's supervisor ended before it started the job".to_owned();
    if let Ok(Some(status)) = fate {
        text.push_str(&format!(" ({status})"));
    }
    // Such as what a loader says that does not find a library.
    if let Some(line) = said.lines().map(str::trim).find(|line| !line.is_empty()) {
        text.push_str(": ");
        text.extend(line.chars().take(200));
    }
    HostFault(text)
}

/// Tells the shim to end the job; answers until when it may take.
async fn tell(shim: &mut Shim, grace: Duration) -> Instant {
    // A failed write means a dead shim, which its events tell too.
    let _ = shim.commands.write_all(&Command::Stop(grace).encode()).await;
    Instant::now() + grace + SHIM_PATIENCE
}

/// Waits for a request; for ever if nobody is left to make one.
pub(crate) async fn asked<T: Copy>(requests: &mut watch::Receiver<Option<T>>) -> T {
    match requests.wait_for(Option::is_some).await.ok().and_then(|request| *request) {
        Some(request) => request,
        None => std::future::pending().await,
    }
}

/// Waits for another moment than the last one; for ever if nobody is left to name one.
pub(crate) async fn changed(moments: &mut watch::Receiver<Option<Duration>>) -> Duration {
    loop {
        if moments.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(at) = *moments.borrow_and_update() {
            return at;
        }
    }
}

/// Waits to be told; for ever if nobody would.
async fn told(by: Option<&Notify>) {
    match by {
        Some(notify) => notify.notified().await,
        None => std::future::pending().await,
    }
}

async fn expiry(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Kills what a dead shim left, until nothing is left.
async fn end_orphans(shim: &mut Child) {
    // The socket closes before the kernel hands the shim's children on; waiting for the shim
    // itself makes sure that they are ours. One that closed its socket and lives is no use.
    let _ = shim.start_kill();
    let _ = timeout(SHIM_PATIENCE, shim.wait()).await;
    // Once nothing is found look again: the last kill may have freed further descendants.
    let mut quiet = 0;
    for _ in 0..SWEEPS {
        let found = tokio::task::spawn_blocking(orphans::sweep).await.unwrap_or(false);
        quiet = if found { 0 } else { quiet + 1 };
        if quiet == 2 {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    tracing::warn!("processes of a job that killed its shim cannot be ended");
}
