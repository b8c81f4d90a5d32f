//! Questions to the DHT: where a node is, and who has something.
//!
//! Always: what it says is a hint, since any member may say anything there; questions are bounded in
//! number and time. Coordinators alone answer, so that they alone are in the tables.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{
    self, GetClosestPeersError, GetProvidersOk, InboundRequest, QueryId, QueryResult, RecordKey,
};
use skyclaw_protocol::NodeId;
use tokio::sync::oneshot;

use super::NetHandle;
use super::address;
use super::limits::{LOOKUP, MAX_LOOKUPS, MAX_PROVIDERS};
use super::members::node_of;
use super::swarm::{Task, Word};

/// Keys that this node may say it has.
const MAX_PROVIDED: usize = 1024;

/// How soon what is had is told to a coordinator that came.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Questions under way, and what this node said it has.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    open: HashMap<QueryId, Lookup>,
    provided: Provided,
    tell: Option<Instant>,
}

/// What this node says it has, told longest ago first.
#[derive(Debug, Default)]
struct Provided(VecDeque<RecordKey>);

impl Provided {
    /// Adds one; the answer is the one that makes room for it.
    fn add(&mut self, key: RecordKey) -> Option<RecordKey> {
        self.remove(&key);
        let gone = if self.0.len() < MAX_PROVIDED { None } else { self.0.pop_front() };
        self.0.push_back(key);
        gone
    }

    fn remove(&mut self, key: &RecordKey) {
        self.0.retain(|known| known != key);
    }
}

#[derive(Debug)]
enum Lookup {
    Node(PeerId),
    Providers { found: Vec<NodeId>, tell: oneshot::Sender<Vec<NodeId>> },
}

/// A word about who has what.
#[derive(Debug)]
pub(super) enum Ask {
    Provide(RecordKey),
    Withdraw(RecordKey),
    Who(RecordKey, oneshot::Sender<Vec<NodeId>>),
}

impl NetHandle {
    /// Says to others that this node has the content with this hash, again and again, until
    /// [`NetHandle::stop_providing`]. A thousand hashes at most are told, the latest ones.
    pub async fn provide(&self, hash: [u8; 32]) {
        self.say(Word::Dht(Ask::Provide(RecordKey::new(&hash)))).await;
    }

    /// Others forget it within an hour.
    pub async fn stop_providing(&self, hash: [u8; 32]) {
        self.say(Word::Dht(Ask::Withdraw(RecordKey::new(&hash)))).await;
    }

    /// Some of those who say that they have the content with this hash. A hint: it may be wrong and
    /// it may lack any.
    pub async fn providers(&self, hash: [u8; 32]) -> Vec<NodeId> {
        let (tell, told) = oneshot::channel();
        self.say(Word::Dht(Ask::Who(RecordKey::new(&hash), tell))).await;
        // The swarm ends its questions by itself; this is for one that is stuck.
        let told = tokio::time::timeout(2 * LOOKUP, told).await;
        told.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Task {
    pub(super) fn ask_dht(&mut self, ask: Ask) {
        let kad = self.swarm.behaviour_mut().kad.inner();
        match ask {
            Ask::Provide(key) => {
                if let Some(gone) = self.lookups.provided.add(key.clone()) {
                    tracing::debug!("more is had than is told");
                    kad.stop_providing(&gone);
                }
                if let Err(error) = kad.start_providing(key) {
                    tracing::debug!(%error, "it is not told who has something");
                }
            }
            Ask::Withdraw(key) => {
                self.lookups.provided.remove(&key);
                kad.stop_providing(&key);
            }
            Ask::Who(key, tell) => {
                // Dropping `tell` says that nobody is known.
                if self.lookups.open.len() < MAX_LOOKUPS {
                    let id = kad.get_providers(key);
                    self.lookups.open.insert(id, Lookup::Providers { found: Vec::new(), tell });
                }
            }
        }
    }

    /// Asks where a node is. The nodes asked are called on the way, so that there are more relays.
    pub(super) fn find_node(&mut self, peer: PeerId) -> Option<QueryId> {
        if self.lookups.open.len() >= MAX_LOOKUPS {
            return None;
        }
        let id = self.swarm.behaviour_mut().kad.inner().get_closest_peers(peer);
        self.lookups.open.insert(id, Lookup::Node(peer));
        Some(id)
    }

    /// A coordinator came: it is told what we have.
    pub(super) fn tell_what_is_had(&mut self, now: Instant) {
        if !self.lookups.provided.0.is_empty() {
            self.lookups.tell.get_or_insert(now + TELL_AFTER);
        }
    }

    pub(super) fn look_at_lookups(&mut self, now: Instant) {
        if self.lookups.tell.is_some_and(|tell| tell <= now) {
            self.lookups.tell = None;
            let kad = self.swarm.behaviour_mut().kad.inner();
            for key in &self.lookups.provided.0 {
                // It was stored before.
                let _ = kad.start_providing(key.clone());
            }
        }
    }

    pub(super) fn take_dht(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.progressed(id, result, step.last);
            }
            kad::Event::InboundRequest {
                request: InboundRequest::AddProvider { record: Some(record) },
            } => {
                // Only of members that speak for themselves, and the store is bounded.
                let kad = self.swarm.behaviour_mut().kad.inner();
                let member = self.shared.members.rank(&record.provider).is_some();
                if member && record.key.as_ref().len() == 32 {
                    // A full store takes no more.
                    let _ = kad.store_mut().add_provider(record);
                }
            }
            _ => {}
        }
    }

    fn progressed(&mut self, id: QueryId, result: QueryResult, last: bool) {
        match (self.lookups.open.get_mut(&id), result) {
            (
                Some(Lookup::Providers { found, .. }),
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                for node in providers.iter().filter_map(node_of) {
                    if found.len() < MAX_PROVIDERS && !found.contains(&node) {
                        found.push(node);
                    }
                }
            }
            (Some(Lookup::Node(peer)), QueryResult::GetClosestPeers(result)) => {
                let peer = *peer;
                let closest = match result {
                    Ok(ok) => ok.peers,
                    Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                self.lookups.open.remove(&id);
                let mut own = Vec::new();
                for known in closest {
                    let addresses = address::of_peer(known.peer_id, known.addrs, false);
                    if known.peer_id == peer {
                        own = addresses;
                    } else if !self.links.contains_key(&known.peer_id) {
                        self.hear_of(known.peer_id, addresses, false);
                    }
                }
                self.looked_up(peer, own);
                return;
            }
            _ => {}
        }
        if last && let Some(lookup) = self.lookups.open.remove(&id) {
            match lookup {
                // Whoever asked may be gone.
                Lookup::Providers { found, tell } => drop(tell.send(found)),
                Lookup::Node(peer) => self.looked_up(peer, Vec::new()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> RecordKey {
        RecordKey::new(&number.to_be_bytes())
    }

    #[test]
    fn of_more_than_can_be_told_the_latest_is() {
        let mut provided = Provided::default();
        for number in 0..MAX_PROVIDED {
            assert_eq!(provided.add(key(number)), None);
        }
        assert_eq!(provided.add(key(0)), None, "told anew it is the latest");
        assert_eq!(provided.add(key(MAX_PROVIDED)), Some(key(1)));
        provided.remove(&key(2));
        assert_eq!(provided.add(key(MAX_PROVIDED + 1)), None, "what is gone made room");
        assert_eq!(provided.add(key(MAX_PROVIDED + 2)), Some(key(3)));
        assert_eq!(provided.0.len(), MAX_PROVIDED);
    }
}
