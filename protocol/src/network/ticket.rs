//! One line that makes a newcomer a member.
//!
//! Always: who has the line may use it, as often as its invite says, so it is never logged and shown
//! once. What a newcomer shows to others is the invite and a proof, never the secret in it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::invite::Invite;
use super::revocation::Revoked;
use super::seed::Seed;
use super::vouched::{Doubt, Law, Vouched};
use crate::clock::Wall;
use crate::codec;
use crate::id::{NetworkId, NodeId};
use crate::limits::{MAX_NETWORK_NAME, MAX_TICKET_ADDRESS, MAX_TICKET_ADDRESSES, MAX_TICKET_BYTES};

/// What every ticket begins with: the version is part of it.
const PREFIX: &str = "skyclaw1";

/// Length of the sum behind the bytes, which tells a slip of the hand from a forgery.
const SUM: usize = 4;

/// Why a text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not look like one.
    #[error("this is no ticket: one begins with `skyclaw1`")]
    NotATicket,
    /// Characters are missing, doubled or wrong.
    #[error("the ticket is damaged: copy the whole line, as it was printed")]
    Damaged,
    /// It decodes to something that no honest node makes.
    #[error("the ticket makes no sense to this version")]
    Malformed,
    /// Its invite does not count.
    #[error("the ticket does not count: {0}")]
    Doubtful(#[from] Doubt),
}

/// A ticket, taken apart.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// Name of the network.
    #[serde(rename = "n")]
    pub name: String,
    /// Whose key the network was made with.
    #[serde(rename = "a")]
    pub admin: NodeId,
    /// Where members are: binary multiaddrs, each with the peer's id at its end.
    #[serde(rename = "m")]
    pub addresses: Vec<ByteBuf>,
    /// What lets its holder in.
    #[serde(rename = "i")]
    pub invite: Vouched,
    /// The secret half of the invite's key.
    #[serde(rename = "k")]
    pub secret: Seed,
}

impl Ticket {
    /// The line to copy.
    #[must_use]
    pub fn to_line(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(codec::encode(self));
        let sum = sum(&bytes);
        bytes.extend_from_slice(&sum);
        let mut text = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&bytes));
        text.make_ascii_lowercase();
        Zeroizing::new(format!("{PREFIX}{}", text.as_str()))
    }

    /// Reads a line: in either case, with white space around it.
    ///
    /// # Errors
    /// [`TicketError`]. That the invite counts is another question: [`Ticket::check`].
    pub fn parse(line: &str) -> Result<Self, TicketError> {
        let line = line.trim();
        // Base32 has eight characters to five bytes.
        if line.len() > PREFIX.len() + (MAX_TICKET_BYTES + SUM) * 2 {
            return Err(TicketError::NotATicket);
        }
        let upper = Zeroizing::new(line.to_ascii_uppercase());
        let rest = upper.strip_prefix("SKYCLAW1").ok_or(TicketError::NotATicket)?;
        let bytes = data_encoding::BASE32_NOPAD.decode(rest.as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_| TicketError::Damaged)?);
        let (body, told) = bytes.split_last_chunk::<SUM>().ok_or(TicketError::Damaged)?;
        if sum(body) != *told {
            return Err(TicketError::Damaged);
        }
        let this: Self =
            codec::decode(body, MAX_TICKET_BYTES).map_err(|_| TicketError::Malformed)?;
        let holds = network_name_holds(&this.name)
            && this.addresses.len() <= MAX_TICKET_ADDRESSES
            && this.addresses.iter().all(|address| address.len() <= MAX_TICKET_ADDRESS);
        if holds { Ok(this) } else { Err(TicketError::Malformed) }
    }

    /// The network it is for.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        NetworkId::of_admin(self.admin, &self.name)
    }

    /// Whether its invite counts, as far as can be seen without asking anybody.
    ///
    /// # Errors
    /// [`TicketError`] with the reason.
    pub fn check(&self, now: Wall) -> Result<Invite, TicketError> {
        let revoked = Revoked::default();
        let law = Law { network: self.network(), admin: self.admin, revoked: &revoked };
        let invite = self.invite.check::<Invite>(&law, now)?.into_body();
        if invite.holder != self.secret.id() {
            return Err(TicketError::Doubtful(Doubt::Forged));
        }
        Ok(invite)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether a ticket network may have this name.
#[must_use]
pub fn network_name_holds(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NETWORK_NAME
        && name.trim() == name
        && !name.contains(char::is_control)
}

fn sum(bytes: &[u8]) -> [u8; SUM] {
    let hash = blake3::derive_key("skyclaw/1 sum of a ticket", bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}
