//! Answering what members ask, each question in a task of its own.
//!
//! Always: the work on a question ends when its asker goes away; what is beyond a bound is dropped
//! and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::swarm::Stream;
use skyclaw_protocol::NodeId;
use skyclaw_protocol::network::Roles;
use tokio::sync::Semaphore;

use super::counts::Overstep;
use super::frames::{Service, Sink};
use super::limits::{
    ANSWER_WRITE, LARGE_QUESTION, MAX_FRAME, MAX_LARGE_QUESTIONS, MAX_QUESTIONS,
    MAX_QUESTIONS_PER_PEER, QUESTION_READ,
};
use super::members::{Rank, node_of};
use super::pace::Step;
use super::places::Places;
use super::streams::{self, Incoming};
use super::view::Shared;
use crate::tasks::Tasks;

/// Takes questions. Cheap to clone; clones share the bounds.
#[derive(Clone)]
pub(super) struct Desk {
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    tasks: Tasks,
    places: Arc<Places>,
    room: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(shared: Arc<Shared>, sink: Arc<dyn Sink>, tasks: Tasks) -> Self {
        Self {
            shared,
            sink,
            tasks,
            places: Places::new(MAX_QUESTIONS_PER_PEER),
            room: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            large: Arc::new(Semaphore::new(MAX_LARGE_QUESTIONS)),
        }
    }

    /// Takes the questions of one service until the node stops. Only spawns.
    pub(super) async fn serve(self, service: Service, mut incoming: Incoming) {
        let stop = self.tasks.token();
        loop {
            let (peer, stream) = tokio::select! {
                () = stop.cancelled() => return,
                next = incoming.next() => match next {
                    Some(next) => next,
                    None => return,
                },
            };
            let may = match (self.shared.members.rank(&peer), service) {
                (Some(_), Service::Member) | (Some(Rank::Coordinator), _) => true,
                // What of it each role may ask is looked at where the question is read.
                (Some(Rank::Other), Service::Host) => self.shared.members.may(&peer, Roles::ALL),
                (Some(Rank::Other), Service::Repair | Service::Control | Service::Shards)
                | (None, _) => false,
            };
            if !may && self.shared.members.rank(&peer).is_some() {
                self.shared.counts.overstepped(Overstep::Questions);
            }
            let place = may.then(|| self.places.take(peer)).flatten();
            let (Some(from), Some(place), Ok(permit)) =
                (node_of(&peer), place, Arc::clone(&self.room).try_acquire_owned())
            else {
                self.shared.counts.asks_refused.fetch_add(1, Relaxed);
                continue;
            };
            let (this, stop) = (self.clone(), stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    served = this.one(service, (peer, from), stream) => {
                        let counts = &this.shared.counts;
                        let count = match served {
                            Ok(true) => &counts.asks_answered,
                            Ok(false) => &counts.asks_given_up,
                            Err(Refused) => &counts.asks_refused,
                        };
                        count.fetch_add(1, Relaxed);
                    }
                }
                drop((place, permit));
            });
        }
    }

    /// True once an answer was sent, false if the asker went away or gets none.
    async fn one(
        &self,
        service: Service,
        (peer, from): (PeerId, NodeId),
        mut stream: Stream,
    ) -> Result<bool, Refused> {
        let units = match service {
            Service::Host | Service::Member => 1,
            // A page of records is read for it.
            Service::Repair | Service::Control | Service::Shards => 8,
        };
        // Its place is taken meanwhile, so that it can have no more than those waiting.
        self.shared.paces.hold_up(Step::Questions, peer, units).await;
        let read = tokio::time::timeout(QUESTION_READ, self.question(&mut stream));
        let question = read.await.map_err(|_| Refused)??;
        let answer = {
            let mut stray = [0];
            tokio::select! {
                answer = self.answer(service, from, question) => answer,
                // An asker says nothing more: it is gone, or no asker.
                _ = stream.read(&mut stray) => return Ok(false),
            }
        };
        let Some(answer) = answer.filter(|answer| answer.len() <= MAX_FRAME) else {
            // An end in order: the asker must see that its stream was taken.
            let _ = tokio::time::timeout(ANSWER_WRITE, stream.close()).await;
            return Ok(false);
        };
        let write = tokio::time::timeout(ANSWER_WRITE, reply(&mut stream, &answer));
        Ok(matches!(write.await, Ok(Ok(()))))
    }

    async fn answer(&self, service: Service, from: NodeId, question: Vec<u8>) -> Option<Vec<u8>> {
        match service {
            Service::Member => self.shared.membership.tickets()?.answer(from, question).await,
            Service::Host | Service::Repair | Service::Control | Service::Shards => {
                self.sink.answer(service, from, question).await
            }
        }
    }

    async fn question(&self, stream: &mut Stream) -> Result<Vec<u8>, Refused> {
        if !streams::take(stream).await {
            return Err(Refused);
        }
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.map_err(|_| Refused)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(Refused);
        }
        let large = length > LARGE_QUESTION;
        let _room = match large {
            true => Some(self.large.try_acquire().map_err(|_| Refused)?),
            false => None,
        };
        streams::body(stream, length).await.ok_or(Refused)
    }
}

/// The question was not heard.
struct Refused;

async fn reply(stream: &mut Stream, answer: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(answer.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(answer).await?;
    stream.close().await
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("room", &self.room.available_permits()).finish_non_exhaustive()
    }
}
