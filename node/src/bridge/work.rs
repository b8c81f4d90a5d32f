//! Running jobs of originals as a host of them.
//!
//! A job that waits there and that a host here can run now is claimed under a name that stands for
//! what such hosts can do, adopted under its id, and then one of ours: originals are told that this
//! network holds it without end, so that none gives it away again when its own lease would be over
//! (F02), and how it ended.
//!
//! Always: what was given to this node and is no register yet is adopted for as long as the
//! original's lease lasts, also after a restart, when the original shows it; after that the original
//! gives it to somebody else, and it is left alone. Nothing is claimed without need (F38).

pub(super) mod choose;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use skyclaw_http_compat::snapshot::{self, Exporter};
use skyclaw_http_compat::{CheckedPayload, Request, check_payload};
use skyclaw_protocol::limits::MAX_PARALLEL;
use skyclaw_protocol::placement;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::{Adopted, Command, HostId, HostView, JobId, JobView};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::limits::{CLAIM, LEASE_MARGIN_MS, LOOK, MOST_CLAIMED};
use super::link::Trouble;
use super::numbers::add;
use super::{Ctx, Peer, push};
use crate::client::segment;
use crate::{handle, time};
use choose::{Claims, Free, Vain, Waiting, asked_most, claims};

/// Pause between two looks, however much changes.
const BREATH: Duration = Duration::from_millis(50);

/// A job that an original gave to this node.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    /// The job as it was given.
    pub(super) job: JobView,
    /// By whom.
    pub(super) url: String,
}

/// A job that was taken over and has not ended.
#[derive(Debug)]
struct Taken {
    required: Vec<String>,
    /// It waits for a host here.
    waits: bool,
}

#[derive(Default)]
struct Work {
    /// Given to this node, and no register yet.
    claimed: BTreeMap<JobId, Claimed>,
    taken: BTreeMap<JobId, Taken>,
    /// Names under which this node is known to originals.
    registered: BTreeSet<(String, HostId)>,
    vain: Vain,
}

/// How the ids begin under which any node of this network claims.
pub(super) fn holders(exporter: &Exporter) -> String {
    format!("skyclaw-bridge-{}-", &exporter.network()[..16])
}

/// A short name for a text.
pub(super) fn short_name(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes());
    hash.to_hex()[..12].to_owned()
}

/// Claims, adopts and tells the ends, until stopped.
pub(super) async fn run(
    ctx: Arc<Ctx>,
    mut given: mpsc::Receiver<Claimed>,
    stop: CancellationToken,
) {
    let mut work = Work::default();
    let mut changes = ctx.parts.originals.changes();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            claimed = given.recv() => match claimed {
                Some(claimed) => work.given(claimed),
                None => return,
            },
            () = tokio::time::sleep(LOOK) => {}
        }
        let step = async {
            while let Ok(claimed) = given.try_recv() {
                work.given(claimed);
            }
            work.adopt(&ctx).await;
            work.tell_ends(&ctx).await;
            work.claim(&ctx).await;
            tokio::time::sleep(BREATH).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = step => {}
        }
    }
}

impl Work {
    fn given(&mut self, claimed: Claimed) {
        if self.claimed.len() < MOST_CLAIMED && !self.taken.contains_key(&claimed.job.id) {
            self.claimed.insert(claimed.job.id.clone(), claimed);
        }
    }

    /// What was given becomes a register here.
    async fn adopt(&mut self, ctx: &Arc<Ctx>) {
        let mut taken = Vec::new();
        for (id, claimed) in std::mem::take(&mut self.claimed) {
            let over = claimed
                .job
                .lease_expires
                .is_none_or(|ends| ends.0 <= time::wall().0.saturating_add(LEASE_MARGIN_MS));
            if over {
                tracing::warn!(job = %id, "a job of an original could not be taken over in time");
                continue;
            }
            let adopted = match adopted(&claimed.job) {
                Ok(adopted) => adopted,
                Err(why) => {
                    self.refuse(ctx, claimed, &why).await;
                    continue;
                }
            };
            let command = Command::Adopt(Box::new(adopted));
            match ctx.parts.handle.command(Request { command, idempotency: None }).await {
                Ok(_) => {
                    tracing::debug!(job = %id, "a job of an original is run here");
                    add(&ctx.numbers.adopted, 1);
                    let required = claimed.job.required;
                    self.taken.insert(id.clone(), Taken { required, waits: true });
                    taken.push(id);
                }
                Err(refusal) => {
                    tracing::debug!(job = %id, %refusal, "a job of an original waits here");
                    self.claimed.insert(id, claimed);
                }
            }
        }
        push::jobs(ctx, &taken).await;
    }

    /// No host of this network can run it: it ends where it came from, with the reason.
    async fn refuse(&mut self, ctx: &Ctx, claimed: Claimed, why: &str) {
        let id = claimed.job.id.clone();
        let Some(peer) = ctx.peers().get(&claimed.url).cloned() else { return };
        let body = json!({
            "hostId": claimed.job.assigned_host.as_ref().map(HostId::as_str),
            "success": false, "durationMs": 0, "exitCode": 1, "stdout": "", "stderr": "",
            "error": why,
        });
        let path = format!("/v1/jobs/{}/complete", segment(id.as_str()));
        match peer.link.post(&path, Bytes::from(body.to_string()), CLAIM).await {
            Ok(_) => {
                add(&ctx.numbers.unfit, 1);
                tracing::warn!(job = %id, why, "a job of an original cannot be run");
            }
            // What it refuses is not this node's any more.
            Err(trouble) if trouble.status().is_some_and(|status| status < 502) => {}
            Err(_) => {
                self.claimed.insert(id, claimed);
            }
        }
    }

    /// Jobs that ended here end there.
    async fn tell_ends(&mut self, ctx: &Arc<Ctx>) {
        let mut ended = Vec::new();
        self.taken.retain(|id, taken| {
            let Ok(state) = ctx.parts.handle.job_state(id) else { return true };
            // It may be known here a moment later only.
            let Some(state) = state else { return true };
            taken.waits = state.phase == Phase::Queued;
            if state.phase.is_terminal() {
                ended.push(id.clone());
            }
            !state.phase.is_terminal()
        });
        push::jobs(ctx, &ended).await;
    }

    async fn claim(&mut self, ctx: &Arc<Ctx>) {
        let waiting = ctx.parts.originals.queued();
        let live = ctx.parts.board.roster().live();
        if waiting.is_empty() || live.is_empty() {
            return;
        }
        let Ok(hosts) = ctx.parts.handle.host_list().await else { return };
        let free = free(&hosts, time::wall().0, ctx.settings.host_ttl);
        if free.is_empty() {
            return;
        }
        let waiting: Vec<Waiting> = waiting
            .into_iter()
            .map(|job| Waiting { id: job.id, created: job.created, required: job.required })
            .collect();
        let ahead = self.taken.values().filter(|taken| taken.waits).map(|taken| &taken.required);
        let ahead = ahead.chain(self.claimed.values().map(|claimed| &claimed.job.required));
        let ahead: Vec<Vec<String>> = ahead.cloned().collect();
        let wanted = claims(&waiting, free, &ahead);
        if wanted.is_empty() {
            return;
        }
        let Ok(theirs) = ctx.parts.originals.hosts().await else { return };
        let Some(first) = asked_most(&live, &theirs, &ctx.all_holders) else { return };
        let mut order = vec![first];
        order.extend(live.iter().filter(|one| *one != first));
        for claims in wanted {
            let now = Instant::now();
            let Some(turn) = self.vain.turn(&claims, now) else { continue };
            let at = order[turn % order.len()];
            let Some(peer) = ctx.peers().get(&at.url).cloned() else { continue };
            if !self.claim_at(ctx, &peer, &at.node, &claims).await {
                self.vain.in_vain(&claims, Instant::now());
            }
        }
        self.adopt(ctx).await;
    }

    /// False if there was nothing, or not all.
    async fn claim_at(&mut self, ctx: &Ctx, peer: &Peer, node: &str, claims: &Claims) -> bool {
        let capabilities = short_name(&claims.capabilities.join("\n"));
        let Ok(host) = HostId::new(format!("{}{capabilities}", ctx.holders)) else { return false };
        let known = (node.to_owned(), host.clone());
        if !self.registered.contains(&known) {
            if let Err(trouble) = register(ctx, peer, &host, &claims.capabilities).await {
                tracing::debug!(url = peer.link.shown(), %trouble, "no host of an original");
                return false;
            }
            self.registered.insert(known.clone());
        }
        for _ in 0..claims.count {
            add(&ctx.numbers.claims, 1);
            let path = format!("/v1/hosts/{}/claim", segment(host.as_str()));
            let answer = match peer.link.post(&path, Bytes::from_static(b"{}"), CLAIM).await {
                Ok(answer) => answer,
                Err(trouble) => {
                    // One that was started anew without its data does not know it any more.
                    if let Trouble::Status { text, .. } = &trouble
                        && text.contains("unknown host")
                    {
                        self.registered.remove(&known);
                    }
                    tracing::debug!(url = peer.link.shown(), %trouble, "a claim failed");
                    return false;
                }
            };
            let record = &answer["job"];
            if record.is_null() {
                add(&ctx.numbers.claims_in_vain, 1);
                return false;
            }
            // One that cannot be read here is left to its lease.
            let raw = record.to_string();
            let Ok(job) = snapshot::job(&raw, time::wall()) else { return false };
            self.given(Claimed { job: job.view, url: peer.url.clone() });
            let body = json!({ "nodeId": node, "jobs": [record] }).to_string();
            if let Err(error) = ctx.parts.originals.merge(body.into()).await {
                tracing::warn!(%error, "what an original gave cannot be kept");
            }
        }
        true
    }
}

async fn register(
    ctx: &Ctx,
    peer: &Peer,
    host: &HostId,
    capabilities: &[String],
) -> Result<Value, Trouble> {
    let body = json!({
        "hostId": host.as_str(),
        "name": format!("skyclaw-bridge {}", ctx.settings.label),
        "capabilities": capabilities,
        // Who claims only for hosts with room needs no gate.
        "maxParallel": MAX_PARALLEL,
    });
    peer.link.post("/v1/hosts/register", Bytes::from(body.to_string()), CLAIM).await
}

/// Hosts that talk to this coordinator and have room, as far as they say.
fn free(hosts: &[HostView], now: u64, ttl: Duration) -> Vec<Free> {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let alive = hosts.iter().filter(|host| host.last_seen.0.saturating_add(ttl) >= now);
    let free = alive.map(|host| {
        let slots = host.max_parallel.0.saturating_sub(host.active_leases.0) / 1000;
        let slots = usize::try_from(slots).unwrap_or(usize::MAX);
        Free { capabilities: host.capabilities.clone(), slots }
    });
    free.filter(|host| host.slots > 0).collect()
}

/// The job as it is taken over, unless no host of this network could run it.
pub(crate) fn adopted(job: &JobView) -> Result<Adopted, String> {
    let CheckedPayload { text: payload, timeout_ms, once, implied } = check_payload(&job.payload)?;
    let mut required = job.required.clone();
    required.extend(implied);
    let required = placement::capability_list(required);
    let mut adopted = handle::adopted(JobView { payload, required, ..job.clone() }, None);
    (adopted.request.timeout_ms, adopted.request.once) = (timeout_ms, once);
    Ok(adopted)
}
