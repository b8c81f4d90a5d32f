//! Tools for jobs.

use serde_json::{Value, json};

use crate::cli::agent::{self, inputs, message};
use crate::cli::args;
use crate::cli::error::CliError;
use crate::cli::logs::job::SoFar;
use crate::cli::mcp::answer::{self, Done};
use crate::cli::mcp::heard::Heard;
use crate::cli::mcp::params::{
    Input, JobId, JobOutput, JobStatus, ListJobs, Status, Stream, SubmitAgent, SubmitJob,
    ToolPolicy, Why,
};
use crate::cli::mcp::server::{Shared, wait};
use crate::cli::output::Output;
use crate::cli::{jobs, logs, why};

/// Jobs listed if nothing else is asked for.
const JOBS: usize = 20;

/// Longest part of an output, in bytes: it is answered beside a document, within what an answer may
/// have.
const PART: usize = 48 << 10;

pub(in crate::cli::mcp) async fn submit(
    shared: &Shared,
    asked: SubmitJob,
    mut output: Output,
) -> Done {
    if asked.argv.first().is_none_or(String::is_empty) {
        return Err(CliError::Usage("argv must begin with a command".to_owned()));
    }
    let body = jobs::request(&args::Submit {
        copies: None,
        agree: None,
        wait: false,
        follow: false,
        timeout: None,
        timeout_ms: asked.timeout_seconds.map(|seconds| seconds.saturating_mul(1000)),
        queue_timeout_ms: None,
        max_attempts: args::MAX_ATTEMPTS,
        retry: None,
        env: asked.env.into_iter().collect(),
        cwd: None,
        requires: asked.requires,
        isolation: args::Isolation { sandbox: asked.sandbox, network: asked.network },
        command: asked.argv,
    });
    post(shared, &body, asked.wait_seconds, &mut output).await
}

pub(in crate::cli::mcp) async fn agent(
    shared: &Shared,
    asked: SubmitAgent,
    mut output: Output,
) -> Done {
    let of_gateways = [&asked.agent_id, &asked.session_key, &asked.session_id];
    if !asked.gateway && of_gateways.iter().any(|member| member.is_some()) {
        return Err(CliError::Usage(
            "agent_id, session_key and session_id are of a Gateway: set gateway too".to_owned(),
        ));
    }
    let message = message::judged(asked.message)?;
    // Judged one and all before the first is sent.
    let input = |input: &Input| {
        inputs::Input::new(shared.allowed.path(&input.path)?, input.name.as_deref())
    };
    let judged = asked.inputs.iter().map(input).collect::<Result<Vec<_>, _>>()?;
    let judged = inputs::in_order(judged)?;
    let sent = inputs::send(&shared.client, &judged, &mut output).await?;
    let args = args::Agent {
        model: asked.model,
        fallback: asked.fallbacks,
        thinking: asked.thinking,
        run_timeout: asked.timeout_seconds,
        tool_policy: asked.tool_policy.map(ToolPolicy::word).map(str::to_owned),
        output: asked.outputs,
        requires: asked.requires,
        idempotent: asked.idempotent,
        gateway: asked.gateway,
        agent_id: asked.agent_id,
        session_key: asked.session_key,
        session_id: asked.session_id,
        ..args::Agent::default()
    };
    let body = agent::request(&args, &message, sent);
    post(shared, &body, asked.wait_seconds, &mut output).await
}

/// Submits, and waits if that is wished for.
async fn post(shared: &Shared, body: &Value, seconds: u32, output: &mut Output) -> Done {
    let answer = shared.client.post("/v1/jobs", body).await?;
    let job = jobs::job_of(&answer)?;
    if seconds == 0 {
        return Ok(vec![answer::document(answer::job(job))]);
    }
    let id = job["id"].as_str().ok_or(CliError::Answer("id"))?;
    waited(shared, id, seconds, output).await
}

/// The job once it has ended, or as it is when the wait is over.
async fn waited(shared: &Shared, id: &str, seconds: u32, output: &mut Output) -> Done {
    let client = &shared.client;
    let (answer, note) = match jobs::wait(client, id, Some(wait(seconds)), output).await {
        Ok(answer) => (answer, ""),
        Err(CliError::StillRunning { .. }) => (
            jobs::look(client, id).await?,
            "it has not ended yet: ask again with job_status, or ask why",
        ),
        Err(error) => return Err(error),
    };
    let shown = answer::document(answer::job(jobs::job_of(&answer)?));
    Ok(vec![shown, note.to_owned()])
}

pub(in crate::cli::mcp) async fn status(
    shared: &Shared,
    asked: JobStatus,
    mut output: Output,
) -> Done {
    if asked.wait_seconds > 0 {
        return waited(shared, &asked.id, asked.wait_seconds, &mut output).await;
    }
    let answer = jobs::look(&shared.client, &asked.id).await?;
    Ok(vec![answer::document(answer::job(jobs::job_of(&answer)?))])
}

pub(in crate::cli::mcp) async fn output(shared: &Shared, asked: JobOutput) -> Done {
    let answer = jobs::look(&shared.client, &asked.id).await?;
    let job = jobs::job_of(&answer)?;
    let (id, status) = (&job["id"], job["status"].as_str().unwrap_or_default());
    let stream = asked.stream.word();
    // What a job that is run again left before is not what it writes now.
    let live = if status == "leased" {
        let errors = matches!(asked.stream, Stream::Stderr);
        logs::job::so_far(&shared.client, &asked.id, errors).await?
    } else {
        None
    };
    let text = live.as_ref().map(|live| live.text.as_str());
    let Some(text) = text.or_else(|| job["result"][stream].as_str()) else {
        let note = match status {
            "queued" => "nothing is known of it: no host has begun it",
            "leased" => "nothing is known of it: it is told when the job has ended",
            _ => "nothing is known of it: no host reported any",
        };
        return Ok(vec![json!({ "id": id, "status": status, "note": note }).to_string()]);
    };
    // It may have ended just now.
    let ended = live.as_ref().and_then(|live| live.ended.as_deref());
    let (part, next) = part(text, asked.offset);
    let mut about = json!({ "id": id, "status": ended.unwrap_or(status), "stream": stream,
        "bytes": text.len(), "offset": asked.offset });
    if let Some(next) = next {
        about["next_offset"] = json!(next);
    }
    if let Some(live) = live.as_ref().filter(|live| live.ended.is_none()) {
        goes_on(&mut about, live, asked.offset);
    }
    Ok(vec![about.to_string(), part.to_owned()])
}

/// Says that a job writes on, and from where on that is to be read.
fn goes_on(about: &mut Value, live: &SoFar, offset: usize) {
    let all = live.text.len();
    about["attempt"] = json!(live.attempt);
    let mut notes = live.notes.clone();
    if offset > all {
        about["next_offset"] = json!(0);
        notes.push("it is run anew: read from 0".to_owned());
    } else if about["next_offset"].is_null() {
        about["next_offset"] = json!(all);
        notes.push("it runs, and this is all so far: ask again later with next_offset".to_owned());
    }
    if !notes.is_empty() {
        about["note"] = json!(notes.join("; "));
    }
}

/// A part of a text, and where the next one begins if there is more.
fn part(text: &str, offset: usize) -> (&str, Option<usize>) {
    let begin = text.floor_char_boundary(offset.min(text.len()));
    let end = text.floor_char_boundary(begin.saturating_add(PART).min(text.len()));
    (&text[begin..end], (end < text.len()).then_some(end))
}

pub(in crate::cli::mcp) async fn list(shared: &Shared, asked: ListJobs) -> Done {
    let most = asked.limit.unwrap_or(JOBS).clamp(1, answer::RECORDS);
    let status = asked.status.map(Status::word);
    let newest = jobs::newest(&shared.client, status, most).await?;
    Ok(vec![answer::list("jobs", newest.iter().map(answer::job_in_list).collect())])
}

pub(in crate::cli::mcp) async fn cancel(shared: &Shared, asked: JobId, heard: Heard) -> Done {
    jobs::cancel(&shared.client, &asked.id, false, &mut heard.output()).await?;
    Ok(vec![heard.text(), heard.words()])
}

pub(in crate::cli::mcp) async fn why(shared: &Shared, asked: Why) -> Done {
    let why = why::about(&shared.client, asked.kind.map(Into::into), &asked.id).await?;
    Ok(vec![answer::document(why.document())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_output_join_to_the_whole() {
        let text = "é".repeat(PART);
        let (mut at, mut whole) = (Some(0), String::new());
        while let Some(offset) = at {
            let (piece, next) = part(&text, offset);
            assert!(piece.len() <= PART && !piece.is_empty());
            whole.push_str(piece);
            at = next;
        }
        assert_eq!(whole, text);
        assert_eq!(part("ab", 9), ("", None));
        assert_eq!(part("é", 1), ("é", None), "no character is split");
    }
}
