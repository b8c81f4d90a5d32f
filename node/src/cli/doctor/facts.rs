//! What the checks judge: asked for once, as it is told.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::here::Here;
use super::ports::{self, Port};
use super::records;
use crate::cli::original;
use crate::client::{Client, ClientError, Seen};

/// Queued jobs that are looked at: the newest. More of them say the same.
const QUEUED: usize = 50;

/// Pause before coordinators that differ are asked again: what is under way gets to all in that time.
const AGAIN: Duration = Duration::from_millis(2500);

/// One coordinator of the settings.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    /// Its url, without user and password.
    pub(super) url: String,
    /// `GET /healthz`, or why there is no answer.
    pub(super) alive: Option<Result<Seen, String>>,
    /// `GET /readyz`, if it lives.
    pub(super) ready: Option<Seen>,
    /// `GET /health`, which needs the token at a coordinator, if it lives.
    pub(super) inside: Option<Seen>,
    /// `GET /v1/status`, if it lets this client in.
    pub(super) status: Option<Value>,
    /// The same some seconds later, where coordinators did not hold the same.
    pub(super) later: Option<Value>,
    /// The clock here when it answered, in seconds since 1970.
    pub(super) asked_at: i64,
}

/// What answers at a url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// A coordinator, or one of the original.
    Coordinator,
    /// A gateway, which answers some of the same routes.
    Gateway,
    /// Neither: any web server.
    Stranger,
}

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The coordinators of the settings, in their order.
    pub(super) coordinators: Vec<Coordinator>,
    /// `GET /v1/network` of the first that answers.
    pub(super) network: Option<Value>,
    /// The hosts that it knows.
    pub(super) hosts: Option<Vec<Value>>,
    /// The newest of the jobs that wait.
    pub(super) queued: Vec<Value>,
    /// Whether there are more of those.
    pub(super) more: bool,
    /// Where the first that answers listens for nodes, as tried from here.
    pub(super) ports: Vec<Port>,
    /// What a host on this machine would find, or why that cannot be said.
    pub(super) here: Option<Result<Here, String>>,
    /// This client shows no token.
    pub(super) no_token: bool,
    /// When all that was asked.
    pub(super) now: Timestamp,
}

impl Facts {
    /// Asks the coordinators of this client. Whatever cannot be had is left out.
    pub(super) async fn gather(client: &Client) -> Self {
        let mut facts = Self::default();
        for (at, url) in client.urls().into_iter().enumerate() {
            facts.coordinators.push(look(client, at, url).await);
        }
        facts.now = Timestamp::now();
        if !facts.coordinators.iter().any(Coordinator::lets_in) {
            return facts;
        }
        facts.network = client.get("/v1/network").await.ok();
        facts.hosts = hosts(client).await.ok();
        let path = format!("/v1/jobs?status=queued&order=newest&limit={QUEUED}");
        if let Ok(mut page) = client.get(&path).await {
            facts.more = page["next"].is_string();
            if let Value::Array(jobs) = page["jobs"].take() {
                facts.queued = jobs;
            }
        }
        for (at, coordinator) in facts.coordinators.iter_mut().enumerate() {
            if coordinator.lets_in() {
                coordinator.status = status(client, at).await;
            }
        }
        if records::differ(&facts) {
            tokio::time::sleep(AGAIN).await;
            for (at, coordinator) in facts.coordinators.iter_mut().enumerate() {
                if coordinator.status.is_some() {
                    coordinator.later = status(client, at).await;
                }
            }
        }
        if let Some(network) = &facts.network {
            facts.ports = ports::look(network).await;
        }
        facts
    }

    /// What each coordinator that says so says of itself, with its url.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (&str, &Value)> {
        let all = self.coordinators.iter();
        all.filter_map(|one| Some((one.url.as_str(), one.status.as_ref()?)))
    }
}

impl Coordinator {
    /// Whether it is a coordinator that lives and takes the token.
    pub(super) fn lets_in(&self) -> bool {
        self.lives() && self.inside.as_ref().is_some_and(|seen| seen.status == 200)
    }

    /// Whether it answers as coordinators do.
    pub(super) fn lives(&self) -> bool {
        self.nature() == Some(Nature::Coordinator)
    }

    /// What answers there, if anything does.
    pub(super) fn nature(&self) -> Option<Nature> {
        let alive = self.alive.as_ref()?.as_ref().ok()?;
        // One that is too slow to tell its name says at least that it lives, as one that is too busy.
        let says_ok = alive.status == 200 && alive.body["ok"] == true;
        let Some(inside) = &self.inside else {
            return Some(if says_ok { Nature::Coordinator } else { Nature::Stranger });
        };
        Some(match inside.status {
            200 if inside.body["nodeId"].is_string() => Nature::Coordinator,
            200 if inside.body["services"].is_array() => Nature::Gateway,
            401 | 403 => Nature::Coordinator,
            429 | 500..=599 if says_ok => Nature::Coordinator,
            _ => Nature::Stranger,
        })
    }
}

async fn look(client: &Client, at: usize, url: String) -> Coordinator {
    let said = |error: ClientError| match error {
        ClientError::Network { cause, .. } => cause,
        error => error.to_string(),
    };
    let alive = client.look(at, "/healthz").await.map_err(said);
    let asked_at = Timestamp::now().as_second();
    let mut seen = Coordinator { url, asked_at, ..Coordinator::default() };
    if alive.is_ok() {
        seen.ready = client.look(at, "/readyz").await.ok();
        seen.inside = client.look(at, "/health").await.ok();
    }
    seen.alive = Some(alive);
    seen
}

async fn status(client: &Client, at: usize) -> Option<Value> {
    let seen = client.look(at, "/v1/status").await.ok()?;
    (seen.status == 200).then_some(seen.body)
}

async fn hosts(client: &Client) -> Result<Vec<Value>, ClientError> {
    match original::hosts(client).await?["hosts"].take() {
        Value::Array(hosts) => Ok(hosts),
        _ => Ok(Vec::new()),
    }
}
