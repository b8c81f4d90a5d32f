//! `why`: the reason a job, a service, a host or the way to a service stands as it does, and what would
//! change that.

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::Value;
use skyclaw_http_compat::why::{Undecided, Why, explain, print};

use super::error::CliError;
use super::output::Output;
use super::{args, jobs, original, services, show};
use crate::client::{Client, ClientError, segment};

/// What is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Job,
    Service,
    Host,
    Route,
}

impl Kind {
    const ALL: [(&'static str, Self); 4] = [
        ("job", Self::Job),
        ("service", Self::Service),
        ("host", Self::Host),
        ("route", Self::Route),
    ];

    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }
}

/// An explanation.
#[derive(Debug)]
pub(super) enum About {
    /// Of a job, made here: coordinators of the original tell enough for that.
    Job(Why),
    /// Of anything else, as a coordinator says it.
    Told(Value),
}

impl About {
    pub(super) fn document(&self) -> Value {
        match self {
            Self::Job(why) => why.document(),
            Self::Told(told) => told.clone(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Job(why) => why.text(),
            Self::Told(told) => print(told),
        }
    }
}

pub(super) async fn why(
    client: &Client,
    args: &args::Why,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let (kind, name) = match args.what.as_slice() {
        [kind, name] => {
            let wrong = || CliError::Usage(format!("{kind} is none of job, service, host, route"));
            (Some(Kind::of(kind).ok_or_else(wrong)?), name)
        }
        [name] => (None, name),
        _ => return Err(CliError::Usage("name a job, a service or a host".to_owned())),
    };
    let about = about(client, kind, name).await?;
    if json {
        output.json(&about.document())?;
    } else {
        output.text(&about.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Explains what has that id or name. Without a kind the first that there is: a job, a service, a host.
pub(super) async fn about(
    client: &Client,
    kind: Option<Kind>,
    name: &str,
) -> Result<About, CliError> {
    match kind {
        Some(Kind::Job) => job(client, name).await.map(About::Job),
        Some(Kind::Service) => service(client, name).await,
        Some(Kind::Route) => {
            let path = format!("{}/routes/why", service_path(client, name).await?);
            told(client, &path).await
        }
        Some(Kind::Host) => match host(client, name).await? {
            Some(path) => told(client, &path).await,
            None => Err(CliError::NoHost(name.to_owned())),
        },
        None => match job(client, name).await {
            // A key may see services and no jobs.
            Err(none) if is_missing(&none) || none.is_forbidden() => {
                match no_job(client, name).await {
                    // A key that may look at jobs alone is told of jobs.
                    Err(error) if error.is_forbidden() => Err(none),
                    answer => answer,
                }
            }
            answer => answer.map(About::Job),
        },
    }
}

async fn no_job(client: &Client, name: &str) -> Result<About, CliError> {
    match service(client, name).await {
        Err(none) if matches!(none, CliError::NoService(_)) || none.is_forbidden() => {
            match host(client, name).await? {
                Some(path) => told(client, &path).await,
                None if none.is_forbidden() => Err(none),
                None => {
                    Err(CliError::Nothing { kinds: "job, service or host", name: name.to_owned() })
                }
            }
        }
        answer => answer,
    }
}

/// Whether there is no such job, or none could have that id.
fn is_missing(error: &CliError) -> bool {
    let CliError::Client(ClientError::Status { status, body }) = error else { return false };
    match status {
        404 => body.contains("job not found"),
        400 => body.contains("id in the path"),
        _ => false,
    }
}

/// Asks for the job and the hosts, and explains.
async fn job(client: &Client, id: &str) -> Result<Why, CliError> {
    let answer = jobs::look(client, id).await?;
    let job = jobs::job_of(&answer)?;
    let hosts = match original::hosts(client).await {
        Err(ClientError::Status { status: 403, .. }) => {
            return reason(client, id, job).await;
        }
        hosts => hosts?,
    };
    let hosts = hosts["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let why = explain(job, hosts, Timestamp::now());
    // What the job itself says is worth telling also if this is not answered.
    let told = client.get(&format!("{}/why", jobs::path(id))).await;
    let told = told.map(|mut answer| answer["why"].take()).unwrap_or_default();
    let undecided = Undecided::read(&told["undecided"]);
    match (told["status"].as_str(), told["because"].as_str()) {
        // Of one that runs it knows more: when its lease really ends, and whether it hears of that host.
        (Some("leased"), Some(because)) if why.status == "leased" => {
            let then = told["then"].as_str().map(str::to_owned);
            Ok(Why { because: because.to_owned(), then, undecided, ..why })
        }
        _ => Ok(why.without(undecided)),
    }
}

/// What a coordinator says of a job to a key that sees no hosts.
async fn reason(client: &Client, id: &str, job: &Value) -> Result<Why, CliError> {
    let answer = client.get(&format!("{}/why", jobs::path(id))).await?;
    let because = answer["why"]["because"].as_str().ok_or(CliError::Answer("why"))?;
    let why = explain(job, &[], Timestamp::now());
    Ok(Why { because: because.to_owned(), then: None, hosts: Vec::new(), ..why })
}

/// The voters of a job that are away, if nothing can be decided about it without them. Coordinators that
/// do not know say nothing.
pub(super) async fn undecided(client: &Client, id: &str) -> Result<Option<Undecided>, ClientError> {
    match client.get(&format!("{}/why", jobs::path(id))).await {
        Ok(answer) => Ok(Undecided::read(&answer["why"]["undecided"])),
        Err(error) if original::has_no_route(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn service(client: &Client, name: &str) -> Result<About, CliError> {
    let path = format!("{}/why", service_path(client, name).await?);
    told(client, &path).await
}

async fn service_path(client: &Client, name: &str) -> Result<String, CliError> {
    let found = match services::find(client, name).await {
        // What can be no id is no name either.
        Err(CliError::Client(ClientError::Status { status: 400, body }))
            if body.contains("id in the path") =>
        {
            return Err(CliError::NoService(name.to_owned()));
        }
        found => found?,
    };
    Ok(services::path(&services::id_of(&found)?))
}

/// Where a host of that id, or of that name alone, is explained.
async fn host(client: &Client, name: &str) -> Result<Option<String>, CliError> {
    let answer = original::hosts(client).await?;
    let all = answer["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let by_id = all.iter().find(|host| host["id"] == *name);
    let found = match by_id {
        Some(found) => found,
        None => {
            let named: Vec<&Value> = all.iter().filter(|host| host["name"] == *name).collect();
            if named.len() > 1 {
                let ids = named.iter().map(|host| show::text(host, "id")).collect();
                return Err(CliError::ManyHosts { name: name.to_owned(), ids });
            }
            let Some(&only) = named.first() else { return Ok(None) };
            only
        }
    };
    let id = found["id"].as_str().ok_or(CliError::Answer("id"))?;
    Ok(Some(format!("/v1/hosts/{}/why", segment(id))))
}

async fn told(client: &Client, path: &str) -> Result<About, CliError> {
    let mut answer = client.get(path).await?;
    if !answer["why"].is_object() {
        return Err(CliError::Answer("why"));
    }
    Ok(About::Told(answer["why"].take()))
}
