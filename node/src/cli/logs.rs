//! `logs`: what a job, or the instances of a service, write and go on writing.

mod events;
pub(super) mod job;
mod line;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::args::Logs;
use super::error::CliError;
use super::output::{Output, harmless};
use super::{jobs, passes, services};
use crate::client::{Client, ClientError};
pub(super) use events::Events;
use line::{Line, Seen};

/// Longest silence: a coordinator says at least that it is there. Without it a lost connection
/// would go unnoticed.
const SILENCE: Duration = Duration::from_secs(60);

/// Lines of each instance asked for after a lost connection.
const AGAIN: u32 = 1000;

/// First and longest pause before a new connection.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Coordinators may be gone for so long while output is followed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn logs(
    client: &Client,
    args: &Logs,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let id = match services::find(client, &args.name).await {
        Ok(service) => services::id_of(&service)?,
        // A key may see jobs and no services.
        Err(error) if matches!(&error, CliError::NoService(_)) || error.is_forbidden() => {
            return match jobs::look(client, &args.name).await {
                Ok(_) => job::follow(client, &args.name, args.follow, json, output).await,
                Err(ClientError::Status { status: 404, .. }) => {
                    Err(CliError::Nothing { kinds: "service or job", name: args.name.clone() })
                }
                Err(ClientError::Status { status: 403, .. }) => Err(error),
                Err(error) => Err(error.into()),
            };
        }
        Err(error) => return Err(error),
    };
    let mut tail = args.tail;
    let mut seen = Seen::new(jiff::Timestamp::now().as_millisecond());
    let mut pause = FIRST_PAUSE;
    let mut heard = Instant::now();
    loop {
        let ended = stream(client, &path(&id, args, tail), output, |name, value, output| {
            if !matches!(name, "" | "message" | "line") {
                // E.g. that a host cannot be asked.
                if let Some(text) = value.get("message").and_then(Value::as_str) {
                    output.say(text);
                }
                return Ok(());
            }
            let Some(line) = Line::of(value) else { return Ok(()) };
            let other = args.instance.is_some_and(|only| line.replica != Some(u64::from(only)));
            if other || !seen.is_new(&line) {
                return Ok(());
            }
            let text =
                if json { format!("{value}\n") } else { shown(&line, args.instance.is_none()) };
            output.foreign(&text)
        })
        .await;
        let why = match ended {
            Ok(Ended { lost: None, .. }) if !args.follow => return Ok(ExitCode::SUCCESS),
            Ok(Ended { any: true, .. }) if args.follow => None,
            Ok(Ended { lost, .. }) => Some(lost.unwrap_or_else(|| "it ended at once".to_owned())),
            Err(CliError::Client(error)) if passes(&error) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        match why {
            None => (pause, heard) = (FIRST_PAUSE, Instant::now()),
            Some(why) if !args.follow || heard.elapsed() > PATIENCE => {
                return Err(CliError::NotFollowed { name: id, why });
            }
            Some(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        tail = AGAIN;
        seen.connected_anew();
    }
}

fn path(id: &str, args: &Logs, tail: u32) -> String {
    let mut path = format!("{}/logs?tail={tail}", services::path(id));
    if args.follow {
        path.push_str("&follow=1");
    }
    if let Some(instance) = args.instance {
        path.push_str(&format!("&replica={instance}"));
    }
    path
}

/// A connection that lasted so long was one.
const LASTED: Duration = Duration::from_secs(5);

/// How a connection ended.
struct Ended {
    /// Whether it was of use: something came, or it lasted.
    any: bool,
    /// Why it ended before the coordinator said so.
    lost: Option<String>,
}

/// Has the events of one connection shown, until it ends.
async fn stream(
    client: &Client,
    path: &str,
    output: &mut Output,
    mut show: impl FnMut(&str, &Value, &mut Output) -> io::Result<()>,
) -> Result<Ended, CliError> {
    let mut pieces = client.open(path).await?;
    let mut events = Events::default();
    let (mut any, begun) = (false, Instant::now());
    loop {
        let lost = match tokio::time::timeout(SILENCE, pieces.next()).await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Ok(None)) => Err(None),
            Ok(Err(error)) => Err(Some(error.to_string())),
            Err(_) => Err(Some("the coordinator fell silent".to_owned())),
        };
        let bytes = match lost {
            Ok(bytes) => bytes,
            Err(lost) => return Ok(Ended { any: any || begun.elapsed() > LASTED, lost }),
        };
        let complete = events.push(&bytes).map_err(|_| CliError::Answer("line of output"))?;
        any |= !complete.is_empty();
        for event in complete {
            if let Ok(value) = serde_json::from_str(&event.data) {
                show(&event.name, &value, output)?;
            }
        }
    }
}

fn shown(line: &Line, with_source: bool) -> String {
    let text = line.text.trim_end_matches('\n');
    match line.replica.filter(|_| with_source) {
        Some(replica) => format!("[{replica} {}] {text}\n", harmless(&line.host)),
        None => format!("{text}\n"),
    }
}
