//! What two nodes say before they trust each other, and the proof that both know the token.
//!
//! ```text
//!   opener                          acceptor
//!     | -- Hello -----------------------> |   version, network's name (hashed), nonce, who it is
//!     | <------------- Hello | Refused -- |
//!     | -- Proof | Refused -------------> |   the one who came shows first: a scanner learns nothing
//!     | <------------- Proof | Refused -- |
//!     | -- Welcome | Refused -----------> |
//! ```
//!
//! Always: a proof binds who proves (opener or acceptor), both peer ids, which the connection has
//! authenticated, and every byte of both hellos with their fresh nonces. So it is of no use in the
//! other direction, in another session, or towards anybody else. It can be tried against guessed
//! tokens by the node it was made for: a token should be random.

use std::fmt;

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skyclaw_protocol::{NetworkId, codec};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::limits::{MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_LABEL, MAX_MESSAGE, MAX_ROLES, MAX_URL};

/// Version of everything said between nodes.
pub(super) const VERSION: u16 = 1;

/// One message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    Hello(Hello),
    Proof(Mac),
    Welcome,
    Refused(Why),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(bytes, MAX_MESSAGE).ok()
    }
}

/// Who one is, without proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u16,
    /// A hash of the network's name: two tokens may share it.
    #[serde(with = "serde_bytes")]
    pub(super) network: [u8; 16],
    #[serde(with = "serde_bytes")]
    pub(super) nonce: [u8; 32],
    /// An encoded [`Description`].
    #[serde(with = "serde_bytes")]
    pub(super) description: Vec<u8>,
}

/// A proof that its sender knows the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Mac(#[serde(with = "serde_bytes")] pub(super) [u8; 32]);

/// Why a node is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Why {
    /// Its network has another name.
    OtherNetwork,
    /// Same name, other token, or only one of the two has one.
    WrongToken,
    /// It speaks another version.
    Version,
    /// What it said makes no sense.
    Malformed,
    /// It did not say who it is in time.
    Silent,
    /// An open network takes peers from loopback and private ranges only.
    PublicAddress,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::OtherNetwork,
        Self::WrongToken,
        Self::Version,
        Self::Malformed,
        Self::Silent,
        Self::PublicAddress,
    ];

    /// The reason in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherNetwork => "another network",
            Self::WrongToken => "wrong token",
            Self::Version => "protocol version",
            Self::Malformed => "malformed handshake",
            Self::Silent => "no handshake in time",
            Self::PublicAddress => "public address in an open network",
        }
    }

    /// The reason as a label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtherNetwork => "other_network",
            Self::WrongToken => "wrong_token",
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
            Self::PublicAddress => "public_address",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its roles, in words.
    pub roles: Vec<String>,
    /// Its display name.
    pub label: String,
    /// Where its HTTP API is, if it told others.
    pub url: Option<String>,
    /// Where it can be reached: binary multiaddrs, not yet checked.
    pub addresses: Vec<ByteBuf>,
    /// Random, new at each start.
    #[serde(with = "serde_bytes")]
    pub run: [u8; 16],
}

impl Description {
    /// The addresses among it that are addresses.
    pub fn multiaddrs(&self) -> impl Iterator<Item = Multiaddr> {
        self.addresses.iter().filter_map(|bytes| Multiaddr::try_from(bytes.to_vec()).ok())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// `None` for anything out of bounds.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
        let this: Self = codec::decode(bytes, MAX_MESSAGE).ok()?;
        let fits = this.roles.len() <= MAX_ROLES
            && this.roles.iter().all(|role| text(role, 32))
            && text(&this.label, MAX_LABEL)
            && this.url.as_ref().is_none_or(|url| text(url, MAX_URL))
            && this.addresses.len() <= MAX_ADDRESSES
            && this.addresses.iter().all(|bytes| bytes.len() <= MAX_ADDRESS_BYTES);
        fits.then_some(this)
    }
}

/// What all members of a network know.
#[derive(Clone)]
pub struct Membership {
    key: Zeroizing<[u8; 32]>,
    id: NetworkId,
    name: String,
    name_hash: [u8; 16],
    open: bool,
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
        let text = token.unwrap_or_default();
        let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 proof of the token");
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
        hash.update(name.as_bytes());
        let mut name_hash = [0; 16];
        let full = blake3::derive_key("skyclaw/1 name of a network", name.as_bytes());
        name_hash.copy_from_slice(&full[..16]);
        Self {
            key: Zeroizing::new(*hash.finalize().as_bytes()),
            id: NetworkId::of_token(text, name),
            name: name.to_owned(),
            name_hash,
            open: token.is_none(),
        }
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

    pub(super) fn hello(&self, nonce: [u8; 32], description: Vec<u8>) -> Hello {
        Hello { version: VERSION, network: self.name_hash, nonce, description }
    }

    /// What speaks against a hello, before any proof.
    pub(super) fn check(&self, hello: &Hello) -> Result<Description, Why> {
        if hello.version != VERSION {
            return Err(Why::Version);
        }
        if hello.network != self.name_hash {
            return Err(Why::OtherNetwork);
        }
        Description::decode(&hello.description).ok_or(Why::Malformed)
    }

    /// The proof of `side` in this session.
    pub(super) fn prove(&self, side: Side, session: &Session) -> Mac {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
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

    /// Whether `proof` is that of `side`; takes the same time for every wrong one.
    pub(super) fn holds(&self, proof: Mac, side: Side, session: &Session) -> bool {
        bool::from(self.prove(side, session).0.ct_eq(&proof.0))
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

#[cfg(test)]
mod tests {
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
        let proof = us.prove(Side::Opener, &session);
        assert!(us.holds(proof, Side::Opener, &session));
        // Reflected: the acceptor sends back what it got.
        assert!(!us.holds(proof, Side::Acceptor, &session));
        // Roles swapped altogether.
        let swapped = Session {
            opener: session.acceptor,
            acceptor: session.opener,
            hello_of_opener: session.hello_of_acceptor.clone(),
            hello_of_acceptor: session.hello_of_opener.clone(),
        };
        assert!(!us.holds(proof, Side::Acceptor, &swapped));
        // Replayed against a fresh nonce, towards somebody else, by somebody else.
        let fresh = Message::Hello(us.hello([3; 32], Vec::new())).encode();
        for other in [
            Session { hello_of_acceptor: fresh.clone(), ..session.clone() },
            Session { hello_of_opener: fresh, ..session.clone() },
            Session { acceptor: PeerId::random(), ..session.clone() },
            Session { opener: PeerId::random(), ..session.clone() },
        ] {
            assert!(!us.holds(proof, Side::Opener, &other));
        }
        // Other token, no token, other network.
        for them in [
            Membership::new(Some("other"), "local"),
            Membership::new(None, "local"),
            Membership::new(Some("secret"), "elsewhere"),
        ] {
            assert!(!them.holds(proof, Side::Opener, &session));
        }
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
        assert_eq!(us.check(&hello(&Membership::new(Some("a"), "x"))), Err(Why::OtherNetwork));
        let old = Hello { version: 0, ..hello(&us) };
        assert_eq!(us.check(&old), Err(Why::Version));
        let odd = Hello { description: vec![0xff], ..hello(&us) };
        assert_eq!(us.check(&odd), Err(Why::Malformed));
    }

    #[test]
    fn descriptions_out_of_bounds_are_refused() {
        let good = Description { label: "a".into(), ..Description::default() };
        assert_eq!(Description::decode(&good.encode()), Some(good.clone()));
        for bad in [
            Description { label: "x".repeat(MAX_LABEL + 1), ..good.clone() },
            Description { label: "a\u{1b}[2J".into(), ..good.clone() },
            Description { url: Some("\n".into()), ..good.clone() },
            Description { roles: vec![String::new(); MAX_ROLES + 1], ..good.clone() },
            Description { addresses: vec![ByteBuf::new(); MAX_ADDRESSES + 1], ..good.clone() },
            Description { addresses: vec![vec![0; MAX_ADDRESS_BYTES + 1].into()], ..good },
        ] {
            assert_eq!(Description::decode(&bad.encode()), None);
        }
    }

    #[test]
    fn the_token_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", Membership::new(Some("hunter2"), "local")).contains("hunter2"));
    }
}
