//! The handshakes under way, each a task of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::handshake::{Failure, Party};
use super::limits::{AUTH_TIMEOUT, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_PEER};
use super::pace::Step;
use super::places::Places;
use super::streams::{self, AUTH, Control, Incoming};
use super::swarm::Word;
use super::view::Shared;
use crate::tasks::Tasks;

/// Pause before a handshake that broke is begun again.
const AGAIN: Duration = Duration::from_millis(100);

/// Begins handshakes.
#[derive(Clone)]
pub(super) struct Greeter {
    pub(super) own: PeerId,
    pub(super) shared: Arc<Shared>,
    pub(super) control: Control,
    pub(super) words: mpsc::Sender<Word>,
    pub(super) tasks: Tasks,
}

impl Greeter {
    fn party(&self, remote: PeerId) -> Party<'_> {
        Party {
            membership: &self.shared.membership,
            own: self.own,
            remote,
            nonce: rand::random(),
            description: self.shared.description(),
        }
    }

    /// Introduces ourselves to `peer`, whom we called. One task per call, at most five seconds.
    pub(super) fn open(&self, peer: PeerId) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let met = tokio::time::timeout(AUTH_TIMEOUT, async {
                loop {
                    if let Some(mut stream) = streams::open(&this.control, peer, AUTH).await {
                        let ended = this.party(peer).open(&mut stream).await;
                        if ended != Err(Failure::Broken) {
                            return ended;
                        }
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            });
            let outcome = met.await.unwrap_or(Err(Failure::Broken));
            // A swarm that has ended needs no news.
            let _ = this.words.send(Word::Met { peer, outcome }).await;
        });
    }

    /// Takes the handshakes of those who called us. Only spawns.
    pub(super) async fn accept(self, mut incoming: Incoming, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        let places = Places::new(MAX_HANDSHAKES_PER_PEER);
        loop {
            let (peer, mut stream) = tokio::select! {
                () = stop.cancelled() => return,
                next = incoming.next() => match next {
                    Some(next) => next,
                    None => return,
                },
            };
            if !self.shared.paces.allows(Step::Handshakes, peer, 1, Instant::now()) {
                self.shared.counts.handshakes_dropped.fetch_add(1, Relaxed);
                continue;
            }
            let Some(place) = places.take(peer) else {
                self.shared.counts.handshakes_dropped.fetch_add(1, Relaxed);
                continue;
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                self.shared.counts.handshakes_dropped.fetch_add(1, Relaxed);
                continue;
            };
            let this = self.clone();
            self.tasks.spawn(async move {
                if this.shared.members.rank(&peer).is_some() {
                    // A swarm that has ended needs no news.
                    let _ = this.words.send(Word::Knock { peer }).await;
                }
                let met = tokio::time::timeout(AUTH_TIMEOUT, async {
                    if !streams::take(&mut stream).await {
                        return Err(Failure::Broken);
                    }
                    this.party(peer).accept(&mut stream).await
                });
                let outcome = met.await.unwrap_or(Err(Failure::Broken));
                let _ = this.words.send(Word::Met { peer, outcome }).await;
                drop((place, permit));
            });
        }
    }
}
