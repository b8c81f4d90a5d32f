//! The lines of all instances of a service, wherever they run: of this node's own host directly, of
//! others by a tunnel.
//!
//! Always: each instance has one reader, and all of them one short queue, so that whoever reads
//! slowly is waited for and nothing is gathered here. All of it ends with whoever asked.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};
use skyclaw_http_compat::{Backend, LogPiece, LogPieces, LogQuery};
use skyclaw_protocol::{Assignment, Refusal, ServiceId, ServiceStatus};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::NodeHandle;
use crate::services::Services;
use source::{Source, Way};

/// Pieces on their way to whoever reads: readers of instances wait for room.
const ROOM: usize = 64;

/// Instances read at once for one caller. Each is a tunnel.
const MOST: usize = 64;

/// What is there already comes in the order of time, as far as it comes within this.
const GATHER: Duration = Duration::from_millis(300);

/// Pieces put into order at most.
const MOST_GATHERED: usize = 20_000;

impl NodeHandle {
    /// What this node's own host runs. Only the first call counts.
    pub fn set_hosted(&self, services: Services) {
        if self.0.hosted.set(services).is_err() {
            tracing::error!("the node has services already");
        }
    }
}

/// Begins to read; none if there is no such service.
pub(super) async fn open(
    handle: NodeHandle,
    id: ServiceId,
    query: LogQuery,
) -> Result<Option<LogPieces>, Refusal> {
    if Backend::service(&handle, id.clone()).await?.is_none() {
        return Ok(None);
    }
    let (pieces, mut receiver) = mpsc::channel(ROOM);
    tokio::spawn(gather(handle, id, query, pieces));
    // In the order of time at first, then as they come.
    let head = stream::once(async move {
        let until = Instant::now() + GATHER;
        let mut first = Vec::new();
        while first.len() < MOST_GATHERED
            && let Ok(Some(piece)) = timeout_at(until, receiver.recv()).await
        {
            first.push(piece);
        }
        let first = in_order(first);
        let rest = stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        stream::iter(first).chain(rest)
    });
    Ok(Some(head.flatten().boxed()))
}

/// In the order of time, but those of one instance in their own, also where its clock was set back. Notes
/// come before the lines.
fn in_order(pieces: Vec<LogPiece>) -> Vec<LogPiece> {
    let mut latest = BTreeMap::new();
    let when = |piece: LogPiece| {
        let at = match &piece {
            LogPiece::Line(line) => {
                let latest = latest.entry(line.epoch).or_insert(line.at);
                *latest = line.at.max(*latest);
                latest.0
            }
            LogPiece::Note(_) => 0,
        };
        (at, piece)
    };
    let mut dated: Vec<(u64, LogPiece)> = pieces.into_iter().map(when).collect();
    dated.sort_by_key(|(at, _)| *at);
    dated.into_iter().map(|(_, piece)| piece).collect()
}

/// Starts a reader for each instance, also for those to come if they are to be followed.
async fn gather(
    handle: NodeHandle,
    id: ServiceId,
    query: LogQuery,
    pieces: mpsc::Sender<LogPiece>,
) {
    let mut changes = handle.services_changed();
    let (mut known, mut unseen) = (BTreeSet::new(), BTreeSet::new());
    let mut full = false;
    let mut tail = query.tail;
    loop {
        changes.mark_unchanged();
        let service = match Backend::service(&handle, id.clone()).await {
            Ok(Some(service)) => service,
            Ok(None) => {
                let _ = pieces.send(LogPiece::Note("the service was removed".into())).await;
                return;
            }
            Err(refusal) => {
                let _ = pieces.send(LogPiece::Note(refusal.to_string())).await;
                return;
            }
        };
        // Those that went make room.
        let here: BTreeSet<u64> = service.assignments.iter().map(|part| part.epoch).collect();
        known.retain(|epoch| here.contains(epoch));
        unseen.retain(|epoch| here.contains(epoch));
        let wanted = |part: &&Assignment| query.replica.is_none_or(|only| only == part.slot);
        for part in service.assignments.iter().filter(wanted) {
            if known.contains(&part.epoch) {
                continue;
            }
            let Some(way) = Way::to(&handle, &id, part).await else {
                // One that has said nothing yet is looked at again.
                let reported = part.started.is_some() || part.status == ServiceStatus::Failed;
                if reported && unseen.insert(part.epoch) {
                    let text = format!(
                        "instance {} runs on host {}, which takes no tunnels (it talks HTTP only): \
                         its lines can be read on that host alone",
                        part.slot, part.host
                    );
                    let _ = pieces.send(LogPiece::Note(text)).await;
                }
                continue;
            };
            if known.len() >= MOST {
                if !std::mem::replace(&mut full, true) {
                    let text = format!("more than {MOST} instances are not shown; name a replica");
                    let _ = pieces.send(LogPiece::Note(text)).await;
                }
                continue;
            }
            known.insert(part.epoch);
            let source = Source {
                handle: handle.clone(),
                id: id.clone(),
                host: part.host.clone(),
                way,
                slot: part.slot,
                epoch: part.epoch,
                tail,
                follow: query.follow,
            };
            tokio::spawn(source.run(pieces.clone()));
        }
        if !query.follow {
            return;
        }
        // Of what comes later everything is new.
        tail = u32::MAX;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = pieces.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use skyclaw_http_compat::LogLine;
    use skyclaw_protocol::clock::Wall;

    use super::*;

    #[test]
    fn lines_of_an_instance_keep_their_order_though_its_clock_was_set_back() {
        let line = |epoch: u64, at: u64, text: &str| {
            let (stream, host) = ("stdout".to_owned(), "h".to_owned());
            let at = Wall(at);
            LogPiece::Line(LogLine {
                at,
                stream,
                line: text.into(),
                replica: 0,
                host,
                epoch,
                number: None,
            })
        };
        let all = vec![
            line(1, 10, "a"),
            line(1, 12, "b"),
            line(1, 5, "c"),
            line(1, 13, "e"),
            line(2, 11, "x"),
            line(2, 12, "y"),
            LogPiece::Note("n".into()),
        ];
        let text = |piece| match piece {
            LogPiece::Line(line) => line.line,
            LogPiece::Note(text) => text,
        };
        let shown: String = in_order(all).into_iter().map(text).collect();
        assert_eq!(shown, "naxbcye");
    }
}
