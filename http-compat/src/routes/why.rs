//! Why a job, a service, a host or the way to a service stands where it does: what people ask first when
//! something waits.
//!
//! Always: hosts and nodes are named only to whoever may see them; others are told the reason.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::response::Response;
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::MAX_WHY_HOSTS;
use skyclaw_protocol::why::HostWhy;
use skyclaw_protocol::{HostId, HostView, NodeId, ServiceId, ServiceStatus, ServiceView};
use tokio::time::timeout;

use crate::backend::{NetworkView, PeerView, Readiness, Voters};
use crate::call::Call;
use crate::error::ApiError;
use crate::json;
use crate::receipt::peer_id;
use crate::routes::elsewhere;
use crate::routes::jobs::is_large;
use crate::why::{self, Away, Told, Undecided, host, route, service};

/// Services that lack instances and are looked at to say why a host runs none: the oldest.
const SERVICES: usize = 20;

/// Gateways that are asked what they know, all at once: each may tell two megabytes.
const GATEWAYS: usize = 8;

/// Longest wait for them: somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// So many hosts are looked through in a moment; more are, beside the requests of others.
const MANY: usize = 100;

/// `GET /v1/jobs/:id/why`: the reason in words, and how it came to that.
pub(super) async fn job(call: Call) -> Result<Response, ApiError> {
    let id = call.job_id()?;
    let job = call.backend().job(id.clone()).await?;
    let job = job.filter(|job| call.who.sees(job.submitted_by.as_ref()));
    let mut job = job.ok_or(ApiError::NoRecord("job"))?;
    let insight = call.backend().insight();
    let undecided = undecided(&call, insight.voters(&Shown::Job(id.clone())));
    let (hosts, history) = (call.backend().hosts().await?, insight.history(id).await?);
    let holds = hosts.iter().find(|host| Some(&host.id) == job.assigned_host.as_ref());
    let leads = history.as_ref().is_some_and(|history| {
        call.backend().network().peer_id == Some(peer_id(history.keepers.leader))
    });
    let leased_until = why::lease_end(&job, history.as_ref(), holds, leads);
    let leased_until = leased_until.map(|end| end.latest);
    job.lease_expires = leased_until;
    let mut unheard = HashSet::new();
    if leased_until.is_some() && !leads {
        // One that talks HTTP to another coordinator is not heard here: when it was is not known.
        unheard.extend(hosts.iter().map(|host| host.id.clone()));
        if let Some(holds) = holds
            && let Some(judged) = insight.why_host(holds.id.clone()).await?
            && judged.heard_ms.is_some()
        {
            unheard.remove(&holds.id);
        }
    }
    let all = call.who.sees(None);
    elsewhere(is_large(&job) || hosts.len() > MANY, move || {
        let mut job = json::job::show(&job);
        if let Some(history) = &history {
            // How many attempts were lost, the job itself does not tell.
            job["history"] = json::insight::history(history);
        }
        let show = |host: &HostView| {
            let mut shown = json::host::show(host);
            if unheard.contains(&host.id) {
                shown.as_object_mut().map(|shown| shown.remove("lastSeenAt"));
            }
            shown
        };
        let mut hosts: Vec<Value> = hosts.iter().map(show).collect();
        if !all && job["status"] != "queued" {
            // Of what holds or held it the job itself tells the id, and no more is told.
            hosts.clear();
        }
        let mut why = why::explain(&job, &hosts, Timestamp::now());
        if !all {
            (why.hosts, why.more_hosts) = (Vec::new(), 0);
            why.then = None;
        }
        why = why.without(undecided);
        let mut shown = why.document();
        for (at, host) in why.hosts.iter().enumerate() {
            shown["hosts"][at]["words"] = host.words().into();
        }
        if let Some(until) = leased_until {
            shown["leaseExpiresAt"] = json::iso(until);
        }
        if let Some(history) = history {
            shown["history"] = json::insight::history(&history);
            if !all {
                shown["history"].as_object_mut().map(|history| history.remove("keepers"));
            }
        }
        json::answer(&json!({ "why": shown }))
    })
    .await
}

/// `GET /v1/services/:id/why`: why fewer instances run than are wanted.
pub(super) async fn service(call: Call) -> Result<Response, ApiError> {
    let id = call.service_id()?;
    let found = owned(&call).await?;
    let insight = call.backend().insight();
    let hosts = known_hosts(&call).await?;
    let judged = insight.why_service(id.clone(), None).await?;
    let all = call.who.sees(None);
    let undecided = undecided(&call, insight.voters(&Shown::Service(id)));
    let network = call.backend().network();
    let leader = judged.as_ref().filter(|judged| !judged.leads);
    let leader = leader.map(|judged| label(&network, judged.leader));
    let judges = judged.as_ref().map_or(0, |judged| judged.hosts.len());
    elsewhere(hosts.len().max(judges) > MANY, move || {
        let told = service::explain(&service::Case {
            service: &found,
            hosts: &hosts,
            judged: judged.as_ref(),
            leader: leader.as_deref(),
            undecided: undecided.as_ref(),
            now: now(),
        });
        let mut shown = answer(all, told);
        if let Some(undecided) = undecided {
            shown["why"]["undecided"] = undecided.document();
        }
        if let Some(leader) = leader.filter(|_| all) {
            shown["why"]["decidedBy"] = leader.into();
        }
        json::answer(&shown)
    })
    .await
}

/// `GET /v1/services/:id/routes/why`: whether a call through a gateway gets there.
pub(super) async fn route(call: Call) -> Result<Response, ApiError> {
    let found = owned(&call).await?;
    let (services, hosts) = (call.backend().services().await?, known_hosts(&call).await?);
    let network = call.backend().network();
    // What they pass over names hosts.
    let gateways = match call.who.sees(None) {
        true => gateways(&call, &network, &found.id).await,
        false => Vec::new(),
    };
    let told = route::explain(&route::Case {
        service: &found,
        services: &services,
        sees_all: call.who.sees(None),
        hosts: &hosts,
        network: &network,
        gateways: &gateways,
        now: now(),
    });
    Ok(json::answer(&answer(call.who.sees(None), told)))
}

/// What the gateway in this node and those that are connected know of a service.
async fn gateways(call: &Call, network: &NetworkView, id: &ServiceId) -> Vec<route::Gateway> {
    let own = route::Knows::read(&call.backend().metrics(), id);
    let own = own.map(|knows| route::Gateway { peer_id: network.peer_id.clone(), told: Ok(knows) });
    let is_one = |peer: &&PeerView| peer.connected && peer.roles.iter().any(|it| it == "gateway");
    let asked = network.peers.iter().filter(is_one).take(GATEWAYS).map(async |peer| {
        let told = timeout(PATIENCE, call.backend().metrics_of(peer.peer_id.clone())).await;
        let told = match told {
            Ok(Ok(Some(text))) => {
                let old = || "it is older, or serves nobody yet".to_owned();
                route::Knows::read(&text, id).ok_or_else(old)
            }
            Ok(Ok(None)) => Err("it is not known any more".to_owned()),
            Ok(Err(refusal)) => Err(refusal.to_string()),
            Err(_) => Err("it did not tell in time".to_owned()),
        };
        route::Gateway { peer_id: Some(peer.peer_id.clone()), told }
    });
    own.into_iter().chain(join_all(asked).await).collect()
}

/// `GET /v1/hosts/:id/why`: why it gets no work.
pub(super) async fn host(call: Call) -> Result<Response, ApiError> {
    let id = call.host_id()?;
    let found = call.backend().host(id.clone()).await?.ok_or(ApiError::NoRecord("host"))?;
    let insight = call.backend().insight();
    let judged = insight.why_host(id.clone()).await?;
    let mut services = Vec::new();
    for service in call.backend().services().await?.into_iter().filter(lacks).take(SERVICES) {
        let Some(judged) = insight.why_service(service.id.clone(), Some(id.clone())).await? else {
            continue;
        };
        let of_it = judged.hosts.into_iter().next();
        if let Some((_, rejected)) = of_it {
            services.push((service, rejected));
        }
    }
    let closed = closed(&call);
    let told = host::explain(&host::Case {
        host: &found,
        judged: judged.as_ref(),
        services: &services,
        closed: &closed,
        now: now(),
    });
    Ok(json::answer(&json!({ "why": told.document() })))
}

/// Of each of the first [`MAX_WHY_HOSTS`] hosts how it stands and why, for lists of them: without services,
/// which are looked at for one. Of the others, which are not looked at, it is said how many they are.
pub(super) async fn hosts(call: &Call) -> Result<(Value, usize), ApiError> {
    let mut hosts = call.backend().hosts().await?;
    let more = hosts.len().saturating_sub(MAX_WHY_HOSTS);
    hosts.truncate(MAX_WHY_HOSTS);
    let ids = hosts.iter().map(|host| host.id.clone()).collect();
    // After they were listed: whoever was silent then is so now, or was heard of.
    let judged = call.backend().insight().why_hosts(ids).await?;
    let closed = closed(call);
    elsewhere(hosts.len() > MANY, move || {
        let judged: BTreeMap<HostId, HostWhy> = judged.into_iter().collect();
        let told = hosts.iter().map(|one| {
            let told = host::explain(&host::Case {
                host: one,
                judged: judged.get(&one.id),
                services: &[],
                closed: &closed,
                now: now(),
            });
            json!({ "id": told.id, "status": told.status, "because": told.because })
        });
        (told.collect(), more)
    })
    .await
}

/// The service of the path, if the caller may see it.
async fn owned(call: &Call) -> Result<ServiceView, ApiError> {
    let found = call.backend().service(call.service_id()?).await?;
    let found = found.filter(|service| call.who.sees(service.owner.as_ref()));
    found.ok_or(ApiError::NoRecord("service"))
}

/// Whether an instance of it is missing.
fn lacks(service: &ServiceView) -> bool {
    let running = service.assignments.iter().filter(|part| part.status == ServiceStatus::Running);
    running.count() < service.def.replicas as usize
}

/// Hosts by name, for whoever may see them; others read the ids that a service's assignments have anyway.
async fn known_hosts(call: &Call) -> Result<Vec<HostView>, ApiError> {
    Ok(if call.who.sees(None) { call.backend().hosts().await? } else { Vec::new() })
}

/// Whoever may not see hosts is told the reason alone.
fn answer(all: bool, told: Told) -> Value {
    json!({ "why": if all { told } else { told.reason_alone() }.document() })
}

fn closed(call: &Call) -> Vec<String> {
    match call.backend().readiness() {
        Readiness::Ready => Vec::new(),
        Readiness::NotReady(reasons) => reasons,
    }
}

/// Too few voters, if they are: for whoever may not see nodes as numbers.
fn undecided(call: &Call, voters: Option<Voters>) -> Option<Undecided> {
    let voters = voters.filter(Voters::are_too_few)?;
    let network = call.backend().network();
    let undecided = Undecided {
        away: Away::Named(voters.away.iter().map(|node| label(&network, *node)).collect()),
        needed: voters.quorum,
        voters: voters.all.len(),
    };
    Some(if call.who.sees(None) { undecided } else { undecided.without_names() })
}

/// The name of a node, as far as it is known.
fn label(network: &NetworkView, node: NodeId) -> String {
    let id = peer_id(node);
    let known = network.peers.iter().find(|peer| peer.peer_id == id);
    let label = known.map(|peer| peer.label.clone()).filter(|label| !label.is_empty());
    label.unwrap_or(id)
}

fn now() -> Wall {
    Wall(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default())
}
