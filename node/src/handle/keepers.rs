//! Jobs that are kept elsewhere: where this node has nothing of one, or something that may be old, those are asked with whom its
//! shard is placed.
//!
//! Always: one hop, one after the other, each for a while; what they answer is checked like any record, shown and not
//! filed. That there is no such job is only said where most of them say so.

use std::time::Duration;

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

/// So many are waited for in vain; a caller has an answer within some seconds.
const MOST_SILENT: usize = 2;

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
        // Whoever votes on a job hears of each change.
        if own.as_ref().is_some_and(|own| has_ended(own.status)) || self.votes_on(id)? {
            return Ok(own);
        }
        match (self.ask_keepers(id, &keepers).await, own) {
            (Said::Job(job), _) => Ok(Some(*job)),
            (_, Some(own)) => Ok(Some(own)),
            (Said::Nothing, None) => Ok(None),
            (Said::TooLittle, None) => {
                Err(Refusal::HomeAway { what: format!("job {id}"), job: Some(id.clone()) })
            }
        }
    }

    /// A job that an answer names; where it left since it was answered, as it stands where it is kept.
    pub(super) async fn job_at_or_of_keepers(&self, at: &JobAt) -> Result<JobView, Refusal> {
        let here = self.job_at(at);
        if let (Err(Refusal::UnknownJob(_)), Some(keepers)) = (&here, self.keepers(&at.job))
            && let Said::Job(job) = self.ask_keepers(&at.job, &keepers).await
        {
            return Ok(*job);
        }
        here
    }

    /// With whom the job is placed, if it is not with this node.
    fn keepers(&self, id: &JobId) -> Option<Vec<NodeId>> {
        let duties = self.0.shared.duties().filter(|duties| !duties.is_full())?;
        let shard = Shard::of(id);
        (!duties.duty().holds(shard)).then(|| duties.replicas(shard).collect())
    }

    fn votes_on(&self, id: &JobId) -> Result<bool, Refusal> {
        let stored = self.reader()?.register(&Subject::Job(id.clone())).map_err(store_refusal)?;
        let me = self.node();
        Ok(stored.is_some_and(|it| me.is_some_and(|me| it.spec.body().voters.contains(&me))))
    }

    async fn ask_keepers(&self, id: &JobId, keepers: &[NodeId]) -> Said {
        let connected = self.0.shared.coordinators();
        let ask = codec::encode(&ShardAsk::Job(id.clone()));
        let (mut unknown, mut silent) = (0, 0);
        for node in keepers.iter().filter(|node| connected.contains(node)) {
            match self.0.net.ask(*node, Service::Shards, ask.clone(), PATIENCE).await {
                Ok(answer) => match self.told(id, &answer) {
                    Some(Some(job)) => return Said::Job(Box::new(job)),
                    Some(None) => unknown += 1,
                    None => silent += 1,
                },
                Err(_) => silent += 1,
            }
            if unknown > keepers.len() / 2 {
                return Said::Nothing;
            }
            if silent >= MOST_SILENT {
                return Said::TooLittle;
            }
        }
        Said::TooLittle
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
