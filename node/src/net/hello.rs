//! What two nodes say before they trust each other.
//!
//! ```text
//!   opener                          acceptor
//!     | -- Hello -----------------------> |   version, network's name (hashed), nonce, who it is
//!     | <------------- Hello | Refused -- |
//!     | -- Proof | Refused -------------> |   the one who came shows first: a scanner learns nothing
//!     | <------------- Proof | Refused -- |
//!     | -- Welcome | Refused -----------> |
//! ```

use std::fmt;

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skyclaw_protocol::codec;

use super::limits::{MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_LABEL, MAX_MESSAGE, MAX_ROLES, MAX_URL};
use super::pass::{Grant, Pass};

/// Version of everything said between nodes. 2: votes and promises are sworn.
pub(super) const VERSION: u16 = 2;

/// One message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    Hello(Hello),
    /// The opener's: one for each token it knows, its own first. The acceptor's: one.
    Proof(Vec<Mac>),
    Welcome,
    Refused(Denial),
    /// In a ticket network: see [`super::pass`].
    Pass(Box<Pass>),
    /// The opener's last word there.
    Enter(Option<Box<Grant>>),
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

/// Why a node is not admitted; how long it is left alone for that says `admit::deny_for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Denial {
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
    /// It has no capability that counts, and no ticket.
    NoTicket,
    /// What it shows is forged, damaged, or signed by somebody who may not.
    BadTicket,
    /// The time of its ticket or capability is over.
    Expired,
    /// Its ticket was used as often as it may be.
    UsedUp,
    /// Its ticket or capability is another node's.
    OtherPeer,
    /// It, its ticket, or whoever let it in was revoked.
    Revoked,
    /// It is a newcomer, and the node it met cannot let it in.
    CannotAdmit,
    /// Its clock, or that of who refuses, is wrong.
    Clock,
    /// It is proven to have lied.
    Lied,
}

impl Denial {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::OtherNetwork,
        Self::WrongToken,
        Self::Version,
        Self::Malformed,
        Self::Silent,
        Self::PublicAddress,
        Self::NoTicket,
        Self::BadTicket,
        Self::Expired,
        Self::UsedUp,
        Self::OtherPeer,
        Self::Revoked,
        Self::CannotAdmit,
        Self::Clock,
        Self::Lied,
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
            Self::NoTicket => "no ticket and no capability that counts",
            Self::BadTicket => "forged or damaged ticket or capability",
            Self::Expired => "expired ticket or capability",
            Self::UsedUp => "ticket used up",
            Self::OtherPeer => "ticket or capability of another node",
            Self::Revoked => "revoked",
            Self::CannotAdmit => "a newcomer where nobody can let it in",
            Self::Clock => "ticket or capability of a later time than the clock shows",
            Self::Lied => "proven to have lied",
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
            Self::NoTicket => "no_ticket",
            Self::BadTicket => "bad_ticket",
            Self::Expired => "expired",
            Self::UsedUp => "used_up",
            Self::OtherPeer => "other_peer",
            Self::Revoked => "revoked",
            Self::CannotAdmit => "cannot_admit",
            Self::Clock => "clock",
            Self::Lied => "lied",
        }
    }
}

impl fmt::Display for Denial {
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
    /// It takes no part in gossip, which is no fault then.
    #[serde(default)]
    pub silent: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
