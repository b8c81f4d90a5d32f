//! `doctor`: what is wrong with the network as seen from here, and what to do about it.
//!
//! Always: it only looks. What it sees is gathered once (`facts`); each check judges that alone and
//! asks nobody, so a further check is one function and one line in [`CHECKS`].

mod clock;
mod coordinators;
mod disk;
mod facts;
mod gossip;
mod here;
mod hosts;
mod jobs;
mod openclaw;
mod peers;
mod ports;
mod reach;
mod records;
mod sandbox;
mod token;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::error::CliError;
use super::output::Output;
use crate::client::Client;
use crate::config::{DEFAULT_FILE, EnvVars, Key, Layer, Layers};
use facts::Facts;

/// A check: what it finds in the facts. One that can say nothing finds nothing.
type Check = fn(&Facts) -> Vec<Finding>;

/// All checks, in the order in which they are told: what stands first may be the cause of the rest.
const CHECKS: [Check; 14] = [
    coordinators::check,
    token::check,
    clock::check,
    disk::check,
    peers::check,
    reach::check,
    ports::check,
    gossip::check,
    records::check,
    hosts::check,
    sandbox::check,
    here::check,
    openclaw::check,
    jobs::check,
];

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or not for long.
    Warn,
    /// Something does not work.
    Fail,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at; the same word for the same check, for programs.
    pub(super) name: &'static str,
    /// How bad it is.
    pub(super) level: Level,
    /// What was seen.
    pub(super) what: String,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, what: what.into(), fix: None }
    }

    fn warn(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, what: what.into(), fix: Some(fix.into()) }
    }

    fn fail(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, what: what.into(), fix: Some(fix.into()) }
    }

    fn document(&self) -> Value {
        let mut shown = json!({ "name": self.name, "level": self.level.word(), "what": self.what });
        if let Some(fix) = &self.fix {
            shown["fix"] = json!(fix);
        }
        shown
    }
}

pub(super) async fn doctor(
    client: &Client,
    (env, flags): (&EnvVars, Layer),
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let mut facts = Facts::gather(client).await;
    let layers = Layers::load(flags.clone(), env, Path::new(DEFAULT_FILE));
    facts.no_token = layers.is_ok_and(|layers| layers.get(Key::Token).is_none());
    facts.here = here::look(env, flags).await;
    let findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&facts)).collect();
    let well = findings.iter().all(|finding| finding.level != Level::Fail);
    if json {
        let shown: Value = findings.iter().map(Finding::document).collect();
        output.json(&json!({ "ok": well, "findings": shown }))?;
    } else {
        output.text(&told(&findings))?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For people: a line for each finding, and one for what to do.
fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:5}{:14}{}", finding.level.word(), finding.name, finding.what);
        if let Some(fix) = &finding.fix {
            let _ = writeln!(text, "{:19}-> {fix}", "");
        }
    }
    text
}
