//! Jobs that are kept elsewhere: where this node has nothing of one, or something that may be old, those are asked with whom its
//! shard is placed.
//!
//! Always: one hop, to all at once, each for a while; what they answer is checked like any record, shown and not
//! filed. That there is no such job is only said where most of them say so and none that is connected says nothing: one
//! with whom the shard was placed just now may not have it yet.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skyclaw_protocol::batch::{JobAt, Shelf};
use skyclaw_protocol::learned::{self, Learned};
use skyclaw_protocol::machine::is_borne_out;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::repair::{MAX_MESSAGE, Records};
use skyclaw_protocol::shards::{Shard, ShardAsk, ShardTell};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{JobId, JobView, NodeId, Refusal, codec, fold};

use super::originals::has_ended;
use super::{NodeHandle, store_refusal};
use crate::net::Service;
use crate::time;

/// How long one of them is waited for: a read and two ways, with room for a busy disk.
const PATIENCE: Duration = Duration::from_millis(1500);

/// With whom a job is placed.
struct Keepers {
    /// Beside this node.
    others: Vec<NodeId>,
    /// Whether it is placed with this node, too.
    is_one: bool,
}

/// What those who keep a job say.
enum Said {
    /// How it stands.
    Job(Box<JobView>),
    /// Most of them know of none.
    Nothing,
    /// Too few answer.
    TooLittle,
}

impl NodeHandle {
    /// True where this node keeps a part of the jobs alone.
    pub(super) fn keeps_a_part(&self) -> bool {
        self.0.shared.duties().is_some_and(|duties| !duties.is_full())
    }

    /// A job as it is shown, where this node has `own` of it.
    pub(super) async fn job_or_of_keepers(
        &self,
        id: &JobId,
        own: Option<JobView>,
    ) -> Result<Option<JobView>, Refusal> {
        let Some(keepers) = self.keepers(id) else { return Ok(own) };
        // Whoever votes on a job, or keeps it, hears of each change. Who is to keep it may have nothing of it yet.
        let hears = || Ok(keepers.is_one || self.votes_on(id)?);
        if let Some(own) = &own
            && (has_ended(own.status) || hears()?)
        {
            return Ok(Some(own.clone()));
        }
        match (self.ask_keepers(id, &keepers).await, own) {
            // They may hear later of what was done here.
            (Said::Job(job), Some(own)) if own.version > job.version => Ok(Some(own)),
            (Said::Job(job), _) => Ok(Some(*job)),
            (_, Some(own)) => Ok(Some(own)),
            (Said::Nothing, None) => Ok(None),
            (Said::TooLittle, None) => Err(Refusal::job_away(id)),
        }
    }

    /// A job that an answer names; where it left since it was answered, as it stands where it is kept.
    pub(super) async fn job_at_or_of_keepers(&self, at: &JobAt) -> Result<JobView, Refusal> {
        let here = self.job_at(at);
        let (Err(Refusal::UnknownJob(_)), Some(keepers)) = (&here, self.keepers(&at.job)) else {
            return here;
        };
        match self.ask_keepers(&at.job, &keepers).await {
            Said::Job(job) => Ok(*job),
            Said::Nothing => here,
            Said::TooLittle => Err(Refusal::job_away(&at.job)),
        }
    }

    /// With whom the job is placed, unless everybody keeps everything.
    fn keepers(&self, id: &JobId) -> Option<Keepers> {
        let duties = self.0.shared.duties().filter(|duties| !duties.is_full())?;
        let shard = Shard::of(id);
        let me = self.node();
        let others = duties.replicas(shard).filter(|node| Some(*node) != me).collect();
        Some(Keepers { others, is_one: duties.duty().holds(shard) })
    }

    fn votes_on(&self, id: &JobId) -> Result<bool, Refusal> {
        let stored = self.reader()?.register(&Subject::Job(id.clone())).map_err(store_refusal)?;
        let me = self.node();
        Ok(stored.is_some_and(|it| me.is_some_and(|me| it.spec.body().voters.contains(&me))))
    }

    async fn ask_keepers(&self, id: &JobId, keepers: &Keepers) -> Said {
        let connected = self.0.shared.coordinators();
        let ask = codec::encode(&ShardAsk::Job(id.clone()));
        let there = keepers.others.iter().filter(|node| connected.contains(node));
        let mut answers: FuturesUnordered<_> = there
            .map(|node| self.0.net.ask(*node, Service::Shards, ask.clone(), PATIENCE))
            .collect();
        // This one has nothing of it, too, or would not ask.
        let (mut unknown, mut silent) = (usize::from(keepers.is_one), 0);
        while let Some(answer) = answers.next().await {
            match answer.ok().and_then(|answer| self.told(id, &answer)) {
                Some(Some(job)) => return Said::Job(Box::new(job)),
                Some(None) => unknown += 1,
                None => silent += 1,
            }
        }
        let all = keepers.others.len() + usize::from(keepers.is_one);
        if silent == 0 && unknown > all / 2 { Said::Nothing } else { Said::TooLittle }
    }

    /// What an answer says of this job: `Some(None)` that it is not known there, `None` if it says nothing.
    fn told(&self, id: &JobId, answer: &[u8]) -> Option<Option<JobView>> {
        let Ok(ShardTell::Job(records)) = codec::decode(answer, MAX_MESSAGE) else { return None };
        let Records { mut registers, mut stubs, .. } = *records;
        let message = match (registers.pop(), stubs.pop()) {
            (Some(known), _) => Message::Known(vec![known]),
            (None, Some(stub)) => Message::Stubs(vec![stub]),
            (None, None) => return Some(None),
        };
        let now = time::now();
        let learned = learned::check(message, self.0.network, now.wall).ok()?.pop()?;
        let job = match &learned {
            Learned::Register(standing) if is_borne_out(standing, now) => {
                let result = standing.result().map(Signed::body);
                let val = &standing.certificate().body().val;
                fold::job_view(standing.spec()?.body(), val, result, None, now.wall)?
            }
            Learned::Stub(stub) => fold::stub_view(stub)?,
            _ => return None,
        };
        (job.id == *id).then_some(Some(job))
    }
}
