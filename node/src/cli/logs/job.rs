//! What a job writes, while it runs and after: its standard output there, its standard error here.
//!
//! Always: each byte is shown once and in its order, also over lost connections and coordinators: how far
//! each stream was read is said anew each time.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::Value;

use super::{Ended, FIRST_PAUSE, LONGEST_PAUSE, PATIENCE, stream};
use crate::cli::error::CliError;
use crate::cli::output::{Output, harmless};
use crate::cli::waiting::{after_output, unless_interrupted};
use crate::cli::{jobs, original, passes};
use crate::client::Client;

/// How far it was read.
#[derive(Debug, Default)]
struct Place {
    attempt: u64,
    stdout: u64,
    stderr: u64,
    /// How the job ended, once that was said.
    ended: Option<String>,
}

/// What an event comes to.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Out(String),
    Err(String),
    Say(String),
}

impl Place {
    /// Takes an event; what is shown of it.
    fn take(&mut self, name: &str, value: &Value) -> Option<Shown> {
        match name {
            "attempt" => {
                let attempt = value["attempt"].as_u64()?;
                if attempt == self.attempt {
                    return None;
                }
                // The first one goes without saying.
                let again = self.attempt > 0 && (self.stdout, self.stderr) != (0, 0);
                *self = Self { attempt, ..Self::default() };
                let host = value["host"].as_str().unwrap_or("an unknown host");
                again.then(|| {
                    Shown::Say(format!(
                        "attempt {attempt} begins anew on {host}; what follows is of it alone"
                    ))
                })
            }
            "end" => {
                self.ended = Some(value["status"].as_str()?.to_owned());
                None
            }
            "note" => value["message"].as_str().map(|text| Shown::Say(text.to_owned())),
            "" | "message" => {
                let (offset, text) = (value["offset"].as_u64()?, value["text"].as_str()?);
                let end = offset.saturating_add(text.len() as u64);
                let is_error = value["stream"] == "stderr";
                let known = if is_error { &mut self.stderr } else { &mut self.stdout };
                let old = usize::try_from(known.saturating_sub(offset)).unwrap_or(usize::MAX);
                *known = end.max(*known);
                let new = text.get(text.ceil_char_boundary(old.min(text.len()))..)?.to_owned();
                if new.is_empty() {
                    return None;
                }
                Some(if is_error { Shown::Err(new) } else { Shown::Out(new) })
            }
            _ => None,
        }
    }

    fn path(&self, id: &str, follow: bool) -> String {
        let Self { attempt, stdout, stderr, .. } = self;
        let mut path = format!("{}/logs?", jobs::path(id));
        if follow {
            path.push_str("follow=1&");
        }
        path.push_str(&format!("attempt={attempt}&stdout={stdout}&stderr={stderr}"));
        path
    }
}

/// Shows it. Whoever follows hears how the job ended by the exit code, and after SIGINT that it goes on.
pub(in crate::cli) async fn follow(
    client: &Client,
    id: &str,
    follow: bool,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let shown = show(client, id, follow, json, output);
    if follow { unless_interrupted(id, &after_output(id), shown).await } else { shown.await }
}

async fn show(
    client: &Client,
    id: &str,
    follow: bool,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let mut place = Place::default();
    let mut pause = FIRST_PAUSE;
    let mut heard = Instant::now();
    loop {
        let path = place.path(id, follow);
        let ended = stream(client, &path, output, |name, value, output| {
            if json {
                place.take(name, value);
                let name = if name.is_empty() { "output" } else { name };
                return output.text(&format!("{}\n", serde_json::json!({ name: value })));
            }
            match place.take(name, value) {
                Some(Shown::Out(text)) => output.piece(&text),
                Some(Shown::Err(text)) => output.error_piece(&text),
                Some(Shown::Say(text)) => {
                    output.say(&harmless(&text));
                    Ok(())
                }
                None => Ok(()),
            }
        })
        .await;
        let why = match ended {
            Ok(_) if place.ended.is_some() => {
                let failed = place.ended.as_deref() == Some("failed");
                return Ok(if follow && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
            Ok(Ended { lost: None, .. }) if !follow => return Ok(ExitCode::SUCCESS),
            Ok(Ended { any: true, .. }) if follow => None,
            Ok(Ended { lost, .. }) => Some(lost.unwrap_or_else(|| "it ended at once".to_owned())),
            Err(CliError::Client(error)) if passes(&error) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        match why {
            None => (pause, heard) = (FIRST_PAUSE, Instant::now()),
            Some(why) if !follow || heard.elapsed() > PATIENCE => {
                return Err(CliError::NotFollowed { name: id.to_owned(), why });
            }
            Some(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a job has written by now to one of its streams.
#[derive(Debug, Default)]
pub(in crate::cli) struct SoFar {
    /// All of it, of the run that counts.
    pub(in crate::cli) text: String,
    /// Which run that is.
    pub(in crate::cli) attempt: u64,
    /// How the job ended, if it did.
    pub(in crate::cli) ended: Option<String>,
    /// What is said beside it, such as why its host cannot be asked.
    pub(in crate::cli) notes: Vec<String>,
}

/// Reads what there is, of standard error or of standard output; none where coordinators cannot tell, as
/// those of the original.
pub(in crate::cli) async fn so_far(
    client: &Client,
    id: &str,
    errors: bool,
) -> Result<Option<SoFar>, CliError> {
    let (mut place, mut found) = (Place::default(), SoFar::default());
    let path = place.path(id, false);
    // Nothing is shown.
    let mut nowhere = Output::into(io::sink(), io::sink());
    let ended = stream(client, &path, &mut nowhere, |name, value, _| {
        let taken = place.take(name, value);
        if place.attempt != found.attempt {
            found = SoFar { attempt: place.attempt, ..SoFar::default() };
        }
        match taken {
            Some(Shown::Out(text)) if !errors => found.text.push_str(&text),
            Some(Shown::Err(text)) if errors => found.text.push_str(&text),
            Some(Shown::Say(text)) if name == "note" => found.notes.push(text),
            _ => {}
        }
        Ok(())
    })
    .await;
    match ended {
        Ok(Ended { lost: None, .. }) => {}
        Ok(Ended { lost: Some(why), .. }) => {
            return Err(CliError::NotFollowed { name: id.to_owned(), why });
        }
        Err(CliError::Client(error)) if original::has_no_route(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    found.ended = place.ended;
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(stream: &str, offset: u64, text: &str) -> Value {
        json!({ "stream": stream, "offset": offset, "text": text })
    }

    #[test]
    fn what_comes_again_after_a_lost_connection_is_not_shown_again() {
        let mut place = Place::default();
        let out = |text: &str| Some(Shown::Out(text.to_owned()));
        assert_eq!(place.take("attempt", &json!({ "attempt": 1, "host": "h" })), None);
        assert_eq!(place.take("", &text("stdout", 0, "aé")), out("aé"));
        assert_eq!(place.take("", &text("stderr", 0, "x")), Some(Shown::Err("x".to_owned())));
        assert_eq!(
            place.path("job_1", true),
            "/v1/jobs/job_1/logs?follow=1&attempt=1&stdout=3&stderr=1"
        );
        assert_eq!(place.take("attempt", &json!({ "attempt": 1, "host": "h" })), None);
        assert_eq!(place.take("", &text("stdout", 0, "aéb")), out("b"));
        assert_eq!(place.take("", &text("stdout", 1, "é")), None);
        assert_eq!(place.take("", &text("stdout", 4, "c")), out("c"));
        let Some(Shown::Say(said)) = place.take("attempt", &json!({ "attempt": 2, "host": "i" }))
        else {
            panic!("another run is named")
        };
        assert!(said.contains("attempt 2") && said.contains('i'), "{said}");
        assert_eq!(place.take("", &text("stdout", 0, "a")), out("a"));
        assert_eq!(place.take("end", &json!({ "status": "failed" })), None);
        assert_eq!(place.ended.as_deref(), Some("failed"));
    }

    #[test]
    fn what_is_no_event_of_ours_is_passed_over() {
        let mut place = Place::default();
        for value in [json!(null), json!([]), text("stdout", 0, ""), json!({ "offset": -1 })] {
            assert_eq!(place.take("", &value), None);
            assert_eq!(place.take("attempt", &value), None);
            assert_eq!(place.take("end", &value), None);
        }
        assert_eq!((place.stdout, place.ended), (0, None));
    }
}
