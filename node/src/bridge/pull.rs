//! The loop over one original: what it shows is kept here, what it lacks of ours is pushed, whom it
//! knows is learned.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skyclaw_http_compat::snapshot::MAX_SNAPSHOT_BYTES;
use skyclaw_protocol::Hash;

use super::diff::{Tries, Want, missing};
use super::limits::SHORT;
use super::link::Trouble;
use super::numbers::add;
use super::pace::Pace;
use super::shown::{self, Shown};
use super::{Ctx, Peer, discover, push, witness, work};
use crate::engine::chain;
use crate::time;

/// What a round remembers for the next one.
#[derive(Debug, Default)]
struct Past {
    tries: Tries,
    /// Hash of what was kept last: the same is not read again.
    kept: Option<Hash>,
    /// What it showed, and what was held here, when nothing was missing.
    settled: Option<(Hash, u64)>,
    /// The name it went by.
    node: Option<String>,
    /// Records it would not take, as last said.
    resting: usize,
}

/// What answered.
enum Answered {
    /// An original: since then it was asked, its state took so long to come, and was read then.
    Original(Instant, Duration, Instant),
    /// A coordinator of ours has taken its place.
    Ours,
}

/// Until the original is forgotten, or turns out to be none.
pub(super) async fn run(ctx: Arc<Ctx>, peer: Arc<Peer>) {
    let mut pace = Pace::new(Instant::now(), ctx.settings.period);
    let mut past = Past::default();
    loop {
        tokio::select! {
            () = peer.stop.cancelled() => return,
            () = tokio::time::sleep_until(pace.next().into()) => {}
            () = peer.poke.notified() => {
                pace.poke(Instant::now());
                continue;
            }
        }
        let round = tokio::select! {
            () = peer.stop.cancelled() => return,
            round = round(&ctx, &peer, &mut past) => round,
        };
        match round {
            Ok(Answered::Original(begun, came, done)) => pace.answered(begun, came, done),
            Ok(Answered::Ours) => {
                tracing::info!(url = peer.link.shown(), "no original coordinator any more");
                ctx.parts.kinds.is_ours(&peer.url);
                return;
            }
            Err(trouble) => {
                add(&ctx.numbers.pulls_failed, 1);
                ctx.lost(&peer, &trouble.to_string());
                pace.failed(Instant::now());
            }
        }
    }
}

async fn round(ctx: &Arc<Ctx>, peer: &Peer, past: &mut Past) -> Result<Answered, Trouble> {
    let begun = Instant::now();
    // It may have been replaced since; what a coordinator of ours shows must not be taken for an
    // original's.
    match peer.link.get("/v1/network", SHORT).await {
        Err(Trouble::Status { status: 404, .. }) => {}
        Ok(_) => return Ok(Answered::Ours),
        Err(trouble) => return Err(trouble),
    }
    if ctx.parts.board.roster().is_double(&peer.url) {
        let health = peer.link.get("/health", SHORT).await?;
        let node = health["nodeId"].as_str().unwrap_or(&peer.url);
        ctx.reached(peer, node, 0);
        return Ok(Answered::Original(begun, begun.elapsed(), Instant::now()));
    }
    let body = peer.link.state(MAX_SNAPSHOT_BYTES).await?;
    let came = begun.elapsed();
    add(&ctx.numbers.pulls, 1);
    add(&ctx.numbers.pull_bytes, body.len());
    let hash = Hash(*blake3::hash(&body).as_bytes());
    let doubted = !peer.doubts.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
    let settled = past.settled.filter(|_| !doubted);
    let (looked, tries) =
        look(ctx, (hash, body.clone()), settled, std::mem::take(&mut past.tries)).await?;
    past.tries = tries;
    let seen = keep(ctx, (hash, body), past).await?;
    if let Some(Looked { shown, .. }) = &looked {
        past.node = Some(shown.node.clone().unwrap_or_else(|| peer.url.clone()));
    }
    let node = past.node.as_deref().unwrap_or(&peer.url);
    ctx.reached(peer, node, seen);
    let done = Instant::now();
    tracing::debug!(url = peer.link.shown(), ?came, all = ?begun.elapsed(), "an original was pulled");
    if let Some(Looked { shown, wants, changes }) = looked {
        let settled = wants.is_empty() && past.tries.resting() == 0;
        past.settled = settled.then_some((hash, changes));
        witness::settle(ctx, peer, node, &shown);
        for job in shown.claimed {
            // Without room it is seen again.
            let _ = ctx.claimed.try_send(work::Claimed { job, url: peer.url.clone() });
        }
        push::all(ctx, peer, wants, &mut past.tries).await?;
        say_resting(ctx, peer, past);
    }
    if ctx.settings.discovery {
        discover::ask(ctx, peer).await?;
    }
    Ok(Answered::Original(begun, came, done))
}

/// What a state is about.
struct Looked {
    shown: Shown,
    wants: Vec<Want>,
    /// Of what is held here.
    changes: u64,
}

/// Compares what is shown with what is held here, unless both are as they were when nothing was
/// missing.
async fn look(
    ctx: &Arc<Ctx>,
    (hash, body): (Hash, Bytes),
    settled: Option<(Hash, u64)>,
    mut tries: Tries,
) -> Result<(Option<Looked>, Tries), Trouble> {
    let ctx = Arc::clone(ctx);
    let work = move || {
        let network = ctx.parts.exporter.network();
        let mut ours = ctx.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = ctx.parts.shared.reader() {
            ours.refresh(&reader).map_err(|error| Trouble::Nonsense(chain(&error)))?;
        }
        let changes = ours.changes();
        if settled == Some((hash, changes)) {
            return Ok((None, tries));
        }
        let shown = shown::read(&body, network, ours.entries(), &ctx.holders, time::wall());
        let shown = shown.map_err(|error| Trouble::Nonsense(error.to_string()))?;
        let wants = missing(ours.entries(), &shown.seen, &mut tries, Instant::now());
        Ok((Some(Looked { shown, wants, changes }), tries))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| stopping())?
}

/// Keeps what is shown, on disk. Returns the highest number in it.
async fn keep(
    ctx: &Arc<Ctx>,
    (hash, body): (Hash, Bytes),
    past: &mut Past,
) -> Result<u64, Trouble> {
    if past.kept == Some(hash) {
        return Ok(0);
    }
    let merged = ctx.parts.originals.merge(body).await;
    let merged = merged.map_err(|error| Trouble::Nonsense(chain(&error)))?;
    add(&ctx.numbers.refused, merged.refused.values().map(|n| *n as usize).sum());
    past.kept = Some(hash);
    Ok(merged.highest_version)
}

fn say_resting(ctx: &Ctx, peer: &Peer, past: &mut Past) {
    let resting = past.tries.resting();
    if resting > past.resting {
        let url = peer.link.shown();
        tracing::warn!(url, records = resting, "an original does not take some of our records");
    }
    past.resting = resting;
    ctx.numbers.resting.store(resting as u64, std::sync::atomic::Ordering::Relaxed);
}

pub(super) fn stopping() -> Trouble {
    Trouble::Nonsense("this node is stopping".to_owned())
}
