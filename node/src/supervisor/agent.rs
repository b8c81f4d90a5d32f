//! A run of OpenClaw: what is laid into the job's directories for it, and what becomes of its answer.
//!
//! Always: the configuration lies beside the folders of the job, written for this run alone, and goes
//! with them. The run gets the environment of a job and what keeps OpenClaw quiet, nothing of the
//! daemon's. A turn is given its own time and that of its start; then its whole tree is ended.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skyclaw_protocol::limits::{AGENT_GRACE_MS, AGENT_SLACK_MS};

use super::answer::Answer;
use super::live::Live;
use super::output;
use super::plan::Plan;
use super::ring::Stream;
use super::run::{Fate, Task};
use super::workdir::JobDir;
use super::{HostFault, Outcome};
use crate::openclaw::{
    About, AgentJob, End, Found, Left, Mode, Places, QUIET, Report, Run, ToolPolicy,
    gateway_variables, laid_out, of_agent, of_run,
};

/// How long a turn's start may take beside its own time: 13 to 38 s were seen on busy machines.
pub(super) const START: Duration = Duration::from_millis(AGENT_SLACK_MS);

/// Time between TERM and KILL: OpenClaw ends its tree by itself within 4 s of a TERM, which a KILL of
/// its launcher would leave running.
pub(super) const GRACE: Duration = Duration::from_millis(AGENT_GRACE_MS);

/// Names the folder in which Node keeps what it compiled: with one for all runs of this daemon a turn
/// starts 5 s earlier, and 34 MB are not written for each.
pub(super) const COMPILE_CACHE: &str = "NODE_COMPILE_CACHE";

/// A run that is laid out: what is started, and how its answer is read.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) stdin: Option<String>,
    about: About,
    reading: Reading,
}

/// How the output is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The agent's last words stand for it.
    Words,
    /// As it is, and read: what the original's clients expect.
    Document,
    /// As it is.
    Text,
}

/// What a payload asks of OpenClaw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A turn, in our own words.
    Agent(Box<AgentJob>),
    /// A command line, as the original's jobs have it.
    Run,
}

/// Why a run is not laid out.
#[derive(Debug)]
pub(super) enum NotLaid {
    /// The job's fault, or this host cannot do it: it ends as failed.
    Job(String),
    /// This host's: its disk, or something it lost since it said it could.
    Host(String),
}

impl From<io::Error> for NotLaid {
    fn from(error: io::Error) -> Self {
        Self::Host(format!("cannot lay out an agent's run: {error}"))
    }
}

/// True if this takes the room of an agent, on a host where that is what was found.
pub(super) fn takes_room(asked: &Asked, args: &[String], found: &Found) -> bool {
    match asked {
        Asked::Agent(job) => job.mode == Mode::Exec,
        Asked::Run => found.is_openclaw() && matches!(of_run(args), Ok(Run::Turn { .. })),
    }
}

/// Lays out a run. None if the program is started as the job says it: it is no OpenClaw, or is only
/// asked for its version.
pub(super) fn lay(
    asked: &Asked,
    (id, plan, daemon, cache): (&str, &Plan, &[(String, String)], &str),
    found: &Found,
    most: ToolPolicy,
    dir: &JobDir,
) -> Result<Option<Laid>, NotLaid> {
    let quiet = || {
        let quiet = QUIET.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let cache = (COMPILE_CACHE.to_owned(), cache.to_owned());
        quiet.into_iter().chain([cache]).collect::<Vec<_>>()
    };
    let version = found.version().map(ToString::to_string);
    match asked {
        Asked::Run if !found.is_openclaw() => Ok(None),
        Asked::Run => match of_run(&plan.args).map_err(NotLaid::Job)? {
            Run::Version => Ok(None),
            Run::Turn { args, json, models } => {
                // Both would reach OpenClaw beside what the host says: it reads files where it is
                // started, and is led elsewhere by variables.
                let theirs = [("openclawDir", plan.cwd.is_some()), ("env", !plan.env.is_empty())];
                if let Some((name, _)) = theirs.iter().find(|(_, given)| *given) {
                    let text = format!("payload.{name} is the host's own for a turn: leave it out");
                    return Err(NotLaid::Job(text));
                }
                known(&models, found)?;
                let (config, state, tools) = folder(ToolPolicy::Full, found, most, dir)?;
                let places = Places {
                    config: &config,
                    state: state.as_deref(),
                    work: &dir.work,
                    message: "",
                };
                let command = ["agent", "exec"].map(str::to_owned);
                Ok(Some(Laid {
                    args: command.into_iter().chain(laid_out(places)).chain(args).collect(),
                    env: quiet(),
                    stdin: None,
                    about: About { version, tools },
                    reading: if json { Reading::Document } else { Reading::Text },
                }))
            }
        },
        Asked::Agent(job) => {
            if job.mode == Mode::Exec {
                known(job.model.iter().chain(&job.fallbacks), found)?;
            }
            let message = write(dir, "message", job.message.as_bytes())?;
            let (mut env, mut config, mut state, mut tools) = (quiet(), String::new(), None, most);
            match job.mode {
                Mode::Exec => (config, state, tools) = folder(job.tools, found, most, dir)?,
                Mode::Gateway { .. } => {
                    if !found.asks_gateway() {
                        let text = "this host has no Gateway of OpenClaw that jobs may use";
                        return Err(lost(found, text.to_owned()));
                    }
                    if job.tools != ToolPolicy::Full {
                        let asked = job.tools.as_str();
                        return Err(NotLaid::Job(format!(
                            "a Gateway acts by its own rules: toolPolicy {asked} cannot be kept there"
                        )));
                    }
                    env.extend(gateway_variables(daemon));
                }
            }
            let places = Places {
                config: &config,
                state: state.as_deref(),
                work: &dir.work,
                message: &message,
            };
            let args = of_agent(job, id, places);
            let stdin = (job.mode == Mode::Exec).then_some(message);
            let about = About { version, tools };
            Ok(Some(Laid { args, env, stdin, about, reading: Reading::Words }))
        }
    }
}

/// Only models that the owner's configuration shares are used: others may cost what nobody agreed to.
fn known<'a>(models: impl IntoIterator<Item = &'a String>, found: &Found) -> Result<(), NotLaid> {
    match models.into_iter().find(|model| !found.models.contains(model)) {
        Some(model) => Err(NotLaid::Job(format!("this host shares no model {model}"))),
        None => Ok(()),
    }
}

/// Where OpenClaw can be used at all, what is missing was lost meanwhile, and the job may run elsewhere.
fn lost(found: &Found, why: String) -> NotLaid {
    if found.version().is_some() { NotLaid::Host(why) } else { NotLaid::Job(why) }
}

/// Writes configuration and state of a turn: where they lie, and what its tools may do.
fn folder(
    asked: ToolPolicy,
    found: &Found,
    most: ToolPolicy,
    dir: &JobDir,
) -> Result<(String, Option<String>, ToolPolicy), NotLaid> {
    let tools = asked.min(most);
    let cannot = |why: String| lost(found, format!("this host runs no agents: {why}"));
    let shared = found.exec().map_err(cannot)?;
    let config = write(dir, "openclaw.json", shared.of_job(tools).as_bytes())?;
    let state = match tools {
        ToolPolicy::Allowlist => {
            let known = found.approvals().ok_or_else(|| {
                cannot("its list of commands could not be made known to OpenClaw".to_owned())
            })?;
            let state = dir.path.join("state");
            fs::DirBuilder::new().mode(0o700).recursive(true).create(state.join("state"))?;
            new(&state.join("state/openclaw.sqlite"), known)?;
            Some(state.to_string_lossy().into_owned())
        }
        ToolPolicy::None | ToolPolicy::Full => None,
    };
    Ok((config, state, tools))
}

fn write(dir: &JobDir, name: &str, bytes: &[u8]) -> io::Result<String> {
    let path = dir.path.join(name);
    new(&path, bytes)?;
    // The folders of the job are text, and this lies beside them.
    Ok(path.to_string_lossy().into_owned())
}

fn new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

impl Task<'_> {
    /// Runs what was laid out.
    pub(super) async fn ask(
        mut self,
        laid: &Laid,
        (live, max_output): (&Live, usize),
    ) -> Result<Outcome, HostFault> {
        let whole = Arc::default();
        let mut stdout = Answer::new(Arc::clone(&whole));
        self.answered = Some(whole);
        let mut stderr = live.pen(Stream::Stderr);
        let over = self.over(&mut stdout, &mut stderr).await?;
        let end = match &over.fate {
            Fate::Exited(code) => End::Exited(*code),
            Fate::Lingered => End::Lingered,
            Fate::TimedOut => End::TimedOut,
            Fate::Stopped(_) | Fate::Over(_) | Fate::Lost | Fate::NotStarted(_) => End::Cancelled,
        };
        let sha256 = stdout.sha256();
        let left = Left { end, stdout: &stdout.kept, truncated: stdout.truncated, sha256: &sha256 };
        let report = Report::read(left, &laid.about);
        let ms = self.timeout.unwrap_or_default().as_millis();
        let ran = matches!(over.fate, Fate::Exited(_) | Fate::Lingered);
        let error = match over.fate {
            Fate::TimedOut => Some(format!("timed out after {ms}ms")),
            Fate::Stopped(reason) => Some(reason.as_str().to_owned()),
            Fate::Lost => Some(super::run::LOST.to_owned()),
            Fate::Over(text) | Fate::NotStarted(text) => Some(text),
            Fate::Exited(_) | Fate::Lingered => report.error,
        };
        let code = match end {
            End::Exited(code) => code.unwrap_or(1),
            End::Lingered => 0,
            End::TimedOut | End::Cancelled => 1,
        };
        let raw = || String::from_utf8_lossy(&stdout.kept).into_owned();
        let (success, error, words) = match laid.reading {
            Reading::Words => (report.success, error, report.answer),
            Reading::Document => (report.success, error, raw()),
            Reading::Text => (code == 0, error.filter(|_| !ran), raw()),
        };
        let told = matches!(laid.reading, Reading::Words | Reading::Document);
        // As it was kept: an agent's words are cut by `output::cut`, its document by `Answer`.
        let cut = live.of(Stream::Stderr).is_cut();
        let truncated = stdout.truncated || cut || words.len() > max_output;
        Ok(Outcome {
            success,
            exit_code: code,
            duration: over.duration,
            stdout: output::cut(words, max_output),
            stderr: live.text(Stream::Stderr),
            error: error.map(Outcome::short),
            outputs: Vec::new(),
            agent: told.then(|| report.note.to_string()),
            truncated,
        })
    }
}
