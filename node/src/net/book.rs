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
    BACKOFF, BACKOFF_LATELY, BOOK_DAYS, CALL_EVERY, HOPE, LATELY, MAX_ADDRESSES, MAX_BOOK,
    MAX_BOOK_BYTES, MAX_HEARSAY_FAILURES,
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

    /// Doubles from attempt to attempt up to `most`, with `chance` from 0 to 1, so that nodes that
    /// fell together do not call together.
    pub(super) fn fail(&mut self, now: Instant, most: Duration, chance: f64) {
        let wait = BACKOFF.0.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures = self.failures.saturating_add(1);
        self.next = now + wait.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    }

    /// Whether the last attempt failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// It may be there again: tried by `next`, unless it is tried before.
    pub(super) fn hope(&mut self, next: Instant) {
        self.next = self.next.min(next);
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
    /// Where it said itself that it is, or was reached.
    pub(super) addresses: Vec<Multiaddr>,
    /// Where others say that it is; they may lie.
    pub(super) hearsay: Vec<Multiaddr>,
    pub(super) label: String,
    pub(super) roles: Vec<String>,
    /// Wall time of the last meeting, in milliseconds; 0 if it was never admitted.
    pub(super) seen: u64,
    /// Since when it is away, or the start.
    pub(super) away: Instant,
    pub(super) backoff: Backoff,
}

impl Known {
    /// Where it may be: what it said itself, and what others say. All are called; which first, libp2p decides.
    pub(super) fn places(&self) -> impl Iterator<Item = &Multiaddr> {
        self.addresses.iter().chain(&self.hearsay)
    }
}

/// What is new stands first, and the oldest goes.
fn put_first(known: &mut Vec<Multiaddr>, addresses: Vec<Multiaddr>) {
    for address in addresses {
        if !known.contains(&address) {
            known.insert(0, address);
        }
    }
    known.truncate(MAX_ADDRESSES);
}

/// All peers known.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: HashMap<PeerId, Known>,
    changed: bool,
    /// When those away were called out of turn last.
    hoped: Option<Instant>,
}

impl Book {
    pub(super) fn get(&self, peer: &PeerId) -> Option<&Known> {
        self.peers.get(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Known)> {
        self.peers.iter()
    }

    /// Somebody said that `peer` is there; call it from `next` on. Anybody can say so, hence it never
    /// displaces what is known of the peer itself.
    pub(super) fn hear(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>, next: Instant) {
        if addresses.is_empty() {
            return;
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            addresses.retain(|address| !known.addresses.contains(address));
            put_first(&mut known.hearsay, addresses);
            known.backoff.hope(next);
            return;
        }
        if self.make_room() {
            addresses.truncate(MAX_ADDRESSES);
            let known = Known {
                addresses: Vec::new(),
                hearsay: addresses,
                label: String::new(),
                roles: Vec::new(),
                seen: 0,
                away: next,
                backoff: Backoff::at(next),
            };
            self.peers.insert(peer, known);
        }
    }

    /// The member `peer` says itself that it is there. Of its ways through relays it names all: places
    /// come and go.
    pub(super) fn told(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let Some(known) = self.peers.get_mut(&peer) else {
            // It had to make room for others.
            return self.hear(peer, addresses, Instant::now());
        };
        let stays = |at: &Multiaddr| address::circuit(at).is_none() || addresses.contains(at);
        known.addresses.retain(stays);
        known.hearsay.retain(|at| stays(at) && !addresses.contains(at));
        put_first(&mut known.addresses, addresses);
    }

    /// `peer` was admitted.
    pub(super) fn meet(&mut self, peer: PeerId, known: Known) {
        if self.peers.contains_key(&peer) || self.make_room() {
            self.peers.insert(peer, known);
            self.changed = true;
        }
    }

    /// A call to `peer` failed.
    pub(super) fn fail(&mut self, peer: &PeerId, now: Instant, chance: f64) {
        let away = self.peers.values().filter(|known| known.backoff.failures > 0).count();
        let Some(known) = self.peers.get_mut(peer) else { return };
        let lately = known.seen > 0 && now.saturating_duration_since(known.away) < LATELY;
        let most = match lately {
            true => CALL_EVERY.saturating_mul(u32::try_from(away).unwrap_or(u32::MAX)),
            false => BACKOFF.1,
        };
        known.backoff.fail(now, most.clamp(BACKOFF_LATELY, BACKOFF.1), chance);
        if known.seen == 0 && known.backoff.failures >= MAX_HEARSAY_FAILURES {
            self.peers.remove(peer);
        }
    }

    pub(super) fn wait_until(&mut self, peer: &PeerId, next: Instant) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.backoff.wait_until(next);
        }
    }

    /// The connection to `peer` ended `now`.
    pub(super) fn lost(&mut self, peer: &PeerId, now: Instant, next: Instant) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.away = now;
            known.backoff.reset(next);
        }
    }

    /// A member came back, so those that are away may be back as well. True if it is time to call.
    pub(super) fn hope(&mut self, now: Instant, mut chance: impl FnMut() -> f64) -> bool {
        if self.hoped.is_some_and(|hoped| now.saturating_duration_since(hoped) < HOPE.1) {
            return false;
        }
        self.hoped = Some(now);
        let away = |known: &&mut Known| known.seen > 0 && known.backoff.failures > 0;
        for known in self.peers.values_mut().filter(away) {
            known.backoff.hope(now + HOPE.0.mul_f64(chance().clamp(0.0, 1.0)));
        }
        true
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

    pub(super) fn encode(&self, network: NetworkId) -> Vec<u8> {
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

    pub(super) fn decode(bytes: &[u8], network: NetworkId, wall_ms: u64) -> Result<Self, String> {
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
            let hearsay = Vec::new();
            let known = Known { addresses, hearsay, label, roles, seen, away: now, backoff };
            book.peers.insert(peer, known);
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
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const DAY: u64 = 24 * 3_600_000;

    fn known(seen: u64) -> Known {
        Known {
            addresses: vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap()],
            hearsay: Vec::new(),
            label: "a".into(),
            roles: vec!["coordinator".into()],
            seen,
            away: Instant::now(),
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
            book.fail(&met, now, 1.0);
            book.fail(&heard, now, 1.0);
        }
        assert!(book.get(&heard).is_none());
        assert_eq!(book.get(&met).unwrap().backoff.next - now, BACKOFF_LATELY);
    }

    /// Seeded chance, from 0 to 1.
    fn chance(seed: u64) -> impl FnMut() -> f64 {
        let mut random = StdRng::seed_from_u64(seed);
        move || random.random_range(0.0..1.0)
    }

    /// The waits of `count` members that were met and do not answer, call by call.
    fn waits(count: usize, away: Duration, chance: &mut impl FnMut() -> f64) -> Vec<Duration> {
        let mut book = Book::default();
        let (lost, peers) = (Instant::now(), (0..count).map(|_| PeerId::random()));
        let peers: Vec<PeerId> = peers.collect();
        let now = lost + away;
        for peer in &peers {
            book.meet(*peer, Known { away: lost, ..known(1) });
            book.lost(peer, lost, now);
        }
        let mut waits = Vec::new();
        for _ in 0..20 {
            for peer in &peers {
                book.fail(peer, now, chance());
                waits.push(book.get(peer).unwrap().backoff.next - now);
            }
        }
        waits
    }

    #[test]
    fn members_that_were_here_lately_are_called_every_few_seconds_however_long_the_cut() {
        for seed in 0..20 {
            let mut chance = chance(seed);
            let lately = waits(1, Duration::from_secs(600), &mut chance);
            assert!(lately[0] <= BACKOFF.0 && lately[0] >= BACKOFF.0 / 2, "seed {seed}");
            assert!(lately.iter().all(|wait| *wait <= BACKOFF_LATELY), "seed {seed}: {lately:?}");
            assert!(lately[10..].iter().all(|wait| *wait >= BACKOFF_LATELY / 2), "seed {seed}");
            // Not in step with anybody else.
            assert!(lately[10..].windows(2).any(|pair| pair[0] != pair[1]), "seed {seed}");
            let long = waits(1, LATELY, &mut chance);
            assert!(long[12..].iter().all(|wait| *wait >= BACKOFF.1 / 2), "seed {seed}: {long:?}");
        }
    }

    #[test]
    fn with_many_away_calls_are_no_more_often_than_a_few_a_second() {
        let mut chance = chance(7);
        let waits = waits(200, Duration::from_secs(60), &mut chance);
        let last = &waits[waits.len() - 200..];
        let rate: f64 = last.iter().map(|wait| 1.0 / wait.as_secs_f64()).sum();
        assert!(rate <= 2.0 / CALL_EVERY.as_secs_f64(), "{rate} calls a second");
    }

    /// Of a net that was cut all are back soon after one is, and not at one moment.
    #[test]
    fn when_one_comes_back_the_others_are_called_spread_over_two_seconds() {
        for seed in 0..20 {
            let mut chance = chance(seed);
            let (mut book, now) = (Book::default(), Instant::now());
            let peers: Vec<PeerId> = (0..50).map(|_| PeerId::random()).collect();
            for peer in &peers {
                book.meet(*peer, known(1));
                (0..12).for_each(|_| book.fail(peer, now, chance()));
            }
            assert!(book.hope(now, &mut chance), "seed {seed}");
            let due = |ms| book.due(now + Duration::from_millis(ms)).len();
            assert_eq!((due(0), due(2000)), (0, 50), "seed {seed}");
            assert!((10..40).contains(&due(1000)), "seed {seed}: {}", due(1000));
            assert!(!book.hope(now + Duration::from_secs(4), &mut chance), "not again at once");
            assert!(book.hope(now + Duration::from_secs(5), &mut chance));
        }
    }

    /// Anybody on the network can say that a member is anywhere.
    #[test]
    fn hearsay_does_not_displace_where_a_member_is() {
        let at = |port: usize| format!("/ip4/10.0.0.9/tcp/{port}").parse::<Multiaddr>().unwrap();
        let (mut book, now, peer) = (Book::default(), Instant::now(), PeerId::random());
        book.meet(peer, known(1));
        (1..100).for_each(|port| book.hear(peer, vec![at(port)], now));
        let shown = book.get(&peer).unwrap();
        assert_eq!(shown.addresses, known(1).addresses, "what is shown, probed and written");
        assert_eq!(shown.places().next(), known(1).addresses.first(), "proven ones first");
        assert_eq!(shown.hearsay.len(), MAX_ADDRESSES);
        assert_eq!(shown.hearsay[0], at(99));
        let network = NetworkId::of_name("n");
        let read = Book::decode(&book.encode(network), network, 1).unwrap();
        assert_eq!(read.get(&peer).unwrap().places().count(), 1);
        // It says so itself.
        book.told(peer, vec![at(99)]);
        let shown = book.get(&peer).unwrap();
        assert_eq!(shown.addresses, [at(99), known(1).addresses[0].clone()]);
        assert!(!shown.hearsay.contains(&at(99)));
    }

    #[test]
    fn hearing_of_a_member_ends_the_wait_for_it() {
        let (mut book, now, peer) = (Book::default(), Instant::now(), PeerId::random());
        book.meet(peer, known(1));
        (0..12).for_each(|_| book.fail(&peer, now, 1.0));
        assert!(book.due(now + Duration::from_secs(1)).is_empty());
        book.hear(peer, known(1).addresses, now + Duration::from_millis(500));
        assert_eq!(book.due(now + Duration::from_secs(1)), [peer]);
    }
}
