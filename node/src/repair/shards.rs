//! Sessions where not everybody keeps everything, and the questions of all sessions as they travel.

use skyclaw_protocol::repair::{Item, MAX_MESSAGE, Memory, RepairAsk, RepairTell};
use skyclaw_protocol::shards::{HeldJob, ShardAsk, ShardSet, ShardTell};
use skyclaw_protocol::{NodeId, codec};

use super::drive::Ended;
use super::learn::Patience;
use super::numbers::Numbers;
use super::{Repair, Transport};
use crate::net::Service;

/// What another coordinator asks.
pub(super) enum Question {
    /// About all records of a service.
    Plain(RepairAsk),
    /// What this node keeps.
    Kept,
    /// About some shards.
    Within(ShardSet, RepairAsk),
    /// What this node holds of some jobs.
    Hold(Vec<HeldJob>),
}

impl Question {
    /// `None` for what no honest node asks.
    pub(super) fn read(service: Service, bytes: &[u8]) -> Option<Self> {
        if service != Service::Shards {
            let ask = codec::decode::<RepairAsk>(bytes, MAX_MESSAGE).ok()?;
            return ask.holds().then_some(Self::Plain(ask));
        }
        let ask = codec::decode::<ShardAsk>(bytes, MAX_MESSAGE).ok()?;
        Some(match ask {
            ask if !ask.holds() => return None,
            ShardAsk::Kept(_) => Self::Kept,
            ShardAsk::About(scope, ask) => Self::Within(scope, *ask),
            ShardAsk::Hold(jobs) => Self::Hold(jobs),
            // Heard before.
            ShardAsk::Job(_) => return None,
        })
    }
}

/// A question as it is sent: about some shards or about everything.
pub(super) fn encode(scope: Option<ShardSet>, ask: &RepairAsk) -> Vec<u8> {
    match scope {
        Some(scope) => codec::encode(&ShardAsk::About(scope, Box::new(ask.clone()))),
        None => codec::encode(ask),
    }
}

/// The answer to it; `None` if it does not decode.
pub(super) fn decode(scope: Option<ShardSet>, answer: &[u8]) -> Option<RepairTell> {
    match scope {
        None => codec::decode(answer, MAX_MESSAGE).ok(),
        Some(_) => match tell(answer)? {
            ShardTell::Told(tell) => Some(*tell),
            ShardTell::Kept(_) | ShardTell::Held(_) | ShardTell::Job(_) => None,
        },
    }
}

/// The answer to a question of this kind; `None` if it does not decode.
pub(super) fn tell(answer: &[u8]) -> Option<ShardTell> {
    codec::decode(answer, MAX_MESSAGE).ok()
}

impl Repair {
    /// What this node keeps.
    pub(super) fn kept(&self) -> ShardSet {
        self.source.kept().unwrap_or(ShardSet::ALL)
    }

    /// A session about what both sides keep, where this one does not keep everything.
    ///
    /// # Errors
    /// [`Ended`] if it did not come to its end.
    pub(super) fn shards_with(
        &self,
        transport: &dyn Transport,
        peer: NodeId,
        mine: ShardSet,
        memory: &mut Memory,
        patience: &Patience<'_>,
    ) -> Result<Option<Item>, Ended> {
        let ask = codec::encode(&ShardAsk::Kept(mine));
        let answer = self.send(transport, peer, Service::Shards, ask, patience)?;
        let theirs = match codec::decode::<ShardTell>(&answer, MAX_MESSAGE) {
            Ok(ShardTell::Kept(theirs)) => theirs,
            Ok(_) | Err(_) => {
                Numbers::add(&self.numbers.refused, 1);
                return Err(Ended::Malformed);
            }
        };
        let about = (Service::Shards, Some(mine.meet(&theirs)));
        self.session_about(transport, peer, about, memory, patience)
    }
}
