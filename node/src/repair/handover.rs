//! Handing over what this node holds and is not to keep, where not everybody keeps everything: the asker's side.
//!
//! It goes through the records in the order in which they changed. Those of other shards than its own it asks about
//! at all with whom they are placed ([`Round`]); what one lacks is offered, what one has later is fetched. What all of
//! them hold the engine may delete. What this node votes on stays, and is looked at again only once it changes.
//!
//! Always: nothing is remembered over a start, nor once shards are placed otherwise: everything is looked at anew then. The
//! engine decides what goes; a look that failed lets nothing go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::repair::{Item, MAX_MOVED, MAX_RECORDS, RepairAsk, RepairTell};
use skyclaw_protocol::shards::{
    Duties, HeldJob, Holding, Round, Shard, ShardSet, ShardTell, ToMove,
};
use skyclaw_protocol::{JobId, NodeId, codec};
use skyclaw_store::{ReadError, Reader};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::drive::Ended;
use super::gather::gather;
use super::learn::Patience;
use super::numbers::Numbers;
use super::{PERIOD, Repair, Transport, shards};
use crate::engine::Input;
use crate::net::Service;
use crate::time;

/// Records looked at in one step: their keys are some hundred kilobytes.
const LOOKED: usize = 8192;

/// Pause between two steps while there is more to look at: a few thousand jobs a second at most, whose questions take a
/// twentieth of what a peer may ask.
const STEP: Duration = Duration::from_millis(100);

/// What changed so long before the end of a pass is looked at again in the next one: clocks differ, and records come late.
const MARGIN_MS: u64 = 120_000;

/// After so long everything is looked at again: a replica may have lost its disk, and what came here by an answer may be
/// older than the margin.
const ALL_AGAIN: Duration = Duration::from_secs(3600);

/// Longest step; those it asks have less each.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far this node is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Under which placement; none while everybody keeps everything.
    duties: Option<Arc<Duties>>,
    began: Option<Instant>,
    /// Where the next step begins.
    at: Option<Item>,
    /// Where the next pass begins, so far: what all hold lies before.
    low: Option<Item>,
    /// What this node votes on and all hold. The latest [`MAX_MOVED`].
    settled: BTreeSet<Item>,
}

impl Progress {
    /// Begins anew where shards are placed otherwise, and after an hour.
    fn under(&mut self, duties: &Arc<Duties>) {
        let same = self.duties.as_ref().is_some_and(|known| Arc::ptr_eq(known, duties));
        let lately = self.began.is_some_and(|began| began.elapsed() < ALL_AGAIN);
        if !same || self.at.is_none() && !lately {
            let (duties, began) = (Some(Arc::clone(duties)), Some(Instant::now()));
            *self = Self { duties, began, low: Some(Item::FIRST), ..Self::default() };
        }
    }

    /// This one is to be looked at again.
    fn again(&mut self, item: Item) {
        self.low = Some(self.low.map_or(item, |low| low.min(item)));
    }

    fn settle(&mut self, item: Item) {
        self.settled.insert(item);
        if self.settled.len() > MAX_MOVED {
            self.settled.pop_first();
        }
    }

    /// A pass begins; where.
    fn begin(&mut self) -> Item {
        let from = self.low.take().unwrap_or(Item::FIRST);
        self.settled = self.settled.split_off(&from);
        from
    }
}

/// Beyond this item, before `now`, everything may still change places.
fn margin() -> Item {
    // The upper bits of a rank are milliseconds.
    Item { at: time::wall().0.saturating_sub(MARGIN_MS) << 16, ..Item::FIRST }
}

impl Repair {
    /// Hands over what is not kept here, until told to stop.
    pub async fn hand_over(
        self,
        transport: Arc<dyn Transport>,
        coordinators: watch::Receiver<Vec<NodeId>>,
        stop: CancellationToken,
    ) {
        let mut progress = Progress::default();
        let mut pause = PERIOD;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let (repair, transport, stop) = (self.clone(), Arc::clone(&transport), stop.clone());
            let connected = coordinators.borrow().clone();
            let runtime = Handle::current();
            let looked = tokio::task::spawn_blocking(move || {
                let until = Instant::now() + PATIENCE;
                let patience = Patience { runtime: &runtime, until, stop: &stop };
                let more = repair.look(transport.as_ref(), &connected, &mut progress, &patience);
                let more = more.unwrap_or_else(|why| {
                    tracing::debug!(%why, "handing over goes on another time");
                    progress = Progress::default();
                    false
                });
                (progress, more)
            });
            let more;
            (progress, more) = looked.await.unwrap_or_default();
            pause = if more { STEP } else { PERIOD };
        }
    }

    /// One step. True if the next one should follow soon.
    ///
    /// # Errors
    /// [`Ended`] if the store or the engine did not answer.
    pub(super) fn look(
        &self,
        transport: &dyn Transport,
        connected: &[NodeId],
        progress: &mut Progress,
        patience: &Patience<'_>,
    ) -> Result<bool, Ended> {
        let Some(duties) = self.source.duties().filter(|duties| !duties.is_full()) else {
            *progress = Progress::default();
            return Ok(false);
        };
        let (Some(reader), Some(key)) = (self.source.reader(), self.source.key()) else {
            return Err(Ended::NoStore);
        };
        progress.under(&duties);
        let from = progress.at.take().unwrap_or_else(|| progress.begin());
        let strays = reader.strays(duties.duty(), from, LOOKED, MAX_RECORDS)?;
        progress.at = strays.next;
        let open = strays.jobs.into_iter().filter(|(item, _)| !progress.settled.contains(item));
        let open: Vec<JobId> = open.map(|(_, job)| job).collect();
        let versions = reader.items_of(&open)?.into_iter();
        // As they stand by now; what went meanwhile is not asked about.
        let open: Vec<HeldJob> = open
            .into_iter()
            .zip(versions)
            .filter_map(|(job, held)| held.map(|(item, ver)| HeldJob { job, item, ver }))
            .collect();
        let found = open.len();
        let moved =
            self.round(transport, connected, (&reader, &key, &duties), open, progress, patience)?;
        if progress.at.is_none() {
            progress.again(margin());
            return Ok(false);
        }
        // Where nothing goes on, as while one of them is away, it need not be found out quickly.
        Ok(found == 0 || moved)
    }

    /// Asks about these. True if it was of use.
    fn round(
        &self,
        transport: &dyn Transport,
        connected: &[NodeId],
        (reader, key, duties): (&Reader, &NodeKey, &Arc<Duties>),
        open: Vec<HeldJob>,
        progress: &mut Progress,
        patience: &Patience<'_>,
    ) -> Result<bool, Ended> {
        let mut round = Round::new(Arc::clone(duties), open);
        let mut of_use = false;
        for (peer, about) in round.asked() {
            if patience.is_over() {
                break;
            }
            if !connected.contains(&peer) {
                continue;
            }
            let ask = codec::encode(&round.question(&about));
            // What one does not say the round waits for, another time.
            let Ok(answer) = self.send(transport, peer, Service::Shards, ask, patience) else {
                continue;
            };
            let moved = match shards::tell(&answer) {
                Some(ShardTell::Held(told)) => round.hear(&about, &told),
                // It is busy.
                Some(ShardTell::Told(_)) => continue,
                _ => None,
            };
            let Some(moved) = moved else {
                Numbers::add(&self.numbers.refused, 1);
                continue;
            };
            of_use |= moved != ToMove::default();
            if let Err(why) = self.move_with(transport, peer, (reader, key), moved, patience) {
                tracing::debug!(?peer, %why, "what it lacks is offered another time");
            }
        }
        let mut gone = Vec::new();
        for (HeldJob { job, item, .. }, everywhere) in round.done() {
            if !everywhere {
                progress.again(item);
            } else if votes(reader, key.id(), &job)? {
                progress.settle(item);
            } else {
                // Whether it went, the next pass sees.
                progress.again(item);
                gone.push((job, item));
            }
        }
        of_use |= !gone.is_empty();
        if !gone.is_empty() {
            Numbers::add(&self.numbers.handed_over, gone.len());
            let input = Input::HandedOver { duties: Arc::clone(duties), jobs: gone };
            if !self.put(input, patience) {
                return Err(Ended::Engine);
            }
        }
        Ok(of_use)
    }

    /// Offers what `peer` lacks, and fetches what it has later.
    fn move_with(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        (reader, key): (&Reader, &NodeKey),
        ToMove { lacking, later }: ToMove,
        patience: &Patience<'_>,
    ) -> Result<(), Ended> {
        let mut lacking = &lacking[..];
        while !lacking.is_empty() {
            let gathered = gather(reader, key, self.network, lacking, time::wall())?;
            Numbers::add(&self.numbers.sent, gathered.records.len());
            lacking = &lacking[gathered.done.clamp(1, lacking.len())..];
            if !gathered.records.is_empty() {
                let ask = RepairAsk::Offer(gathered.records);
                self.about(transport, peer, ShardSet::ALL, &ask, patience)?;
            }
        }
        let mut later = &later[..];
        while !later.is_empty() {
            let mut scope = ShardSet::NONE;
            later.iter().for_each(|(job, _)| scope.insert(Shard::of(job)));
            let items = later.iter().map(|(_, item)| *item).collect();
            match self.about(transport, peer, scope, &RepairAsk::Fetch(items), patience)? {
                RepairTell::Records(fetched) => {
                    let done = (fetched.done as usize).clamp(1, later.len());
                    later = &later[done..];
                    if !self.learn(peer, fetched.records, patience) {
                        return Err(Ended::Engine);
                    }
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn about(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        scope: ShardSet,
        ask: &RepairAsk,
        patience: &Patience<'_>,
    ) -> Result<RepairTell, Ended> {
        let bytes = shards::encode(Some(scope), ask);
        let answer = self.send(transport, peer, Service::Shards, bytes, patience)?;
        shards::decode(Some(scope), &answer).ok_or(Ended::Malformed)
    }

    /// What is held here of what another one asks about; `None` where nothing can be said now.
    pub(super) fn holdings(&self, asked: &[HeldJob]) -> Result<Option<Vec<Holding>>, ReadError> {
        let (Some(duties), Some(reader)) = (self.source.duties(), self.source.reader()) else {
            return Ok(None);
        };
        let held = reader.items_of(asked.iter().map(|asked| &asked.job))?;
        let told = asked.iter().zip(held);
        Ok(Some(told.map(|(asked, held)| Holding::of(&duties, asked, held)).collect()))
    }
}

/// Whether a job is to stay since this node votes on it; true of what cannot be read.
fn votes(reader: &Reader, me: NodeId, job: &JobId) -> Result<bool, Ended> {
    let subject = Subject::Job(job.clone());
    let stored = reader.register(&subject).map_err(|_| Ended::NoStore)?;
    Ok(stored.is_none_or(|stored| stored.spec.body().voters.contains(&me)))
}
