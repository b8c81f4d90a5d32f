//! Whom a network lets in: those who prove that they know its token, or, where [`Tickets`] say so, those who
//! show a capability ([`super::pass`]). Here is the proof that two nodes know the same token.
//!
//! While tokens are changed a node knows two and opens with a proof by each.
//!
//! Always: a proof binds who proves (opener or acceptor), both peer ids, which the connection has
//! authenticated, and every byte of both hellos with their fresh nonces. So it is of no use in the
//! other direction, in another session, or towards anybody else. It can be tried against guessed
//! tokens by the node it was made for: a token should be random.

use std::fmt;
use std::sync::Arc;

use libp2p::PeerId;
use skyclaw_protocol::NetworkId;
use skyclaw_protocol::network::Roles;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::hello::{Denial, Description, Hello, Mac, VERSION};
use super::limits::MAX_TOKENS;
use super::members::node_of;
use super::tickets::{Seen, Tickets};

/// Made from a token.
type Key = Zeroizing<[u8; 32]>;

fn key(token: &str, name: &str) -> Key {
    let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 proof of the token");
    hash.update(&(token.len() as u64).to_be_bytes());
    hash.update(token.as_bytes());
    hash.update(name.as_bytes());
    Zeroizing::new(*hash.finalize().as_bytes())
}

/// What all members of a network know.
#[derive(Clone)]
pub struct Membership {
    key: Key,
    /// Of the token before.
    old: Option<Key>,
    id: NetworkId,
    name: String,
    name_hash: [u8; 16],
    open: bool,
    /// Where no token counts.
    tickets: Option<Arc<Tickets>>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Membership {
    /// Of the network `name` among those who know `token`; without a token it is open.
    #[must_use]
    pub fn new(token: Option<&str>, name: &str) -> Self {
        let mut name_hash = [0; 16];
        let full = blake3::derive_key("skyclaw/1 name of a network", name.as_bytes());
        name_hash.copy_from_slice(&full[..16]);
        Self {
            key: key(token.unwrap_or_default(), name),
            old: None,
            id: NetworkId::of_name(name),
            name: name.to_owned(),
            name_hash,
            open: token.is_none(),
            tickets: None,
        }
    }

    /// Of a ticket network.
    #[must_use]
    pub fn by_tickets(tickets: Arc<Tickets>) -> Self {
        let mut name_hash = [0; 16];
        let network = tickets.network();
        let full = blake3::derive_key("skyclaw/1 ticket network in a hello", &network.0);
        name_hash.copy_from_slice(&full[..16]);
        Self {
            // No proof is ever made with it, nor held against it.
            key: Zeroizing::new(rand::random()),
            old: None,
            id: network,
            name: tickets.name().to_owned(),
            name_hash,
            open: false,
            tickets: Some(tickets),
        }
    }

    /// How this node is a member, where no token counts.
    #[must_use]
    pub const fn tickets(&self) -> Option<&Arc<Tickets>> {
        self.tickets.as_ref()
    }

    /// The same, and those who know no token but `old` may come too, while tokens are changed.
    #[must_use]
    pub fn with_old(mut self, old: Option<&str>) -> Self {
        self.old = old.map(|old| key(old, &self.name));
        self
    }

    /// The network's id. Protocol names hold it; they are shown to members only.
    #[must_use]
    pub const fn id(&self) -> NetworkId {
        self.id
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True without a token.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// What a connected member may be: in a token network all that it likes.
    pub(super) fn roles_of(&self, peer: &PeerId) -> Roles {
        match (&self.tickets, node_of(peer)) {
            (None, _) => Roles::ALL,
            (Some(tickets), Some(node)) => tickets.roles(node),
            (Some(_), None) => Roles::NONE,
        }
    }

    pub(super) fn hello(&self, nonce: [u8; 32], description: Vec<u8>) -> Hello {
        Hello { version: VERSION, network: self.name_hash, nonce, description }
    }

    /// What speaks against a hello, before any proof.
    pub(super) fn check(&self, hello: &Hello) -> Result<Description, Denial> {
        if hello.version != VERSION {
            return Err(Denial::Version);
        }
        if hello.network != self.name_hash {
            return Err(Denial::OtherNetwork);
        }
        Description::decode(&hello.description).ok_or(Denial::Malformed)
    }

    /// The proofs of the opener: one for each token, since it cannot know which of them the
    /// acceptor knows.
    pub(super) fn open(&self, session: &Session) -> Vec<Mac> {
        self.keys().map(|key| self.prove(key, Side::Opener, session)).collect()
    }

    /// The proof of the acceptor by the token that one of `proofs` was made with; `None` if none
    /// holds. Takes the same time for all wrong ones.
    pub(super) fn accept(&self, proofs: &[Mac], session: &Session) -> Option<Mac> {
        let key = self.held(proofs, Side::Opener, session)?;
        Some(self.prove(key, Side::Acceptor, session))
    }

    /// Whether the acceptor's proof holds.
    pub(super) fn closes(&self, proofs: &[Mac], session: &Session) -> bool {
        proofs.len() == 1 && self.held(proofs, Side::Acceptor, session).is_some()
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.key).chain(&self.old)
    }

    /// The key behind one of these, our newest first.
    fn held(&self, proofs: &[Mac], side: Side, session: &Session) -> Option<&Key> {
        if proofs.len() > MAX_TOKENS {
            return None;
        }
        let holds = |key: &Key| {
            let ours = self.prove(key, side, session);
            proofs.iter().fold(false, |held, proof| held | bool::from(ours.0.ct_eq(&proof.0)))
        };
        let all: Vec<(&Key, bool)> = self.keys().map(|key| (key, holds(key))).collect();
        all.into_iter().find(|(_, held)| *held).map(|(key, _)| key)
    }

    fn prove(&self, key: &Key, side: Side, session: &Session) -> Mac {
        let mut mac = blake3::Hasher::new_keyed(key);
        let (opener, acceptor) = (session.opener.to_bytes(), session.acceptor.to_bytes());
        mac.update(match side {
            Side::Opener => b"skyclaw/1 opener",
            Side::Acceptor => b"skyclaw/1 accept",
        });
        mac.update(&self.id.0);
        for part in [&opener, &acceptor, &session.hello_of_opener, &session.hello_of_acceptor] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Mac(*mac.finalize().as_bytes())
    }
}

/// Who proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Opener,
    Acceptor,
}

/// What both sides of one handshake have seen.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) opener: PeerId,
    pub(super) acceptor: PeerId,
    pub(super) hello_of_opener: Vec<u8>,
    pub(super) hello_of_acceptor: Vec<u8>,
}

impl Session {
    /// What a newcomer's proof is over.
    pub(super) fn seen(&self, side: Side) -> Seen {
        let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 meeting of a newcomer");
        let (opener, acceptor) = (self.opener.to_bytes(), self.acceptor.to_bytes());
        hash.update(&[u8::from(side == Side::Opener)]);
        for part in [&opener, &acceptor, &self.hello_of_opener, &self.hello_of_acceptor] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Seen(*hash.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::hello::Message;
    use super::*;

    fn session() -> (Membership, Session) {
        let us = Membership::new(Some("secret"), "local");
        let hello = |n| Message::Hello(us.hello([n; 32], Vec::new())).encode();
        let session = Session {
            opener: PeerId::random(),
            acceptor: PeerId::random(),
            hello_of_opener: hello(1),
            hello_of_acceptor: hello(2),
        };
        (us, session)
    }

    #[test]
    fn a_proof_holds_for_its_session_and_side_only() {
        let (us, session) = session();
        let proof = us.open(&session);
        let answer = us.accept(&proof, &session).unwrap();
        assert!(us.closes(&[answer], &session));
        // Reflected: the acceptor sends back what it got.
        assert!(!us.closes(&proof, &session));
        // Roles swapped altogether.
        let swapped = Session {
            opener: session.acceptor,
            acceptor: session.opener,
            hello_of_opener: session.hello_of_acceptor.clone(),
            hello_of_acceptor: session.hello_of_opener.clone(),
        };
        assert!(!us.closes(&proof, &swapped));
        // Replayed against a fresh nonce, towards somebody else, by somebody else.
        let fresh = Message::Hello(us.hello([3; 32], Vec::new())).encode();
        for other in [
            Session { hello_of_acceptor: fresh.clone(), ..session.clone() },
            Session { hello_of_opener: fresh, ..session.clone() },
            Session { acceptor: PeerId::random(), ..session.clone() },
            Session { opener: PeerId::random(), ..session.clone() },
        ] {
            assert!(us.accept(&proof, &other).is_none());
            assert!(!us.closes(&[answer], &other));
        }
        // Other token, no token, other network.
        for them in [
            Membership::new(Some("other"), "local"),
            Membership::new(None, "local"),
            Membership::new(Some("secret"), "elsewhere"),
        ] {
            assert!(them.accept(&proof, &session).is_none());
        }
    }

    #[test]
    fn two_tokens_are_known_side_by_side_and_the_network_stays_one() {
        let (_, session) = session();
        let of = |token, old| Membership::new(Some(token), "local").with_old(old);
        let (before, between, after) = (of("a", None), of("b", Some("a")), of("b", None));
        for (one, other, met) in [
            (&before, &between, true),
            (&between, &after, true),
            (&between, &between, true),
            (&before, &after, false),
            (&of("c", None), &between, false),
        ] {
            for (opener, acceptor) in [(one, other), (other, one)] {
                let answer = acceptor.accept(&opener.open(&session), &session);
                let closed = answer.is_some_and(|answer| opener.closes(&[answer], &session));
                assert_eq!(closed, met);
            }
            assert_eq!(one.id(), other.id());
        }
        // Guesses do not come by the dozen.
        let many = [between.open(&session), after.open(&session)].concat();
        assert!(between.accept(&many, &session).is_none());
    }

    #[test]
    fn hellos_tell_why_they_do_not_fit() {
        let us = Membership::new(Some("a"), "local");
        let description = Description::default().encode();
        let hello = |of: &Membership| of.hello([0; 32], description.clone());
        assert_eq!(
            us.check(&hello(&Membership::new(Some("b"), "local"))),
            Ok(Description::default())
        );
        assert_eq!(us.check(&hello(&Membership::new(Some("a"), "x"))), Err(Denial::OtherNetwork));
        let old = Hello { version: 0, ..hello(&us) };
        assert_eq!(us.check(&old), Err(Denial::Version));
        let odd = Hello { description: vec![0xff], ..hello(&us) };
        assert_eq!(us.check(&odd), Err(Denial::Malformed));
    }

    #[test]
    fn the_token_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", Membership::new(Some("hunter2"), "local")).contains("hunter2"));
    }
}
