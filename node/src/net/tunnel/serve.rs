//! Serving the tunnels that others open, each in a task of its own.
//!
//! Always: what is beyond a bound is refused with a reason, and beyond a second bound dropped; both
//! are counted.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::swarm::Stream;
use skyclaw_protocol::NodeId;
use skyclaw_protocol::network::{MemberRole, Roles};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::NetHandle;
use super::super::counts::Overstep;
use super::super::limits::{
    ANSWER_WRITE, LINGER, MAX_TUNNEL_HEADER, MAX_TUNNEL_REASON, MAX_TUNNELS, MAX_TUNNELS_PER_PEER,
    TUNNEL_ANSWER, TUNNEL_READ, TUNNELS_TO_REFUSE,
};
use super::super::members::{Rank, node_of};
use super::super::pace::Step;
use super::super::places::{Place, Places};
use super::super::streams::{self, Incoming, Way};
use super::super::view::Shared;
use super::{Duty, Hold, Serving, Tunnel, Tunnels};
use crate::tasks::Tasks;

/// Who serves what, as it becomes known.
#[derive(Default)]
pub(in super::super) struct Ports([OnceLock<Arc<dyn Tunnels>>; Duty::ALL.len()]);

impl NetHandle {
    /// From now on `port` serves the tunnels of a duty; before, and for duties that nobody serves,
    /// they are refused. False if somebody serves it already.
    pub fn serve(&self, duty: Duty, port: Arc<dyn Tunnels>) -> bool {
        self.0.ports.0[duty.index()].set(port).is_ok()
    }
}

/// Takes tunnels. Cheap to clone; clones share the bounds.
#[derive(Clone)]
pub(in super::super) struct Mouth {
    shared: Arc<Shared>,
    tasks: Tasks,
    places: Arc<Places>,
    room: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

/// Why there is none; empty if nobody would read it.
struct Not(String);

impl Mouth {
    pub(in super::super) fn new(shared: Arc<Shared>, tasks: Tasks) -> Self {
        Self {
            shared,
            tasks,
            places: Places::new(MAX_TUNNELS_PER_PEER),
            room: Arc::new(Semaphore::new(MAX_TUNNELS)),
            refusals: Arc::new(Semaphore::new(TUNNELS_TO_REFUSE)),
        }
    }

    /// Takes the tunnels of one duty until the node stops. Only spawns.
    pub(in super::super) async fn run(self, duty: Duty, mut incoming: Incoming) {
        let stop = self.tasks.token();
        loop {
            let way = tokio::select! {
                () = stop.cancelled() => return,
                next = incoming.next_way() => match next {
                    Some(next) => next,
                    None => return,
                },
            };
            // Whoever keeps, runs or leads to something; to invite others is no reason for one.
            let roles = [MemberRole::Coordinator, MemberRole::Host, MemberRole::Gateway];
            let may = self.shared.members.may(&way.peer, Roles::of(&roles));
            if !may && self.shared.members.rank(&way.peer).is_some() {
                self.shared.counts.overstepped(Overstep::Tunnels);
            }
            let Some(from) = node_of(&way.peer).filter(|_| may) else {
                self.shared.counts.tunnels_refused.fetch_add(1, Relaxed);
                continue;
            };
            let room = self.places.take(way.peer).ok_or("too many tunnels of this node");
            let room = room.and_then(|place| {
                let permit = Arc::clone(&self.room).try_acquire_owned();
                Ok((place, permit.map_err(|_| "too many tunnels")?))
            });
            let (this, stop) = (self.clone(), stop.clone());
            match room {
                Ok(room) => self.tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = this.one(duty, from, way, room) => {}
                    }
                }),
                Err(why) => {
                    self.shared.counts.tunnels_refused.fetch_add(1, Relaxed);
                    let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
                        continue;
                    };
                    self.tasks.spawn(async move {
                        let mut stream = way.stream;
                        if streams::take(&mut stream).await {
                            refuse(&mut stream, why).await;
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn one(&self, duty: Duty, from: NodeId, way: Way, room: (Place, OwnedSemaphorePermit)) {
        let mut stream = way.stream;
        self.shared.paces.hold_up(Step::Tunnels, way.peer, 1).await;
        let serving = match self.wanted(duty, from, &way.peer, &mut stream).await {
            Ok(serving) => serving,
            Err(Not(why)) => {
                self.shared.counts.tunnels_refused.fetch_add(1, Relaxed);
                return refuse(&mut stream, &why).await;
            }
        };
        let told = async { stream.write_all(&[0]).await.is_ok() && stream.flush().await.is_ok() };
        if tokio::time::timeout(ANSWER_WRITE, told).await != Ok(true) {
            return;
        }
        let hold = Hold::new(Arc::clone(&self.shared), way.path, way.user, Some(room));
        serving(Tunnel::new(stream, hold)).await;
    }

    /// Reads the header and asks who serves it.
    async fn wanted(
        &self,
        duty: Duty,
        from: NodeId,
        peer: &PeerId,
        stream: &mut Stream,
    ) -> Result<Serving, Not> {
        let header = tokio::time::timeout(TUNNEL_READ, header(stream)).await;
        let header = header.unwrap_or_else(|_| Err(Not("its header did not come".into())))?;
        // As it stands now: the header may have taken its time.
        let rank = self.shared.members.rank(peer);
        if duty.is_for_coordinators() && rank != Some(Rank::Coordinator) {
            // One that has left meanwhile did nothing wrong.
            if rank.is_some() {
                self.shared.counts.overstepped(Overstep::Tunnels);
            }
            return Err(Not("such tunnels are for coordinators".into()));
        }
        let Some(port) = self.shared.ports.0[duty.index()].get() else {
            return Err(Not("this node serves nothing of the kind".into()));
        };
        let served = tokio::time::timeout(TUNNEL_ANSWER, port.serve(duty, from, header)).await;
        served.unwrap_or_else(|_| Err("it takes too long".into())).map_err(Not)
    }
}

async fn header(stream: &mut Stream) -> Result<Vec<u8>, Not> {
    let gone = || Not(String::new());
    if !streams::take(stream).await {
        return Err(gone());
    }
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(|_| gone())?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_TUNNEL_HEADER {
        return Err(Not("its header is too long".into()));
    }
    streams::body(stream, length).await.ok_or_else(gone)
}

/// Says why not, and gives the other a moment to read it.
async fn refuse(stream: &mut Stream, why: &str) {
    let end = why.floor_char_boundary(MAX_TUNNEL_REASON);
    let mut bytes = vec![1];
    bytes.extend_from_slice(&u16::try_from(end).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(&why.as_bytes()[..end]);
    let said = async {
        if stream.write_all(&bytes).await.is_ok() && stream.close().await.is_ok() {
            let mut rest = [0; 64];
            while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
        }
    };
    // It need not read it.
    let _ = tokio::time::timeout(LINGER, said).await;
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let served = self.0.iter().filter(|port| port.get().is_some()).count();
        f.debug_struct("Ports").field("served", &served).finish()
    }
}

impl std::fmt::Debug for Mouth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mouth")
            .field("room", &self.room.available_permits())
            .finish_non_exhaustive()
    }
}
