//! The handshake of a ticket network, after the hellos: each side shows by what it is a member, or the
//! invite by which it is to become one.
//!
//! ```text
//!   opener                          acceptor
//!     | -- Pass ------------------------> |   its capability, or an invite and a proof
//!     | <------- Pass [grant] | Refused - |   the same; and a capability for a newcomer
//!     | -- Enter [grant] | Refused -----> |
//! ```
//!
//! Always: a capability is proven by the connection, which has authenticated the peer that it names; an
//! invite by a signature over both hellos, with the key in the ticket, which never travels. So
//! whoever listens in, or only pretends to be a member, gets nothing that is of use. Of two
//! newcomers none can let the other in.

use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use skyclaw_protocol::NodeId;
use skyclaw_protocol::key::Signature;
use skyclaw_protocol::network::{Capability, Invite, MemberRole, Seed, Vouched};
use skyclaw_protocol::record::Record as _;

use super::handshake::{Failure, read, refuse, unexpected, write};
use super::hello::{Denial, Description, Message};
use super::members::node_of;
use super::membership::{Session, Side};
use super::tickets::{Judged, Tickets};

/// By what a node is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Credential {
    /// Its capability.
    Member(Vouched),
    /// An invite, and that it holds the key of it.
    Newcomer {
        /// The invite.
        invite: Vouched,
        /// Over the meeting.
        proof: Signature,
    },
}

/// What an issuer gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// For the one who gets it.
    pub(super) capability: Vouched,
    /// The network's secret, for those who keep or run what is sealed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seal: Option<Seed>,
}

/// What one side shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pass {
    pub(super) credential: Credential,
    /// Of the acceptor, for a newcomer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<Grant>,
}

/// The opener's part. On success both are members, and what it says of its roles is what it may be.
pub(super) async fn open<S>(
    stream: &mut S,
    tickets: &Arc<Tickets>,
    session: &Session,
    description: Description,
) -> Result<Description, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let peer = session.acceptor;
    let Some(node) = node_of(&peer) else { return refuse(stream, Denial::Malformed).await };
    let credential = match tickets.credential(session.seen(Side::Opener)) {
        Ok(credential) => credential,
        Err(why) => return refuse(stream, why).await,
    };
    let newcomer = matches!(credential, Credential::Newcomer { .. });
    let pass = Pass { credential, grant: None };
    write(stream, &Message::Pass(Box::new(pass)).encode()).await?;
    let theirs = match read(stream).await? {
        (_, Message::Pass(theirs)) => theirs,
        other => return unexpected(stream, other.1).await,
    };
    let judged = match tickets.judge(&theirs.credential, node, session.seen(Side::Acceptor)) {
        Ok(judged) => judged,
        Err(why) => return refuse(stream, why).await,
    };
    let (capability, grant) = match judged {
        Judged::Member(capability) => (capability, None),
        Judged::Newcomer(_) if newcomer => return refuse(stream, Denial::CannotAdmit).await,
        Judged::Newcomer(invite) => match let_in(tickets, invite, node).await {
            Ok((capability, grant)) => (capability, Some(Box::new(grant))),
            Err(why) => return refuse(stream, why).await,
        },
    };
    if newcomer && let Err(why) = keep(tickets, theirs.grant).await {
        return refuse(stream, why).await;
    }
    write(stream, &Message::Enter(grant).encode()).await?;
    Ok(admitted(tickets, peer, &capability, description))
}

/// The acceptor's part.
pub(super) async fn accept<S>(
    stream: &mut S,
    tickets: &Arc<Tickets>,
    session: &Session,
    description: Description,
) -> Result<Description, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let peer = session.opener;
    let Some(node) = node_of(&peer) else { return refuse(stream, Denial::Malformed).await };
    let theirs = match read(stream).await? {
        (_, Message::Pass(theirs)) => theirs,
        other => return unexpected(stream, other.1).await,
    };
    let judged = match tickets.judge(&theirs.credential, node, session.seen(Side::Opener)) {
        Ok(judged) => judged,
        Err(why) => return refuse(stream, why).await,
    };
    let credential = match tickets.credential(session.seen(Side::Acceptor)) {
        Ok(credential) => credential,
        Err(why) => return refuse(stream, why).await,
    };
    let newcomer = matches!(credential, Credential::Newcomer { .. });
    let (capability, grant) = match judged {
        Judged::Member(capability) => (capability, None),
        Judged::Newcomer(_) if newcomer => return refuse(stream, Denial::CannotAdmit).await,
        Judged::Newcomer(invite) => match let_in(tickets, invite, node).await {
            Ok((capability, grant)) => (capability, Some(grant)),
            Err(why) => return refuse(stream, why).await,
        },
    };
    write(stream, &Message::Pass(Box::new(Pass { credential, grant })).encode()).await?;
    let given = match read(stream).await? {
        (_, Message::Enter(given)) => given,
        other => return unexpected(stream, other.1).await,
    };
    if newcomer && let Err(why) = keep(tickets, given.map(|grant| *grant)).await {
        return Err(Failure::ByUs(why));
    }
    Ok(admitted(tickets, peer, &capability, description))
}

/// Issues a capability, on a thread that may wait for the disk.
async fn let_in(
    tickets: &Arc<Tickets>,
    invite: Invite,
    node: NodeId,
) -> Result<(Capability, Grant), Denial> {
    let this = Arc::clone(tickets);
    let admitted = tokio::task::spawn_blocking(move || this.admit(&invite, node));
    let grant = admitted.await.unwrap_or(Err(Denial::CannotAdmit))?;
    // Made here a moment ago.
    let capability = grant.capability.raw.clone().reopen::<Capability>();
    let capability = capability.map_err(|_| Denial::CannotAdmit)?.into_body();
    debug_assert!(capability.check(node).is_ok());
    tracing::info!(%node, roles = %capability.roles, "a newcomer is a member now");
    Ok((capability, grant))
}

/// Keeps what was given, on such a thread.
async fn keep(tickets: &Arc<Tickets>, grant: Option<Grant>) -> Result<(), Denial> {
    let grant = grant.ok_or(Denial::CannotAdmit)?;
    let this = Arc::clone(tickets);
    let kept = tokio::task::spawn_blocking(move || this.take_grant(grant));
    kept.await.unwrap_or(Err(Denial::Malformed))?;
    tracing::info!(network = tickets.name(), "this node is a member now");
    Ok(())
}

/// From here on the other is what its capability says: roles beyond it are as if it had not named
/// them.
fn admitted(
    tickets: &Tickets,
    peer: PeerId,
    capability: &Capability,
    mut description: Description,
) -> Description {
    description
        .roles
        .retain(|word| word != MemberRole::Issuer.as_str() && capability.roles.has_word(word));
    if let Some(node) = node_of(&peer) {
        tickets.opened(node, capability);
    }
    description
}
