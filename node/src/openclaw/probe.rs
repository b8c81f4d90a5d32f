//! Looks at the OpenClaw of this host: at the start, when its file or the shared configuration changes,
//! and, of its Gateway, every half minute.
//!
//! Always: what is asked runs like a job, in a folder of its own, with a time limit; nothing is asked on
//! behalf of heartbeats, since each call costs seconds of a processor.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::found::MAX_MODELS;
use super::shared::Shared;
use super::tools::approvals;
use super::version::{EXEC_SINCE, Version};
use super::{Found, Install, Openclaw, QUIET, ToolPolicy, gateway};
use crate::supervisor::{Question, Supervisor, Unanswered, Workspace};

/// How long one question may take: a cold start was seen to take 20 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// Looks after which the Gateway is asked whether it lives.
const LOOKS_PER_GATEWAY: u32 = 2;

/// Looks after which one that did not answer is asked again.
const LOOKS_PER_RETRY: u32 = 8;

/// Longest line of a reason.
const MAX_REASON_CHARS: usize = 300;

/// Most bytes of the state in which a list of commands stands; it is 1.4 MB.
const MAX_STATE_BYTES: u64 = 16 << 20;

/// A file as it was when it was looked at.
type Stamp = Option<(PathBuf, Option<SystemTime>, u64)>;

/// Looks, and tells `openclaw` what it saw, until `stop`.
pub async fn watch(openclaw: Openclaw, supervisor: Supervisor, stop: CancellationToken) {
    let probe = Probe { openclaw: &openclaw, supervisor: &supervisor };
    let mut seen = None;
    let mut looks = 0_u32;
    loop {
        let now = probe.stamps();
        let late = looks >= LOOKS_PER_RETRY && probe.is_doubtful();
        if seen.as_ref() != Some(&now) || late {
            let found = tokio::select! {
                found = probe.look() => found,
                () = stop.cancelled() => return,
            };
            probe.say(&found);
            openclaw.found(found);
            (seen, looks) = (Some(now), 0);
        } else if looks.is_multiple_of(LOOKS_PER_GATEWAY) {
            probe.ask_gateway().await;
        }
        looks = looks.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}

struct Probe<'a> {
    openclaw: &'a Openclaw,
    supervisor: &'a Supervisor,
}

impl Probe<'_> {
    /// What the program and the configuration are now.
    fn stamps(&self) -> [Stamp; 2] {
        let program = self.supervisor.program(self.openclaw.command()).map(PathBuf::from);
        [program, self.openclaw.0.config.config.clone()].map(|path| {
            let path = path?;
            // A link leads to another version without being changed itself.
            let path = std::fs::canonicalize(&path).unwrap_or(path);
            let meta = std::fs::metadata(&path).ok();
            let size = meta.as_ref().map_or(0, std::fs::Metadata::len);
            Some((path, meta.and_then(|meta| meta.modified().ok()), size))
        })
    }

    fn is_doubtful(&self) -> bool {
        self.openclaw.last().is_some_and(|found| {
            matches!(found.install, Install::Unusable(_) | Install::Other)
                || found.trouble.is_some()
                || matches!(found.shared, Some(Err(_)))
        })
    }

    fn say(&self, found: &Found) {
        match found.told() {
            None => tracing::debug!("no OpenClaw is found on this host"),
            Some(told) => {
                let version = told.version.unwrap_or_default();
                let models = found.models.len();
                match told.trouble {
                    None => tracing::info!(version, models, gateway = told.gateway, "OpenClaw"),
                    Some(why) => tracing::warn!(version, "OpenClaw runs no agents here: {why}"),
                }
            }
        }
    }

    async fn look(&self) -> Found {
        let space = match self.supervisor.workspace() {
            Ok(space) => space,
            Err(fault) => {
                let install = Install::Unusable(fault.to_string());
                return Found { install, ..Found::default() };
            }
        };
        let found = self.look_in(&space).await;
        space.remove().await;
        found
    }

    async fn look_in(&self, space: &Workspace) -> Found {
        let mut found = Found { install: self.install(space).await, ..Found::default() };
        let new_enough = found.version().is_some_and(|version| *version >= EXEC_SINCE);
        if found.is_openclaw() {
            found.node = self.node(space).await;
        }
        let config = self.openclaw.0.config.config.clone();
        if let Some(path) = config.filter(|_| new_enough) {
            let mut shared = Shared::read(&path);
            if let Ok(read) = &shared {
                match self.models(read, space).await {
                    Ok(models) => found.models = models,
                    Err(why) => found.trouble = Some(format!("its models are not known: {why}")),
                }
                // Where all is allowed a job may still ask for the list.
                if self.openclaw.most() >= ToolPolicy::Allowlist {
                    match self.approvals(space).await {
                        Ok(state) => found.approvals = Some(Arc::new(state)),
                        Err(why) => {
                            let why = format!("its list of commands cannot be set: {why}");
                            if self.openclaw.most() == ToolPolicy::Allowlist {
                                shared = Err(why);
                            } else {
                                found.trouble = Some(why);
                            }
                        }
                    }
                }
                if let Some(why) = self.openclaw.room().too_small() {
                    shared = Err(why);
                }
            }
            found.shared = Some(shared);
        }
        found.gateway = found.version().is_some() && self.gateway_lives().await;
        found
    }

    async fn ask(
        &self,
        args: &[&str],
        more: &[(&str, &str)],
        stdin: Option<String>,
        space: &Workspace,
    ) -> Result<crate::supervisor::Answered, Unanswered> {
        let set: Vec<_> = QUIET.into_iter().chain(more.iter().copied()).collect();
        let command = self.openclaw.command();
        let question = Question { command, args, set: &set, stdin, timeout: PATIENCE };
        self.supervisor.ask(question, space).await
    }

    async fn install(&self, space: &Workspace) -> Install {
        let answer = match self.ask(&["--version"], &[], None, space).await {
            Ok(answer) => answer,
            Err(Unanswered::Missing) => return Install::Missing,
            Err(why) => return Install::Unusable(format!("`openclaw --version`: {why}")),
        };
        // A program that said nothing is not taken for another one: jobs would reach it unchecked.
        let silent = answer.stdout.trim().is_empty() && answer.stderr.trim().is_empty();
        if answer.code.is_none() || silent {
            return Install::Unusable("`openclaw --version` ended without a word".to_owned());
        }
        if answer.code == Some(0) {
            return Version::find(&answer.stdout).map_or(Install::Other, Install::Usable);
        }
        // Such as that Node is too old; other programs have words of their own.
        let said = [&answer.stderr, &answer.stdout].into_iter().flat_map(|text| text.lines());
        let names_it = |line: &&str| line.to_ascii_lowercase().contains("openclaw");
        said.map(str::trim)
            .find(names_it)
            .map_or(Install::Other, |line| Install::Unusable(reason(line)))
    }

    async fn node(&self, space: &Workspace) -> Option<String> {
        let set = &QUIET;
        let args = &["--version"];
        let question = Question { command: "node", args, set, stdin: None, timeout: PATIENCE };
        let answer = self.supervisor.ask(question, space).await.ok()?;
        let line = answer.stdout.lines().next()?.trim().trim_start_matches('v');
        (answer.code == Some(0) && !line.is_empty()).then(|| reason(line))
    }

    /// The models that can be used with the configuration jobs get.
    async fn models(&self, shared: &Shared, space: &Workspace) -> Result<Vec<String>, String> {
        let path = space.file("openclaw.json", shared.of_job(ToolPolicy::None).as_bytes())?;
        let config = [("OPENCLAW_CONFIG_PATH", path.as_str())];
        let answer = self.ask(&["models", "list", "--json"], &config, None, space).await;
        let answer = answer.map_err(|why| why.to_string())?;
        let document: Value = answer
            .stdout
            .find('{')
            .and_then(|at| serde_json::from_str(&answer.stdout[at..]).ok())
            .ok_or_else(|| reason(answer.stderr.lines().last().unwrap_or("no list came")))?;
        let models = document["models"].as_array().map(Vec::as_slice).unwrap_or_default();
        let usable = models.iter().filter(|model| model["available"] != false);
        let keys = usable.filter_map(|model| model["key"].as_str());
        Ok(keys.filter(|key| !key.is_empty()).take(MAX_MODELS).map(str::to_owned).collect())
    }

    /// The state in which OpenClaw has put the host's list of commands.
    async fn approvals(&self, space: &Workspace) -> Result<Vec<u8>, String> {
        let list = approvals(&self.openclaw.0.config.rules);
        let list = space.file("approvals.json", list.as_bytes())?;
        let state = space.folder("state")?;
        let set = [("OPENCLAW_STATE_DIR", state.as_str())];
        let answer = self.ask(&["approvals", "set", "--stdin"], &set, Some(list), space).await;
        let answer = answer.map_err(|why| why.to_string())?;
        if answer.code != Some(0) {
            return Err(reason(answer.stderr.lines().last().unwrap_or("it was refused")));
        }
        let file = PathBuf::from(state).join("state/openclaw.sqlite");
        let size = std::fs::metadata(&file).map_err(|error| error.to_string())?.len();
        if size > MAX_STATE_BYTES {
            return Err(format!("its state has {size} bytes"));
        }
        tokio::fs::read(&file).await.map_err(|error| error.to_string())
    }

    /// A Gateway acts by its own rules: only an owner who allows all may lend it.
    async fn gateway_lives(&self) -> bool {
        let config = &self.openclaw.0.config;
        config.gateway
            && self.openclaw.most() == ToolPolicy::Full
            && gateway::lives(self.supervisor.environment()).await
    }

    async fn ask_gateway(&self) {
        let Some(last) = self.openclaw.last().filter(|found| found.version().is_some()) else {
            return;
        };
        let gateway = self.gateway_lives().await;
        if gateway != last.gateway {
            tracing::info!(gateway, "the Gateway of OpenClaw");
            self.openclaw.found(Found { gateway, ..Found::clone(&last) });
        }
    }
}

/// One short line.
fn reason(line: &str) -> String {
    line.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON_CHARS)
        .collect()
}
