//! What changes, as server-sent events: for dashboards, and scripts that wait for something.
//!
//! ```text
//! event: hello    data: {"nodeId"}         first; whoever reconnects reads its lists again
//! event: job      data: a job in brief     it was made, or is another than before
//! event: service  data: the service
//! event: host     data: the host           also when it falls silent, and when it is heard again
//! event: gone     data: {"kind", "id"}     nothing is known of it any more
//! event: missed   data: {}                 more changed than was told: read your lists again
//! ```
//!
//! Always: what is told is on the disk, and the caller may see it; a key that is revoked hears no more. Changes within [`GATHER`] are told once
//! each, as they stand then, so a follower is sent what a record became and not each step. Whoever reads
//! too slowly holds up nobody and is told that it missed some.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::{Value, json};
use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::principal::Scope;
use skyclaw_protocol::{HostId, HostView};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

use crate::auth::Who;
use crate::backend::{Backend, Change, Changes};
use crate::body::LARGE;
use crate::call::Call;
use crate::error::ApiError;
use crate::json;
use crate::json::service::Depth;
use crate::routes::elsewhere;
use crate::routes::sse::{self, Feed, QUIET, event};

/// Whoever may see any record: it is told of those that it may see.
pub(super) const SCOPES: &[Scope] = &[Scope::Submit, Scope::Deploy, Scope::Read];

/// Changes this close together are told together.
const GATHER: Duration = Duration::from_millis(50);

/// Records told of at once; if more changed, reading the lists again costs less.
const MOST: usize = 500;

/// Bytes told at once, likewise: services can be large.
const MOST_BYTES: usize = 1 << 20;

/// Which kinds a follower asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kinds {
    jobs: bool,
    services: bool,
    hosts: bool,
}

/// `GET /v1/events?kinds=job,service,host`.
pub(super) async fn events(call: Call) -> Result<Response, ApiError> {
    let kinds = kinds(call.query.as_deref().unwrap_or_default())?;
    let kinds = Kinds { hosts: kinds.hosts && call.who.sees(None), ..kinds };
    let place = Some(sse::place(&call.api.followers, call.who.mark())?);
    // From here on nothing is missed: what the caller reads after the greeting is as new as this.
    let changes = call.backend().changes();
    let hello = event("hello", &json!({ "nodeId": call.backend().identity().node_id }));
    let may = sse::still(&call, |who| who.may(SCOPES));
    let feed = Feed { hello, quiet: QUIET, may, stop: call.stop.clone(), place };
    Ok(feed.answer(told(call, changes, kinds)))
}

fn kinds(text: &str) -> Result<Kinds, ApiError> {
    let mut kinds = Kinds { jobs: true, services: true, hosts: true };
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if name != "kinds" {
            continue;
        }
        kinds = Kinds { jobs: false, services: false, hosts: false };
        for word in value.split(',') {
            match word {
                "job" => kinds.jobs = true,
                "service" => kinds.services = true,
                "host" => kinds.hosts = true,
                _ => {
                    let text = "kinds must be some of job, service, host, with commas between";
                    return Err(ApiError::BadField(text.to_owned()));
                }
            }
        }
    }
    Ok(kinds)
}

impl Kinds {
    const fn has(self, shown: &Shown) -> bool {
        match shown {
            Shown::Job(_) => self.jobs,
            Shown::Service(_) => self.services,
            Shown::Host(_) => self.hosts,
        }
    }
}

/// What came of changes within a moment.
#[derive(Debug, Default)]
struct Gathered {
    shown: BTreeSet<Shown>,
    missed: bool,
}

impl Gathered {
    fn add(&mut self, change: Change, kinds: Kinds) {
        match change {
            Change::Of(shown) if !kinds.has(&shown) => {}
            Change::Of(shown) if self.shown.len() < MOST => {
                self.shown.insert(shown);
            }
            Change::Of(shown) => self.missed |= !self.shown.contains(&shown),
            Change::Missed => self.missed = true,
        }
    }
}

/// The next changes that the caller asked for; none at the end.
async fn gather(changes: &mut Changes, kinds: Kinds) -> Option<Gathered> {
    let mut gathered = Gathered::default();
    while gathered.shown.is_empty() && !gathered.missed {
        gathered.add(changes.next().await?, kinds);
    }
    let until = Instant::now() + GATHER;
    while let Ok(Some(change)) = timeout_at(until, changes.next()).await {
        gathered.add(change, kinds);
    }
    Some(gathered)
}

fn told(call: Call, changes: Changes, kinds: Kinds) -> BoxStream<'static, Bytes> {
    let next = move |(mut call, mut changes): (Call, Changes)| async move {
        let gathered = gather(&mut changes, kinds).await?;
        // What the caller may see is what its key says now: that may have changed while it followed.
        call.who = Who::find(call.api.token.as_ref(), call.backend(), &call.headers).ok()?;
        let bytes = tell(&call, gathered).await;
        Some((bytes, (call, changes)))
    };
    stream::unfold((call, changes), next).boxed()
}

/// All of them, as they stand now.
async fn tell(call: &Call, gathered: Gathered) -> Bytes {
    let mut text = Vec::new();
    if gathered.missed {
        return event("missed", &json!({}));
    }
    // Each look at hosts makes the views of all of them, so there is one.
    let of_hosts = gathered.shown.iter().any(|shown| matches!(shown, Shown::Host(_)));
    let hosts = if of_hosts { call.backend().hosts().await } else { Ok(Vec::new()) };
    let Ok(hosts) = hosts else { return event("missed", &json!({})) };
    let hosts: BTreeMap<HostId, HostView> =
        hosts.into_iter().map(|host| (host.id.clone(), host)).collect();
    for shown in gathered.shown {
        // Reads do not wait, and there may be many.
        consume_budget().await;
        match look(call, &hosts, &shown).await {
            Ok(Some((kind, value))) => text.extend_from_slice(&event(kind, &value)),
            Ok(None) => {}
            // What cannot be read now is no less changed.
            Err(_) => return event("missed", &json!({})),
        }
        if text.len() > MOST_BYTES {
            return event("missed", &json!({}));
        }
    }
    // Nothing of it was this caller's: a comment, since a stream of nothing would be taken for its end.
    if text.is_empty() { Bytes::from_static(b":\n\n") } else { text.into() }
}

/// How one record is shown to the caller; none if it may not see it.
async fn look(
    call: &Call,
    hosts: &BTreeMap<HostId, HostView>,
    shown: &Shown,
) -> Result<Option<(&'static str, Value)>, ApiError> {
    let backend: &dyn Backend = call.backend();
    let gone = |kind: &str, id: &str| {
        // Whose it was nobody knows any more; ids tell nothing to whoever sees all.
        call.who.sees(None).then(|| ("gone", json!({ "kind": kind, "id": id })))
    };
    Ok(match shown {
        Shown::Job(id) => match backend.job(id.clone()).await? {
            Some(job) if call.who.sees(job.submitted_by.as_ref()) => {
                let large = job.payload.len() >= LARGE;
                Some(("job", elsewhere(large, move || json::job::brief(&job)).await?))
            }
            Some(_) => None,
            // It is being made; what becomes of it is told when that is decided.
            None if backend.insight().is_undecided(shown) => None,
            None => gone("job", id.as_str()),
        },
        Shown::Service(id) => match backend.service(id.clone()).await? {
            Some(service) => {
                let seen = call.who.sees(service.owner.as_ref());
                seen.then(|| ("service", json::service::show(&service, Depth::Details)))
            }
            None if backend.insight().is_undecided(shown) => None,
            None => gone("service", id.as_str()),
        },
        Shown::Host(id) => match hosts.get(id) {
            Some(host) => call.who.sees(None).then(|| ("host", json::host::show(host))),
            None => gone("host", id.as_str()),
        },
    })
}
