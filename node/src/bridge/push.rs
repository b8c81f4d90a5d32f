//! Pushing what an original lacks, in bounded batches.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use skyclaw_protocol::JobId;
use skyclaw_protocol::record::Signed;

use super::diff::{Batch, Tries, Want};
use super::limits::{PUSH, WITNESS};
use super::link::Trouble;
use super::numbers::add;
use super::{Ctx, Peer, ours, pull};
use crate::time;

/// Pushes all of `wants`, one batch after the other. What is left when one fails is found missing
/// again.
pub(super) async fn all(
    ctx: &Arc<Ctx>,
    peer: &Peer,
    wants: Vec<Want>,
    tries: &mut Tries,
) -> Result<(), Trouble> {
    let mut wants = VecDeque::from(wants);
    while !wants.is_empty() {
        let (rest, made) = next(ctx, wants).await?;
        wants = rest;
        let Some((body, pushed)) = made else { continue };
        send(ctx, peer, body, pushed.len(), PUSH).await?;
        let now = Instant::now();
        for want in &pushed {
            tries.pushed(want, now);
        }
    }
    Ok(())
}

/// Sends records. The answer is not looked at but for being one.
pub(super) async fn send(
    ctx: &Ctx,
    peer: &Peer,
    body: Bytes,
    records: usize,
    patience: Duration,
) -> Result<Value, Trouble> {
    let bytes = body.len();
    match peer.link.post("/v1/replicate/snapshot", body, patience).await {
        Ok(answer) => {
            add(&ctx.numbers.pushes, 1);
            add(&ctx.numbers.push_records, records);
            add(&ctx.numbers.push_bytes, bytes);
            Ok(answer)
        }
        Err(trouble) => {
            add(&ctx.numbers.pushes_failed, 1);
            Err(trouble)
        }
    }
}

/// Pushes these jobs, as they stand, to all originals that answer: at once what the next pull would
/// find missing anyway.
pub(super) async fn jobs(ctx: &Arc<Ctx>, ids: &[JobId]) {
    let live = ctx.live();
    for id in ids.iter().filter(|_| !live.is_empty()) {
        let Some(body) = job(ctx, id) else { continue };
        let to = |(_, peer): &(String, Arc<Peer>)| {
            let (ctx, peer, body) = (Arc::clone(ctx), Arc::clone(peer), body.clone());
            async move { drop(send(&ctx, &peer, body, 1, WITNESS).await) }
        };
        join_all(live.iter().map(to)).await;
    }
}

fn job(ctx: &Ctx, id: &JobId) -> Option<Bytes> {
    let job = ctx.parts.shared.reader()?.job(id).ok()??;
    let (spec, val) = (job.register.spec.body(), job.register.chosen()?);
    let result = job.result.as_ref().map(Signed::body);
    let exporter = &ctx.parts.exporter;
    let made = ours::record(exporter, spec, val, result, val.display_version, time::wall());
    let (record, _) = made?;
    Some(exporter.body(&ctx.settings.label, Vec::new(), vec![record], Vec::new()).into())
}

type Made = Option<(Bytes, Vec<Want>)>;

/// Makes the next batch, beside the async threads: payloads come from the disk.
async fn next(
    ctx: &Arc<Ctx>,
    mut wants: VecDeque<Want>,
) -> Result<(VecDeque<Want>, Made), Trouble> {
    let ctx = Arc::clone(ctx);
    let work = move || {
        let mut batch = Batch::default();
        let Some(reader) = ctx.parts.shared.reader() else {
            return Err(Trouble::Nonsense("the store of this node cannot be read now".to_owned()));
        };
        let ours = ctx.ours.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(want) = wants.pop_front() {
            let made = ours.export(&reader, &ctx.parts.exporter, &want, time::wall());
            // It went meanwhile.
            let Some((record, bytes)) = made else { continue };
            if batch.is_full_for(bytes) {
                wants.push_front(want);
                break;
            }
            batch.add(want, record, bytes);
        }
        let Batch { hosts, jobs, services, wants: pushed, .. } = batch;
        let made = (!pushed.is_empty()).then(|| {
            let body = ctx.parts.exporter.body(&ctx.settings.label, hosts, jobs, services);
            (Bytes::from(body), pushed)
        });
        Ok((wants, made))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| pull::stopping())?
}
