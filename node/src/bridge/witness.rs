//! The word of originals that they hold a record.
//!
//! Always: one record is pushed by itself, so that `changed` is about it, to all originals that
//! answer, side by side, each with a deadline; an original's word counts once it says that it took
//! the record, or a pull shows that it has it (F24). One that did not answer in time counts as away
//! until it answers again, so that it holds up one write and not all of them (F22).

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use skyclaw_http_compat::snapshot::Kind;
use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::register::{Ballot, JobState};
use tokio::sync::mpsc;

use super::limits::{DOUBTS, WITNESS};
use super::numbers::add;
use super::shown::Shown;
use super::{Ctx, Peer, ours, push};
use crate::engine::{Input, Witness};
use crate::tasks::Tasks;
use crate::time;

/// A record that was pushed, of which it is not known whether it is held.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    kind: Kind,
    id: String,
    /// What it shows at least if it is held.
    version: u64,
    what: What,
}

/// What the engine waits for.
#[derive(Clone, Debug)]
struct What {
    subject: Subject,
    ballot: Ballot,
    ver: u64,
}

/// Pushes what the engine asks for, until stopped.
pub(super) async fn run(ctx: Arc<Ctx>, mut asked: mpsc::Receiver<Witness>, tasks: Tasks) {
    let stop = tasks.token();
    loop {
        let witness = tokio::select! {
            () = stop.cancelled() => return,
            witness = asked.recv() => witness,
        };
        let Some(witness) = witness else { return };
        let live = ctx.live();
        if live.is_empty() {
            continue;
        }
        let Some((doubt, body)) = written(&ctx, &witness) else { continue };
        for (node, peer) in live {
            let (ctx, doubt, body) = (Arc::clone(&ctx), doubt.clone(), body.clone());
            tasks.spawn(async move {
                let asked = tokio::time::timeout(WITNESS, ask(&ctx, &peer, &node, doubt, body));
                if asked.await.is_err() {
                    ctx.lost(&peer, "no answer in time");
                }
            });
        }
    }
}

/// The record as it is pushed.
fn written(ctx: &Ctx, witness: &Witness) -> Option<(Doubt, Bytes)> {
    let reader = ctx.parts.shared.reader()?;
    let Witness { subject, ballot, val } = witness;
    let stored = reader.register(subject).ok()??;
    let result = match (subject, val.job().and_then(JobState::named_result)) {
        (Subject::Job(id), Some((attempt, _))) => reader.result(id, attempt).ok()?,
        _ => None,
    };
    let (exporter, version) = (&ctx.parts.exporter, val.display_version);
    let result = result.as_ref().map(Signed::body);
    let spec = stored.spec.body();
    let (record, _) = ours::record(exporter, spec, val, result, version, time::wall())?;
    let (kind, id, jobs, services) = match subject {
        Subject::Job(id) => (Kind::Job, id.as_str(), vec![record], Vec::new()),
        Subject::Service(id) => (Kind::Service, id.as_str(), Vec::new(), vec![record]),
    };
    let body = exporter.body(&ctx.settings.label, Vec::new(), jobs, services);
    let what = What { subject: subject.clone(), ballot: *ballot, ver: val.ver };
    Some((Doubt { kind, id: id.to_owned(), version, what }, body.into()))
}

async fn ask(ctx: &Ctx, peer: &Peer, node: &str, doubt: Doubt, body: Bytes) {
    // One that takes them slowly is asked for no more than it can take in time.
    let Ok(_turn) = peer.turns.acquire().await else { return };
    add(&ctx.numbers.asked, 1);
    match push::send(ctx, peer, body, 1, WITNESS).await {
        // Whoever calls itself otherwise each time would count more than once.
        Ok(answer) if answer["nodeId"] == *node && takes(&answer["changed"]) => {
            say(ctx, node, doubt.what);
        }
        Ok(_) => {
            let mut doubts = peer.doubts.lock().unwrap_or_else(PoisonError::into_inner);
            if doubts.len() < DOUBTS {
                doubts.push(doubt);
            }
            drop(doubts);
            peer.poke.notify_one();
        }
        Err(trouble) => ctx.lost(peer, &trouble.to_string()),
    }
}

/// Whether the one record in the push was taken: the original says so by a flag.
fn takes(changed: &serde_json::Value) -> bool {
    changed.as_bool().unwrap_or_else(|| changed.as_u64().is_some_and(|count| count > 0))
}

/// A pull shows what the original has: doubts about it end.
pub(super) fn settle(ctx: &Ctx, peer: &Peer, node: &str, shown: &Shown) {
    let doubts = std::mem::take(&mut *peer.doubts.lock().unwrap_or_else(PoisonError::into_inner));
    for doubt in doubts {
        let seen = shown.seen.of(doubt.kind).get(&doubt.id);
        if seen.is_some_and(|seen| seen.exported && seen.version >= doubt.version) {
            say(ctx, node, doubt.what);
        }
    }
}

fn say(ctx: &Ctx, node: &str, what: What) {
    if node == ctx.settings.label {
        return;
    }
    add(&ctx.numbers.acks, 1);
    let What { subject, ballot, ver } = what;
    let by = node.to_owned();
    // Without room it is asked for again.
    let _ = ctx.parts.inbox.try_send(Input::Witnessed { subject, ballot, ver, by });
}
