//! Membership of a ticket network, in the API's words.

use std::fmt;

use futures::future::BoxFuture;
use skyclaw_protocol::clock::Wall;

/// What a ticket is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteWish {
    /// What its users may be.
    pub roles: Vec<String>,
    /// For how long it counts, in milliseconds.
    pub expires_ms: u64,
    /// How many nodes may use it.
    pub uses: u32,
    /// The id of the one node that may, if only one.
    pub peer: Option<String>,
}

/// A ticket. Who has the line may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Invited {
    /// The line to copy.
    pub ticket: String,
    /// Name of the network.
    pub network: String,
    /// The name under which the ticket can be revoked.
    pub serial: String,
    /// What its users may be.
    pub roles: Vec<String>,
    /// Until when it counts.
    pub expires: Wall,
    /// How many nodes may use it.
    pub uses: u32,
}

impl fmt::Debug for Invited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invited").field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// A member, as the node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberView {
    /// Its id.
    pub peer_id: String,
    /// Its display name, if it was met.
    pub label: Option<String>,
    /// What it may be.
    pub roles: Vec<String>,
    /// Until when, unless that is renewed.
    pub expires: Wall,
    /// The name of its capability.
    pub serial: String,
    /// Whether it is connected.
    pub connected: bool,
    /// When it was last, if it was met.
    pub seen: Option<Wall>,
    /// Since when it is revoked.
    pub revoked: Option<Wall>,
}

/// Nothing was changed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipRefusal {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Bad(String),
    /// This node, or this network, is not one that can.
    #[error("{0}")]
    May(String),
    /// The disk does not take it.
    #[error("{0}")]
    Store(String),
}

/// What can be asked and changed of membership by tickets.
pub trait Memberships: Send + Sync {
    /// Makes a ticket.
    fn invite(&self, wish: InviteWish) -> BoxFuture<'_, Result<Invited, MembershipRefusal>>;
    /// What that peer id or serial names is not to count any more.
    fn revoke(&self, target: String) -> BoxFuture<'_, Result<Wall, MembershipRefusal>>;
    /// The members.
    fn members(&self) -> Result<Vec<MemberView>, MembershipRefusal>;
}

/// Of a token network.
#[derive(Clone, Copy, Debug)]
pub struct NoTickets;

impl NoTickets {
    /// What everything asked of one comes to.
    #[must_use]
    pub fn refusal() -> MembershipRefusal {
        MembershipRefusal::May(
            "this network has no tickets: whoever knows its SKYCLAW_TOKEN is a member. \
             `skyclaw network create` makes one that has"
                .into(),
        )
    }
}

impl Memberships for NoTickets {
    fn invite(&self, _wish: InviteWish) -> BoxFuture<'_, Result<Invited, MembershipRefusal>> {
        Box::pin(std::future::ready(Err(Self::refusal())))
    }

    fn revoke(&self, _target: String) -> BoxFuture<'_, Result<Wall, MembershipRefusal>> {
        Box::pin(std::future::ready(Err(Self::refusal())))
    }

    fn members(&self) -> Result<Vec<MemberView>, MembershipRefusal> {
        Err(Self::refusal())
    }
}
