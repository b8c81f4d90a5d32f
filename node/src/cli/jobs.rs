//! `submit`, `job`, `jobs` and `cancel`.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::save;
use super::args::{Job, Jobs, Submit};
use super::doubts::Doubts;
use super::error::CliError;
use super::legacy;
use super::logs;
use super::original;
use super::output::Output;
use super::passes;
use super::show;
use super::waiting::{Spinner, after_job, unless_interrupted};
use crate::client::{Client, ClientError, segment};

/// Jobs asked for at once: results may be large.
const PAGE: usize = 100;

/// First and longest pause between two looks at a job.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Coordinators may be gone for so long while a job is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn submit(
    client: &Client,
    args: Submit,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let answer = client.post("/v1/jobs", &request(&args)).await?;
    let id = job_of(&answer)?["id"].as_str().ok_or(CliError::Answer("id"))?.to_owned();
    if args.follow {
        output.say(&format!("submitted {id}; it goes on if this is ended"));
        return logs::job::follow(client, &id, true, json, output).await;
    }
    if args.wait {
        let waited = async {
            output.say(&format!("submitted {id}, waiting for it"));
            wait(client, &id, args.timeout, output).await
        };
        let answer = unless_interrupted(&id, &after_job(&id), waited).await?;
        return print(&answer, json, true, output);
    }
    if json {
        output.json(&answer)?;
    } else {
        output.text(&format!("{id}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The body of a submission; members not asked for are left out.
pub(super) fn request(args: &Submit) -> Value {
    let (command, rest) = args.command.split_first().map_or(("", &[][..]), |(c, r)| (c, r));
    let mut payload = json!({ "kind": "shell", "command": command, "args": rest });
    if let Some(cwd) = &args.cwd {
        payload["cwd"] = json!(cwd);
    }
    if !args.env.is_empty() {
        let env = args.env.iter().map(|(name, value)| (name.clone(), json!(value)));
        payload["env"] = Value::Object(env.collect());
    }
    if let Some(ms) = args.timeout_ms {
        payload["timeoutMs"] = json!(ms);
    }
    if let Some(network) = args.isolation.network() {
        payload["network"] = network;
    }
    let mut required = vec!["shell"];
    required.extend(args.requires.iter().map(String::as_str).filter(|cap| *cap != "shell"));
    let mut body = legacy::job(&payload, &required);
    if let Some(level) = args.isolation.sandbox() {
        body["requirement"]["sandbox"] = level;
    }
    if args.max_attempts > 0 {
        body["maxAttempts"] = json!(args.max_attempts);
    }
    if let Some(times) = args.retry {
        body["retry"] = json!(times);
    }
    if let Some(copies) = args.copies {
        body["verify"] = json!({ "copies": copies, "agree": args.agree.unwrap_or(copies) });
    }
    if let Some(ms) = args.queue_timeout_ms {
        body["queueTimeoutMs"] = json!(ms);
    }
    body
}

pub(super) async fn job(
    client: &Client,
    args: Job,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    args.save.as_deref().map(save::Folder::made).transpose()?;
    let mut answer = if args.wait {
        let waited = wait(client, &args.id, args.timeout, output);
        unless_interrupted(&args.id, &after_job(&args.id), waited).await?
    } else {
        look(client, &args.id).await?
    };
    let folder = match &args.save {
        Some(dir) => Some(save::Folder::of_job(dir, job_of(&answer)?)?),
        None => None,
    };
    let saved = save::files(folder.as_ref(), client, &mut answer, output).await;
    let code = print(&answer, json, args.wait, output)?;
    Ok(save::ended(saved, &args.id, code, output))
}

pub(super) async fn cancel(
    client: &Client,
    id: &str,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let answer = client.post(&format!("{}/cancel", path(id)), &json!({})).await?;
    let waits = answer["cancelling"] == true;
    if json {
        output.json(&answer)?;
    } else {
        // To the API a cancelled job is a failed one.
        let how = if waits { "cancelling" } else { "cancelled" };
        output.text(&format!("{id} {how}\n"))?;
    }
    if waits {
        output.say("the coordinator that leads this job, or too many others, do not answer now;");
        output.hint("the one that was asked tries on for ten minutes, unless it is restarted:");
        output.hint(&format!("look with `skyclaw job {id}`, or cancel again"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn jobs(
    client: &Client,
    args: &Jobs,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let most = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let newest = newest(client, args.status.as_deref(), most).await?;
    if json {
        output.json(&json!({ "jobs": newest }))?;
    } else {
        output.text(&show::jobs_table(newest.iter(), jiff::Timestamp::now()))?;
        if newest.is_empty() {
            output.say("no jobs");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest `most` jobs of that status. They come newest first over the wire, by pages, and stand
/// last on the screen.
pub(super) async fn newest(
    client: &Client,
    status: Option<&str>,
    most: usize,
) -> Result<VecDeque<Value>, CliError> {
    let mut newest: VecDeque<Value> = VecDeque::new();
    let mut cursor: Option<String> = None;
    while newest.len() < most {
        let room = (most - newest.len()).min(PAGE);
        let mut path = format!("/v1/jobs?order=newest&limit={room}");
        if let Some(status) = status {
            path.push_str(&format!("&status={}", segment(status)));
        }
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", segment(cursor)));
        }
        let mut answer = match client.get(&path).await {
            Err(error) if original::has_no_route(&error) => {
                return Ok(original::jobs(client, status, most).await?);
            }
            answer => answer?,
        };
        let Value::Array(page) = answer["jobs"].take() else {
            return Err(CliError::Answer("jobs"));
        };
        for job in page {
            newest.push_front(job);
        }
        let next = answer["next"].as_str().map(str::to_owned);
        // A cursor that stays where it was would have no end.
        if next.is_none() || next == cursor {
            break;
        }
        cursor = next;
    }
    Ok(newest)
}

pub(super) fn path(id: &str) -> String {
    format!("/v1/jobs/{}", segment(id))
}

/// The job as it is now.
pub(super) async fn look(client: &Client, id: &str) -> Result<Value, ClientError> {
    match client.get(&path(id)).await {
        Err(error) if original::has_no_route(&error) => original::job(client, id).await,
        answer => answer,
    }
}

pub(super) fn job_of(answer: &Value) -> Result<&Value, CliError> {
    answer.get("job").filter(|job| job.is_object()).ok_or(CliError::Answer("job"))
}

fn status_of(answer: &Value) -> Result<&str, CliError> {
    job_of(answer)?["status"].as_str().ok_or(CliError::Answer("status"))
}

/// Prints a job; its fate decides the exit code only for those who waited for it.
pub(super) fn print(
    answer: &Value,
    json: bool,
    waited: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let failed = status_of(answer)? == "failed";
    let printed = if json {
        output.json(answer)
    } else {
        show::job(job_of(answer)?, jiff::Timestamp::now(), output)
    };
    match printed {
        // The exit code tells of the job, also if nobody reads the rest.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(if waited && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Looks at the job until it has ended. Coordinators that are gone for a while are waited for.
pub(super) async fn wait(
    client: &Client,
    id: &str,
    timeout: Option<Duration>,
    output: &mut Output,
) -> Result<Value, CliError> {
    let began = Instant::now();
    let left_of = || timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
    let mut pause = FIRST_PAUSE;
    let mut gone_since: Option<Instant> = None;
    let mut status = "unknown".to_owned();
    let mut doubts = Doubts::begun(began);
    let mut spinner = Spinner::new();
    loop {
        let looked = Instant::now();
        match within(left_of(), look(client, id)).await {
            // The time is over, and so is the wait, below.
            None => {}
            Some(Ok(answer)) => {
                gone_since = None;
                status = status_of(&answer)?.to_owned();
                if status == "completed" || status == "failed" {
                    return Ok(answer);
                }
                within(left_of(), doubts.look(client, id, &mut spinner, output)).await;
                spinner.set(&format!("{id} is {status}"));
            }
            Some(Err(error)) => {
                let now = Instant::now();
                // What is answered now was asked before.
                let first = gone_since.is_none();
                let since = *gone_since.get_or_insert(looked);
                if !passes(&error) {
                    return Err(error.into());
                }
                if now - since > PATIENCE {
                    return Err(CliError::OutOfSight { id: id.to_owned(), cause: error });
                }
                if first {
                    spinner.say(&format!("{error}; trying again"), output);
                }
            }
        }
        let left = left_of();
        if left.is_some_and(|left| left.is_zero()) {
            let seconds = timeout.unwrap_or_default().as_secs_f64();
            return Err(CliError::StillRunning { id: id.to_owned(), status, seconds });
        }
        tokio::time::sleep(left.map_or(pause, |left| pause.min(left))).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// The outcome, if it comes in the time that is left.
async fn within<T>(left: Option<Duration>, look: impl Future<Output = T>) -> Option<T> {
    /// The shortest wait sees the job once, too.
    const ONE_LOOK: Duration = Duration::from_secs(1);
    match left {
        Some(left) => tokio::time::timeout(left.max(ONE_LOOK), look).await.ok(),
        None => Some(look.await),
    }
}
