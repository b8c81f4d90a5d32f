//! Reading a job for another coordinator that does not keep it.

use std::sync::Arc;

use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::repair::{Records, RepairTell};
use skyclaw_protocol::shards::{ShardAsk, ShardTell};
use skyclaw_protocol::{JobId, codec};
use skyclaw_store::ReadError;

use super::Repair;
use super::gather::gather;
use crate::engine::chain;
use crate::net::Service;
use crate::time;

/// Longest question of this kind: an id, and the names around it. Longer ones are not even decoded as one.
const QUESTION: usize = 512;

/// The job that is asked for, if that is the question.
pub(super) fn asked_for(service: Service, ask: &[u8]) -> Option<JobId> {
    if service != Service::Shards || ask.len() > QUESTION {
        return None;
    }
    match codec::decode(ask, QUESTION) {
        Ok(ShardAsk::Job(job)) => Some(job),
        _ => None,
    }
}

impl Repair {
    /// What is known of a job here, for whoever is asked for it elsewhere.
    pub(super) async fn read(&self, job: JobId) -> Option<Vec<u8>> {
        let busy = || Some(codec::encode(&ShardTell::Told(Box::new(RepairTell::Busy))));
        let Ok(permit) = Arc::clone(&self.reads).try_acquire_owned() else { return busy() };
        let repair = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            repair.record_of(&job)
        });
        match read.await.ok()? {
            Ok(Some(records)) => Some(codec::encode(&ShardTell::Job(Box::new(records)))),
            Ok(None) => busy(),
            Err(error) => {
                tracing::debug!(
                    error = chain(&error),
                    "the store did not answer a reader elsewhere"
                );
                busy()
            }
        }
    }

    /// Its record, or none where none is known; `None` while the store cannot be used.
    fn record_of(&self, job: &JobId) -> Result<Option<Records>, ReadError> {
        let (Some(reader), Some(key)) = (self.source.reader(), self.source.key()) else {
            return Ok(None);
        };
        if let Some((item, _)) = reader.items_of([job])?.pop().flatten() {
            let gathered = gather(&reader, &key, self.network, &[item], time::wall())?;
            if !gathered.records.is_empty() {
                return Ok(Some(gathered.records));
            }
        }
        // Where a part of it is missing, or nothing is known to be chosen yet, somebody else may know.
        let is_known = reader.register(&Subject::Job(job.clone())).map_or(true, |it| it.is_some());
        Ok((!is_known).then(Records::default))
    }
}
