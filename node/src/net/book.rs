//! The peers once met: who they are, where they were, when to call again.
//!
//! Always: bounded; what is on disk is a hint, so a file that cannot be read is said and ignored.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skyclaw_protocol::{NetworkId, codec};

use super::address;
use super::limits::{
    BACKOFF, BOOK_DAYS, MAX_ADDRESSES, MAX_BOOK, MAX_BOOK_BYTES, MAX_HEARSAY_FAILURES,
};

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) next: Instant,
    failures: u32,
}

impl Backoff {
    pub(super) const fn at(next: Instant) -> Self {
        Self { next, failures: 0 }
    }

    /// Doubles from attempt to attempt, with chance, so that nodes that fell together do not call
    /// together.
    pub(super) fn fail(&mut self, now: Instant) {
        let (first, most) = BACKOFF;
        let wait = first.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures = self.failures.saturating_add(1);
        self.next = now + wait.mul_f64(rand::random_range(0.5..=1.0));
    }

    pub(super) const fn reset(&mut self, next: Instant) {
        *self = Self::at(next);
    }

    pub(super) const fn wait_until(&mut self, next: Instant) {
        self.next = next;
    }
}

/// A peer known.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) label: String,
    pub(super) roles: Vec<String>,
    /// Wall time of the last meeting, in milliseconds; 0 if it was never admitted.
    pub(super) seen: u64,
    pub(super) backoff: Backoff,
}

/// All peers known.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: HashMap<PeerId, Known>,
    changed: bool,
}

impl Book {
    pub(super) fn get(&self, peer: &PeerId) -> Option<&Known> {
        self.peers.get(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Known)> {
        self.peers.iter()
    }

    /// Somebody said that `peer` is there; call it from `next` on.
    pub(super) fn hear(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, next: Instant) {
        if addresses.is_empty() {
            return;
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            for address in addresses {
                if !known.addresses.contains(&address) {
                    // What is new is tried first.
                    known.addresses.insert(0, address);
                    known.backoff.next = known.backoff.next.min(next);
                }
            }
            known.addresses.truncate(MAX_ADDRESSES);
            return;
        }
        if self.make_room() {
            let backoff = Backoff::at(next);
            let (label, roles) = (String::new(), Vec::new());
            self.peers.insert(peer, Known { addresses, label, roles, seen: 0, backoff });
        }
    }

    /// `peer` was admitted.
    pub(super) fn meet(&mut self, peer: PeerId, known: Known) {
        if self.peers.contains_key(&peer) || self.make_room() {
            self.peers.insert(peer, known);
            self.changed = true;
        }
    }

    /// A call to `peer` failed.
    pub(super) fn fail(&mut self, peer: &PeerId, now: Instant) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.backoff.fail(now);
        if known.seen == 0 && known.backoff.failures >= MAX_HEARSAY_FAILURES {
            self.peers.remove(peer);
        }
    }

    pub(super) fn wait_until(&mut self, peer: &PeerId, next: Instant) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.backoff.wait_until(next);
        }
    }

    /// The connection to `peer` ended.
    pub(super) fn lost(&mut self, peer: &PeerId, next: Instant) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.backoff.reset(next);
        }
    }

    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.changed |= self.peers.remove(peer).is_some_and(|known| known.seen > 0);
    }

    /// Peers to be called now.
    pub(super) fn due(&self, now: Instant) -> Vec<PeerId> {
        let due = self.peers.iter().filter(|(_, known)| known.backoff.next <= now);
        due.map(|(peer, _)| *peer).collect()
    }

    /// The one met longest ago goes, hearsay before all.
    fn make_room(&mut self) -> bool {
        if self.peers.len() < MAX_BOOK {
            return true;
        }
        let oldest = self.peers.iter().min_by_key(|(_, known)| known.seen).map(|(peer, _)| *peer);
        oldest.is_some_and(|peer| self.peers.remove(&peer).is_some())
    }

    /// The bytes for the file, if they changed since the last call.
    pub(super) fn take_changes(&mut self, network: NetworkId) -> Option<Vec<u8>> {
        std::mem::take(&mut self.changed).then(|| self.encode(network))
    }

    fn encode(&self, network: NetworkId) -> Vec<u8> {
        let met = self.peers.iter().filter(|(_, known)| known.seen > 0);
        let mut peers: Vec<Line> = met
            .map(|(peer, known)| Line {
                peer: ByteBuf::from(peer.to_bytes()),
                label: known.label.clone(),
                roles: known.roles.clone(),
                seen: known.seen,
                addresses: known.addresses.iter().map(|a| ByteBuf::from(a.to_vec())).collect(),
            })
            .collect();
        peers.sort_by(|a, b| a.peer.cmp(&b.peer));
        codec::encode(&File { version: 1, network, peers })
    }

    /// The book of an earlier run; an error is a reason to warn, not to stop.
    pub(super) fn read(path: &Path, network: NetworkId, wall_ms: u64) -> Result<Self, String> {
        let mut bytes = Vec::new();
        match fs::File::open(path) {
            Ok(file) => file.take(MAX_BOOK_BYTES as u64 + 1).read_to_end(&mut bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => Err(error),
        }
        .map_err(|error| error.to_string())?;
        Self::decode(&bytes, network, wall_ms)
    }

    fn decode(bytes: &[u8], network: NetworkId, wall_ms: u64) -> Result<Self, String> {
        let file: File = codec::decode(bytes, MAX_BOOK_BYTES).map_err(|error| error.to_string())?;
        if file.version != 1 {
            return Err(format!("it is of version {}", file.version));
        }
        if file.network != network {
            return Err("it is of another network or token".into());
        }
        let now = Instant::now();
        let oldest = wall_ms.saturating_sub(BOOK_DAYS * 24 * 3_600_000);
        let mut book = Self::default();
        for line in file.peers.into_iter().take(MAX_BOOK) {
            let Ok(peer) = PeerId::from_bytes(&line.peer) else { continue };
            let told = line.addresses.iter().filter_map(|a| Multiaddr::try_from(a.to_vec()).ok());
            let addresses = address::of_peer(peer, told, true);
            if addresses.is_empty() || line.seen < oldest || line.seen == 0 {
                continue;
            }
            let (label, roles, seen) = (line.label, line.roles, line.seen);
            // All at once would be a storm of our own.
            let next = now + Duration::from_millis(rand::random_range(0..500));
            let backoff = Backoff::at(next);
            book.peers.insert(peer, Known { addresses, label, roles, seen, backoff });
        }
        Ok(book)
    }
}

/// Writes the book's bytes so that a crash leaves the old file or the new one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let aside = path.with_file_name(name);
    let mut file = fs::File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&aside, path)
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u16,
    network: NetworkId,
    peers: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    peer: ByteBuf,
    label: String,
    roles: Vec<String>,
    seen: u64,
    addresses: Vec<ByteBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;

    fn known(seen: u64) -> Known {
        Known {
            addresses: vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap()],
            label: "a".into(),
            roles: vec!["coordinator".into()],
            seen,
            backoff: Backoff::at(Instant::now()),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let network = NetworkId::of_name("n");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.peers");
        assert_eq!(Book::read(&path, network, 0).unwrap().iter().count(), 0);
        let mut book = Book::default();
        let (met, heard, old) = (PeerId::random(), PeerId::random(), PeerId::random());
        book.meet(met, known(100 * DAY));
        book.meet(old, known(60 * DAY));
        book.hear(heard, known(0).addresses, Instant::now());
        write(&path, &book.take_changes(network).unwrap()).unwrap();
        assert_eq!(book.take_changes(network), None);
        let read = Book::read(&path, network, 100 * DAY).unwrap();
        assert_eq!(read.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [met]);
        let line = read.get(&met).unwrap();
        assert_eq!((line.label.as_str(), &line.addresses), ("a", &known(1).addresses));
        let other = NetworkId::of_name("u");
        assert!(Book::read(&path, other, 100 * DAY).unwrap_err().contains("another network"));
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(Book::read(&path, network, 100 * DAY).is_err(), "{cut}");
        }
    }

    #[test]
    fn it_stays_small_and_keeps_those_it_met() {
        let mut book = Book::default();
        let met = PeerId::random();
        book.meet(met, known(1));
        for _ in 0..2 * MAX_BOOK {
            book.hear(PeerId::random(), known(0).addresses, Instant::now());
        }
        assert_eq!(book.iter().count(), MAX_BOOK);
        assert!(book.get(&met).is_some());
    }

    #[test]
    fn hearsay_that_never_answers_is_forgotten_and_members_are_not() {
        let mut book = Book::default();
        let (met, heard) = (PeerId::random(), PeerId::random());
        let now = Instant::now();
        book.meet(met, known(1));
        book.hear(heard, known(0).addresses, now);
        for _ in 0..100 {
            book.fail(&met, now);
            book.fail(&heard, now);
        }
        assert!(book.get(&heard).is_none());
        let wait = book.get(&met).unwrap().backoff.next - now;
        assert!(wait >= BACKOFF.1 / 2 && wait <= BACKOFF.1);
    }
}
