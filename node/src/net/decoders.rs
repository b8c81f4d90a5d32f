//! The readers of this module that nothing outside has a use for but tests on hostile bytes.
//!
//! Always: each takes what the node itself would take, by the same code, and gives it back as the node
//! would write it. The samples are values of each kind, the same at each call.

use std::time::Instant;

use libp2p::{Multiaddr, PeerId};
use serde_bytes::ByteBuf;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::{NodeKey, Signature};
use skyclaw_protocol::network::{Notice, Revocation, Seed, Target, Vouched};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::{NetworkId, codec};

use super::book::{Backoff, Book, Known};
use super::hello::{Denial, Description, Hello, Mac, Message, VERSION};
use super::limits::MAX_MEMBER_QUESTION;
use super::members::peer_of;
use super::pass::{Credential, Grant, Pass};
use super::tickets::tell::MemberAsk;

/// A message of the handshake.
#[must_use]
pub fn handshake(bytes: &[u8]) -> Option<Vec<u8>> {
    Message::decode(bytes).map(|message| message.encode())
}

/// What a node says of itself.
#[must_use]
pub fn description(bytes: &[u8]) -> Option<Vec<u8>> {
    let description = Description::decode(bytes)?;
    // Addresses are read when they are used.
    let _ = description.multiaddrs().count();
    Some(description.encode())
}

/// A question of membership.
#[must_use]
pub fn member_ask(bytes: &[u8]) -> Option<Vec<u8>> {
    codec::decode::<MemberAsk>(bytes, MAX_MEMBER_QUESTION).ok().map(|ask| codec::encode(&ask))
}

/// The file with the peers of an earlier run.
///
/// # Errors
/// Why it cannot be used.
pub fn book(bytes: &[u8], network: NetworkId, wall_ms: u64) -> Result<Vec<u8>, String> {
    Book::decode(bytes, network, wall_ms).map(|book| book.encode(network))
}

fn key() -> NodeKey {
    NodeKey::from_seed(&[3; 32])
}

fn address() -> Multiaddr {
    Multiaddr::from(std::net::Ipv4Addr::LOCALHOST).with(libp2p::multiaddr::Protocol::Tcp(4787))
}

fn vouched() -> Vouched {
    let body = Revocation { target: Target::Peer(key().id()), at: Wall(1_800_000_000_000) };
    let raw = Signed::seal(&key(), NetworkId::of_name("samples"), body).raw().clone();
    Vouched { raw, issuer: None }
}

fn a_description() -> Description {
    Description {
        roles: vec!["coordinator".into(), "host".into()],
        label: "node_a".into(),
        url: Some("http://127.0.0.1:8787".into()),
        addresses: vec![ByteBuf::from(address().to_vec())],
        run: [7; 16],
        silent: false,
    }
}

/// One of each message.
#[must_use]
pub fn handshakes() -> Vec<Vec<u8>> {
    let hello = Hello {
        version: VERSION,
        network: [1; 16],
        nonce: [2; 32],
        description: a_description().encode(),
    };
    let grant = || Grant { capability: vouched(), seal: Some(Seed::new([4; 32])) };
    let newcomer = Credential::Newcomer { invite: vouched(), proof: Signature([6; 64]) };
    let pass = Pass { credential: newcomer, grant: None };
    let granting = Pass { credential: Credential::Member(vouched()), grant: Some(grant()) };
    let messages = [
        Message::Hello(hello),
        Message::Proof(vec![Mac([5; 32]); 2]),
        Message::Welcome,
        Message::Refused(Denial::WrongToken),
        Message::Pass(Box::new(pass)),
        Message::Pass(Box::new(granting)),
        Message::Enter(None),
        Message::Enter(Some(Box::new(grant()))),
    ];
    messages.iter().map(Message::encode).collect()
}

/// Of a node that says much, and of one that says nothing.
#[must_use]
pub fn descriptions() -> Vec<Vec<u8>> {
    vec![a_description().encode(), Description::default().encode()]
}

/// Both questions.
#[must_use]
pub fn member_asks() -> Vec<Vec<u8>> {
    let notices = vec![Notice::Revocation(vouched()), Notice::Member(vouched())];
    vec![codec::encode(&MemberAsk::Notices(notices)), codec::encode(&MemberAsk::Renew)]
}

/// A book of two peers, and an empty one.
#[must_use]
pub fn books(network: NetworkId, wall_ms: u64) -> Vec<Vec<u8>> {
    let now = Instant::now();
    let mut book = Book::default();
    let peers = [key(), NodeKey::from_seed(&[4; 32])].map(|key| peer_of(key.id()));
    for peer in peers.into_iter().flatten() {
        book.meet(peer, met(peer, now, wall_ms));
    }
    vec![book.encode(network), Book::default().encode(network)]
}

fn met(peer: PeerId, now: Instant, wall_ms: u64) -> Known {
    Known {
        addresses: super::address::of_peer(peer, [address()], true),
        hearsay: Vec::new(),
        label: "node_a".into(),
        roles: vec!["host".into()],
        seen: wall_ms,
        away: now,
        backoff: Backoff::at(now),
    }
}
