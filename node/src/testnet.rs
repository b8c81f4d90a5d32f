//! A local network of real processes that find each other and show themselves working.
//!
//! Always: nothing outside its own folder under the system's temporary directory is touched, ports
//! that are taken give way to free ones, no process outlives it, and nobody else's node joins: its
//! network has a name of its own, and a token where others can reach it.

mod check;
mod command;
pub mod hello;
mod process;
mod service;
mod start;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{Client, ClientError};
use process::{Folder, Process};

/// Longest wait for each step. On a loaded machine a debug build starts in a second or two; who
/// meets by mDNS alone may miss one query and has the next after 30 s.
const STEP: Duration = Duration::from_secs(40);

/// How often a step looks again.
const GLANCE: Duration = Duration::from_millis(20);

/// A process that was killed closes its sockets a moment before it has ended.
const LAST_BREATH: Duration = Duration::from_millis(300);

/// Coordinators of a local network: whichever of them is gone, the others decide and go on.
pub const COORDINATORS: u16 = 3;

/// Coordinators on whose disks each job is before it is taken.
const COPIES: u16 = 2;

/// How often it looks whether a node has ended.
const LOOK: Duration = Duration::from_millis(200);

/// What a local network is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its hosts, beside [`COORDINATORS`].
    pub hosts: u16,
    /// Its nodes are told no addresses and find each other on the LAN.
    pub mdns: bool,
    /// It ends after the check.
    pub once: bool,
}

/// The local network did not come up or the check failed. Its processes have ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestnetError {
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A process ended or stayed silent.
    #[error("{name} {what}. Its log ends:\n{log}")]
    Process {
        /// Which.
        name: String,
        /// What happened.
        what: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// A coordinator answered with an error.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The nodes did not find each other, or the job or the service did not do as they should.
    #[error("the check failed: {0}")]
    Check(String),
}

/// Starts coordinators, hosts and a gateway, waits until they have found each other, runs a job,
/// deploys a service and calls it, says what happened, and stays up until a signal, also while nodes end,
/// as long as a coordinator is left; with `once` it ends after the check.
///
/// # Errors
/// [`TestnetError`] if a step failed, a node ended before, or no coordinator is left.
pub async fn run(options: Options) -> Result<ExitCode, TestnetError> {
    let system = |what| move |source| TestnetError::System { what, source };
    let mut term = signal(SignalKind::terminate()).map_err(system("signals"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(system("signals"))?;
    let folder = Folder::make().map_err(system("no folder for the local network"))?;
    let mut net = Testnet {
        options,
        folder,
        token: None,
        coordinators: vec![],
        hosts: vec![],
        gateway: None,
    };
    let up = tokio::select! {
        up = net.come_up() => up.map(|()| true),
        _ = term.recv() => Ok(false),
        _ = int.recv() => Ok(false),
    };
    let code = match up {
        Ok(true) if options.once => Ok(ExitCode::SUCCESS),
        Ok(true) => {
            net.tell_how_to_go_on();
            tokio::select! {
                ended = net.until_none_is_left() => Err(ended),
                _ = term.recv() => Ok(ExitCode::SUCCESS),
                _ = int.recv() => Ok(ExitCode::SUCCESS),
            }
        }
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    };
    net.stop().await;
    code
}

struct Testnet {
    options: Options,
    folder: Folder,
    /// Where the network is open to the LAN.
    token: Option<Token>,
    coordinators: Vec<Coordinator>,
    hosts: Vec<Process>,
    gateway: Option<Gateway>,
}

struct Gateway {
    process: Process,
    url: String,
}

struct Token {
    text: String,
    /// For the person's other terminal: the token itself is not printed.
    file: PathBuf,
}

struct Coordinator {
    process: Process,
    url: String,
    client: Client,
}

impl Testnet {
    async fn come_up(&mut self) -> Result<(), TestnetError> {
        let begun = Instant::now();
        self.start_all().await?;
        self.until_coordinators_meet().await?;
        self.until_hosts_are_known().await?;
        self.run_a_job().await?;
        self.run_a_service().await?;
        say(&format!("all of it took {} ms", begun.elapsed().as_millis()));
        Ok(())
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let coordinators = self.coordinators.iter_mut().map(|node| &mut node.process);
        let gateway = self.gateway.as_mut().map(|gateway| &mut gateway.process);
        coordinators.chain(&mut self.hosts).chain(gateway)
    }

    /// An error if a process has ended.
    fn all_run(&mut self) -> Result<(), TestnetError> {
        self.processes().try_for_each(Process::check)
    }

    /// Says which nodes end, until the last coordinator has.
    async fn until_none_is_left(&mut self) -> TestnetError {
        loop {
            tokio::time::sleep(LOOK).await;
            let before = self.coordinators_left();
            let ended: Vec<String> = self.processes().filter_map(Process::has_just_ended).collect();
            let left = self.coordinators_left();
            let goes_on = if left.is_empty() { "" } else { "; the others go on" };
            for what in &ended {
                say(&format!("{what}{goes_on}"));
            }
            let Some(&first) = left.first() else { return self.last_words(before.last().copied()) };
            if before.first() != Some(&first) {
                say(&format!("the dashboard is at {}/ now", self.coordinators[first].url));
            }
            if left.len() < before.len() && left.len() < usize::from(COPIES) {
                say("one coordinator alone decides nothing: a job is taken by two of them");
            }
        }
    }

    /// Which coordinators have not ended, as far as it was said.
    fn coordinators_left(&self) -> Vec<usize> {
        let all = self.coordinators.iter().enumerate();
        all.filter(|(_, node)| !node.process.is_over()).map(|(at, _)| at).collect()
    }

    /// How the last coordinator ended: one of those that were left a moment before.
    fn last_words(&self, last: Option<usize>) -> TestnetError {
        match last.and_then(|last| self.coordinators.get(last)) {
            Some(node) => node.process.fault("has ended, as the last coordinator"),
            None => TestnetError::Check("there is no coordinator".to_owned()),
        }
    }

    /// What coordinator `at` answers. If that is nothing because a process has ended, the error
    /// names the process.
    async fn ask(&mut self, at: usize, path: &str) -> Result<Value, TestnetError> {
        self.all_run()?;
        match self.coordinators[at].client.get(path).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.blame(error).await),
        }
    }

    async fn blame(&mut self, error: ClientError) -> TestnetError {
        let until = Instant::now() + LAST_BREATH;
        while Instant::now() < until {
            if let Err(ended) = self.all_run() {
                return ended;
            }
            tokio::time::sleep(GLANCE).await;
        }
        error.into()
    }

    /// The gateway first, as nobody is to call any more; then hosts, so that they can report what
    /// they ran.
    async fn stop(self) {
        let gateway = self.gateway.into_iter().map(|gateway| gateway.process).collect();
        let coordinators = self.coordinators.into_iter().map(|node| node.process).collect();
        for group in [gateway, self.hosts, coordinators] {
            for process in &group {
                process.terminate();
            }
            for process in group {
                process.ended().await;
            }
        }
    }

    fn tell_how_to_go_on(&self) {
        let skyclaw = command::client(std::env::current_exe().ok().as_deref());
        let urls: Vec<&str> = self.coordinators.iter().map(|node| node.url.as_str()).collect();
        let gateway = self.gateway.as_ref().map_or("", |gateway| gateway.url.as_str());
        say(&format!("the API is at {}", urls.join(" and at ")));
        say(&format!("the dashboard, in a browser, is at {}/, and at each other of them", urls[0]));
        say("the network stays up until Ctrl-C. In another terminal:");
        say(&format!("  export SKYCLAW_COORDINATOR_URLS={}", urls.join(",")));
        let mut header = "";
        if let Some(Token { file, .. }) = &self.token {
            say(&format!("  export SKYCLAW_TOKEN=$(cat {})", file.display()));
            header = "-H \"x-skyclaw-token: $SKYCLAW_TOKEN\" ";
        }
        for line in [
            format!("  {skyclaw} peers"),
            format!("  {skyclaw} hosts"),
            format!("  {skyclaw} submit --wait -- sh -c 'date; echo done'"),
            format!("  {skyclaw} jobs"),
            format!("  {skyclaw} service {name}", name = service::NAME),
            format!("  {skyclaw} logs {name} --follow", name = service::NAME),
            format!("  curl {gateway}/v1/gateway/{name}/", name = service::NAME),
            format!("  curl {header}{}/v1/state", urls[0]),
        ] {
            say(&line);
        }
        if let Some(pid) = self.coordinators[0].process.id() {
            say(
                "whatever runs goes on when a coordinator is lost. See it, with a job that takes its time:",
            );
            say(&format!("  {skyclaw} submit -- sleep 20; kill -9 {pid}   # coordinator-1"));
        }
    }
}

/// One line for the person who watches; nobody may be reading.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "[skyclaw] {line}");
}
