//! A local network of real processes on loopback that shows itself working.
//!
//! Always: nothing outside its own folder under the system's temporary directory is touched, ports
//! that are taken give way to free ones, and no process outlives it.

mod process;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{Client, ClientError};
use process::{Folder, Process};

/// Longest wait for each step; on a loaded machine a debug build takes a second or two.
const STEP: Duration = Duration::from_secs(20);

/// How often a step looks again.
const GLANCE: Duration = Duration::from_millis(20);

/// The port of the API, if it is free.
const API_PORT: u16 = 8787;

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
    /// The coordinator answered with an error.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The check job did not come back as it should.
    #[error("the check failed: {0}")]
    Check(String),
}

/// Starts one coordinator and `nodes - 1` hosts, runs a job, says what happened, and stays up
/// until a signal; with `once` it ends after the check.
///
/// # Errors
/// [`TestnetError`] if a step failed.
pub async fn run(nodes: u16, once: bool) -> Result<ExitCode, TestnetError> {
    let system = |what| move |source| TestnetError::System { what, source };
    let mut term = signal(SignalKind::terminate()).map_err(system("signals"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(system("signals"))?;
    let mut net = Testnet::default();
    let up = tokio::select! {
        up = net.start(nodes) => up,
        _ = term.recv() => Ok(None),
        _ = int.recv() => Ok(None),
    };
    let code = match up {
        Ok(Some(_)) if once => Ok(ExitCode::SUCCESS),
        Ok(Some(url)) => {
            tell_how_to_go_on(&url);
            tokio::select! {
                ended = net.until_one_ends() => Err(ended),
                _ = term.recv() => Ok(ExitCode::SUCCESS),
                _ = int.recv() => Ok(ExitCode::SUCCESS),
            }
        }
        Ok(None) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    };
    net.stop().await;
    code
}

#[derive(Default)]
struct Testnet {
    folder: Option<Folder>,
    /// The coordinator first.
    processes: Vec<Process>,
}

impl Testnet {
    /// The url of the API once the check went well.
    async fn start(&mut self, nodes: u16) -> Result<Option<String>, TestnetError> {
        let begun = Instant::now();
        let folder = Folder::make().map_err(|source| TestnetError::System {
            what: "no folder for the local network",
            source,
        })?;
        let folder = self.folder.insert(folder);
        // Asked for and found free; if somebody takes it in between, the coordinator says so.
        let free = std::net::TcpListener::bind(("127.0.0.1", API_PORT)).is_ok();
        let port = if free { API_PORT } else { 0 };
        let coordinator = Process::start(
            folder,
            "coordinator",
            &[
                ("SKYCLAW_ROLE", "coordinator".into()),
                ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1".into()),
                ("SKYCLAW_COORDINATOR_PORT", port.to_string()),
                ("SKYCLAW_COORDINATOR_NODE_ID", "testnet-coordinator".into()),
                ("SKYCLAW_MIN_REPLICATIONS", "1".into()),
            ],
        )?;
        self.processes.push(coordinator);
        let url = self.processes[0].listening_url(STEP).await?;
        say(&format!("coordinator is up at {url}"));
        if !free {
            say(&format!("(port {API_PORT} is taken, so another one was chosen)"));
        }
        for n in 1..nodes {
            let host = Process::start(
                folder,
                &format!("host-{n}"),
                &[
                    ("SKYCLAW_ROLE", "host".into()),
                    ("SKYCLAW_COORDINATOR_URLS", url.clone()),
                    ("SKYCLAW_HOST_NAME", format!("testnet-host-{n}")),
                    ("SKYCLAW_MAX_PARALLEL", "2".into()),
                ],
            )?;
            self.processes.push(host);
        }
        let client = Client::new(std::slice::from_ref(&url), None)?;
        self.wait_for_hosts(&client, usize::from(nodes) - 1).await?;
        say(&format!("{} hosts have registered", nodes - 1));
        self.run_a_job(&client).await?;
        say(&format!("all of it took {} ms", begun.elapsed().as_millis()));
        Ok(Some(url))
    }

    async fn wait_for_hosts(&mut self, client: &Client, count: usize) -> Result<(), TestnetError> {
        let until = Instant::now() + STEP;
        loop {
            self.all_run()?;
            let known = client.get("/v1/hosts").await?;
            if known["hosts"].as_array().is_some_and(|hosts| hosts.len() >= count) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(TestnetError::Check(format!("no {count} hosts registered in time")));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn run_a_job(&mut self, client: &Client) -> Result<(), TestnetError> {
        let script = "echo \"hello from $(uname -sm), process $$\"";
        say(&format!("submitting a job: sh -c '{script}'"));
        let begun = Instant::now();
        let submitted = client
            .post(
                "/v1/jobs",
                &json!({
                    "payload": { "kind": "shell", "command": "sh", "args": ["-c", script] },
                    "requirement": { "requiredCapabilities": ["shell"] },
                    "submittedBy": "testnet",
                }),
            )
            .await?;
        let id = submitted["job"]["id"].as_str().unwrap_or_default().to_owned();
        let path = format!("/v1/jobs/{}", crate::client::segment(&id));
        let until = begun + STEP;
        let job = loop {
            self.all_run()?;
            let job = client.get(&path).await?["job"].take();
            if !matches!(job["status"].as_str(), Some("queued" | "leased")) {
                break job;
            }
            if Instant::now() > until {
                return Err(TestnetError::Check(format!("job {id} did not end in time")));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let took = begun.elapsed().as_millis();
        let host = text(&job["assignedHostId"]);
        let output = text(&job["result"]["stdout"]);
        if job["status"] != "completed" || !output.starts_with("hello from ") {
            return Err(TestnetError::Check(format!("the job ended as {job:#}")));
        }
        say(&format!("{id} ran on {host} in {took} ms and said: {}", output.trim_end()));
        Ok(())
    }

    /// An error if a process has ended.
    fn all_run(&mut self) -> Result<(), TestnetError> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    async fn until_one_ends(&mut self) -> TestnetError {
        loop {
            if let Err(error) = self.all_run() {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Hosts first, so that they can report what they ran.
    async fn stop(mut self) {
        let hosts = self.processes.split_off(1.min(self.processes.len()));
        for group in [hosts, self.processes] {
            for process in &group {
                process.terminate();
            }
            for process in group {
                process.ended().await;
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn tell_how_to_go_on(url: &str) {
    let skyclaw = std::env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name("skyclaw"))
        .filter(|path| path.exists())
        .map_or_else(|| "skyclaw".to_owned(), |path| path.display().to_string());
    say("the network stays up until Ctrl-C. In another terminal:");
    for line in [
        format!("  export SKYCLAW_COORDINATOR_URL={url}"),
        format!("  {skyclaw} submit --wait -- sh -c 'date; echo done'"),
        format!("  {skyclaw} jobs"),
        format!("  curl {url}/v1/state"),
    ] {
        say(&line);
    }
}

/// One line for the person who watches; nobody may be reading.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "[skyclaw] {line}");
}
