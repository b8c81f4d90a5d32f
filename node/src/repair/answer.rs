//! The answerer's side. Each ask stands for itself.

use std::sync::Arc;
use std::time::Instant;

use skyclaw_protocol::repair::{
    Copied, Fetched, Inventory, MAX_PAGE, RepairAsk, RepairTell, compare,
};
use skyclaw_protocol::shards::{ShardSet, ShardTell};
use skyclaw_protocol::{NodeId, codec};
use skyclaw_store::ReadError;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::learn::Patience;
use super::numbers::Numbers;
use super::shards::Question;
use super::{ANSWER_PATIENCE, Repair, copies, reads};
use crate::engine::chain;
use crate::net::Service;
use crate::time;

impl Repair {
    /// Answers a coordinator; `None` to what no honest one asks. To be dropped with the stream.
    pub async fn answer(&self, from: NodeId, service: Service, ask: Vec<u8>) -> Option<Vec<u8>> {
        if let Some(job) = reads::asked_for(service, &ask) {
            return self.read(job).await;
        }
        let Ok(permit) = Arc::clone(&self.answers).try_acquire_owned() else {
            return Some(sealed(service, RepairTell::Busy));
        };
        let (repair, runtime, begun) = (self.clone(), Handle::current(), Instant::now());
        let answered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let (ask, scope) = match Question::read(service, &ask) {
                Some(Question::Plain(ask)) => (ask, None),
                Some(Question::Within(scope, ask)) => (ask, Some(scope.meet(&repair.kept()))),
                Some(Question::Kept) => {
                    return Some((codec::encode(&ShardTell::Kept(repair.kept())), None));
                }
                Some(Question::Hold(jobs)) => {
                    let told = repair.holdings(&jobs).ok().flatten().map(ShardTell::Held);
                    let busy = || ShardTell::Told(Box::new(RepairTell::Busy));
                    return Some((codec::encode(&told.unwrap_or_else(busy)), None));
                }
                None => {
                    Numbers::add(&repair.numbers.refused, 1);
                    return None;
                }
            };
            let page = match &ask {
                RepairAsk::Copy(_) => match repair.copies.begin(from) {
                    Some(page) => Some(page),
                    None => return Some((sealed(service, RepairTell::Busy), None)),
                },
                _ => None,
            };
            let told = repair.tell(from, (service, scope), ask, &runtime);
            let tell = told.unwrap_or_else(|error| {
                tracing::debug!(error = chain(&error), "the store did not answer in repair");
                RepairTell::Busy
            });
            Some((sealed(service, tell), page))
        });
        let (answer, page) = answered.await.ok().flatten()?;
        if page.is_some() {
            // The next page is asked for once this one is there.
            tokio::time::sleep(copies::time(answer.len()).saturating_sub(begun.elapsed())).await;
        }
        Some(answer)
    }

    fn tell(
        &self,
        from: NodeId,
        (service, scope): (Service, Option<ShardSet>),
        ask: RepairAsk,
        runtime: &Handle,
    ) -> Result<RepairTell, ReadError> {
        // Whoever keeps a part has little in common with one that asks about everything, and would be offered all
        // the rest. It asks by itself.
        if service == Service::Repair && self.source.kept().is_some() {
            return Ok(RepairTell::Busy);
        }
        let (Some(held), Some(key)) = (self.held(service, scope), self.source.key()) else {
            return Ok(RepairTell::Busy);
        };
        Ok(match ask {
            RepairAsk::Compare(claims) => RepairTell::Compared(compare(&held, &claims)?),
            RepairAsk::Fetch(items) => {
                let gathered = held.gather(&key, self.network, &items, time::wall())?;
                Numbers::add(&self.numbers.sent, gathered.records.len());
                Numbers::add(&self.numbers.left_out, gathered.left_out);
                let done = u32::try_from(gathered.done).unwrap_or(u32::MAX);
                RepairTell::Records(Fetched { done, records: gathered.records })
            }
            RepairAsk::Copy(range) => {
                let mut items = held.items(range, MAX_PAGE + 1)?;
                let beyond = items.get(MAX_PAGE).copied();
                items.truncate(MAX_PAGE);
                let gathered = held.gather(&key, self.network, &items, time::wall())?;
                Numbers::add(&self.numbers.sent, gathered.records.len());
                Numbers::add(&self.numbers.left_out, gathered.left_out);
                Numbers::add(&self.numbers.pages, 1);
                let next = items.get(gathered.done).copied().or(beyond);
                RepairTell::Copied(Copied { next, records: gathered.records })
            }
            RepairAsk::Offer(records) => {
                let until = Instant::now() + ANSWER_PATIENCE;
                // Ends soon by itself.
                let stop = CancellationToken::new();
                let patience = Patience { runtime, until, stop: &stop };
                match self.learn(from, records, &patience) {
                    true => RepairTell::Taken,
                    false => RepairTell::Busy,
                }
            }
        })
    }
}

/// An answer as it travels under this service.
fn sealed(service: Service, tell: RepairTell) -> Vec<u8> {
    match service {
        Service::Shards => codec::encode(&ShardTell::Told(Box::new(tell))),
        _ => codec::encode(&tell),
    }
}
