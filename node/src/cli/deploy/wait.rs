//! Waiting until a deployment runs, and telling what happens meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::verdict::{Verdict, Watch};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::show::service::instances;
use crate::cli::show::text;
use crate::cli::{passes, services};
use crate::client::Client;

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(150);

/// A deployment of which everything has failed for so long has nowhere else to go.
const NO_HOPE: Duration = Duration::from_secs(15);

/// Nothing happened for so long: it is said what is waited for.
const QUIET: Duration = Duration::from_secs(5);

/// A deployment that is to run.
#[derive(Debug)]
pub(super) struct Wanted {
    name: String,
    generation: u64,
    replicas: usize,
}

impl Wanted {
    /// What a coordinator answered to the deployment.
    pub(super) fn of(name: &str, service: &Value) -> Result<Self, CliError> {
        let number = |member| service[member].as_u64().ok_or(CliError::Answer(member));
        let replicas = usize::try_from(number("replicas")?).unwrap_or(usize::MAX);
        Ok(Self { name: name.to_owned(), generation: number("generation")?, replicas })
    }

    pub(super) fn announced(&self) -> String {
        let (name, generation) = (&self.name, self.generation);
        let instances = if self.replicas == 1 { "instance" } else { "instances" };
        format!("{name} is deployed: generation {generation}, {} {instances}", self.replicas)
    }
}

/// The service once all of its instances are of this deployment and run.
pub(super) async fn until_it_runs(
    client: &Client,
    wanted: &Wanted,
    timeout: Duration,
    output: &mut Output,
) -> Result<Value, CliError> {
    let began = Instant::now();
    let mut watch = Watch::new(wanted.generation, wanted.replicas);
    let mut told = Told::new(client, wanted.generation).await;
    let mut hopeless: Option<Instant> = None;
    let mut running = 0;
    let failed = |why| CliError::NotRunning { name: wanted.name.clone(), why };
    loop {
        match services::by_id(client, &wanted.name).await {
            Ok(Some(service)) => {
                told.tell(&service, output);
                let verdict = watch.look(&service);
                if !matches!(verdict, Verdict::Failing(_)) {
                    hopeless = None;
                }
                match verdict {
                    Verdict::Runs => {
                        let ms = began.elapsed().as_millis();
                        output.say(&format!("{} runs ({ms} ms)", wanted.name));
                        return Ok(service);
                    }
                    Verdict::Starting { running: now } => running = now,
                    Verdict::Over(why) => return Err(failed(why)),
                    Verdict::Failing(error) => {
                        let since = *hopeless.get_or_insert_with(Instant::now);
                        if since.elapsed() > NO_HOPE {
                            return Err(failed(format!("does not start: {error}")));
                        }
                    }
                }
            }
            // A coordinator that was not asked before may hear of it a moment later.
            Ok(None) if began.elapsed() < QUIET => {}
            Ok(None) => return Err(failed("was removed meanwhile".to_owned())),
            Err(CliError::Client(error)) if passes(&error) => {
                told.once(&format!("{error}; trying again"), output);
            }
            Err(error) => return Err(error),
        }
        if told.is_quiet() && !told.any() {
            told.once("no host has taken it yet: `skyclaw hosts` lists them", output);
        }
        if began.elapsed() >= timeout {
            return Err(CliError::StillStarting {
                name: wanted.name.clone(),
                running,
                wanted: wanted.replicas,
                seconds: timeout.as_secs_f64(),
            });
        }
        tokio::time::sleep(GLANCE.min(timeout)).await;
    }
}

/// What was told, so that everything is told once.
struct Told {
    generation: u64,
    names: BTreeMap<String, String>,
    /// Of each instance, as it was last.
    states: BTreeMap<u64, String>,
    last: String,
    at: Instant,
}

impl Told {
    async fn new(client: &Client, generation: u64) -> Self {
        let names = services::host_names(client).await;
        let (states, last) = (BTreeMap::new(), String::new());
        Self { generation, names, states, last, at: Instant::now() }
    }

    fn tell(&mut self, service: &Value, output: &mut Output) {
        for part in instances(service) {
            if part["generation"].as_u64() != Some(self.generation) {
                continue;
            }
            let state = match text(part, "status").as_str() {
                "pending" => "is starting".to_owned(),
                "running" => "runs".to_owned(),
                _ => format!("failed: {}", text(part, "error")),
            };
            let epoch = part["epoch"].as_u64().unwrap_or(0);
            if self.states.get(&epoch) == Some(&state) {
                continue;
            }
            let host = text(part, "hostId");
            let host = self.names.get(&host).unwrap_or(&host);
            output.say(&format!("instance {} on {host} {state}", text(part, "slot")));
            self.states.insert(epoch, state);
            self.at = Instant::now();
        }
    }

    fn once(&mut self, words: &str, output: &mut Output) {
        if self.last != words {
            output.say(words);
            words.clone_into(&mut self.last);
            self.at = Instant::now();
        }
    }

    /// Whether a host was chosen for any instance.
    fn any(&self) -> bool {
        !self.states.is_empty()
    }

    fn is_quiet(&self) -> bool {
        self.at.elapsed() > QUIET
    }
}
