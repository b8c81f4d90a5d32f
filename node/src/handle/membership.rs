//! Membership by tickets, as the API asks for it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_http_compat::{
    InviteWish, Invited, MemberView, MembershipRefusal, Memberships, NetworkView, NoTickets,
};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::network::{Roles, Serial, Target};

use super::NodeHandle;
use crate::net::{self, TicketRefusal, Tickets};

/// Who answers for a node: in a token network nobody.
pub(super) fn of(handle: &NodeHandle) -> &dyn Memberships {
    if handle.0.net.tickets().is_some() { handle } else { &NoTickets }
}

impl Memberships for NodeHandle {
    fn invite(&self, wish: InviteWish) -> BoxFuture<'_, Result<Invited, MembershipRefusal>> {
        async move {
            let roles = Roles::parse(wish.roles.iter().map(String::as_str));
            let roles = roles.map_err(|error| MembershipRefusal::Bad(error.to_string()))?;
            let peer = wish.peer.as_deref().map(|text| {
                let node = net::node_of_text(text);
                node.ok_or_else(|| MembershipRefusal::Bad(format!("{text} is no peer's id")))
            });
            let wish = net::InviteWish {
                roles,
                life_ms: wish.expires_ms,
                uses: wish.uses,
                peer: peer.transpose()?,
                addresses: self.0.net.ways_here(),
            };
            let (ticket, invite) = self.sign(move |tickets| tickets.invite(wish)).await?;
            Ok(Invited {
                ticket: ticket.to_line().as_str().to_owned(),
                network: ticket.name.clone(),
                serial: invite.named().to_string(),
                roles: invite.roles.words(),
                expires: invite.not_after,
                uses: invite.uses,
            })
        }
        .boxed()
    }

    fn revoke(&self, target: String) -> BoxFuture<'_, Result<Wall, MembershipRefusal>> {
        async move {
            let peer = net::node_of_text(&target).map(Target::Peer);
            let target = peer.or_else(|| Serial::parse(&target).map(Target::Serial));
            let target = target.ok_or_else(|| {
                let text = "neither a peer's id nor the serial of a ticket or capability";
                MembershipRefusal::Bad(text.into())
            })?;
            self.sign(move |tickets| tickets.revoke(target)).await
        }
        .boxed()
    }

    fn members(&self) -> Result<Vec<MemberView>, MembershipRefusal> {
        let tickets = self.0.net.tickets().ok_or_else(NoTickets::refusal)?;
        let NetworkView { peers, .. } = self.0.net.view();
        let view = |member: net::MemberSeen| {
            let peer_id = net::peer_text(member.node);
            let met = peers.iter().find(|peer| peer.peer_id == peer_id);
            MemberView {
                label: met.map(|peer| peer.label.clone()),
                seen: met.map(|peer| peer.since),
                roles: member.roles,
                expires: member.expires,
                serial: member.serial.to_string(),
                connected: member.connected,
                revoked: member.revoked,
                peer_id,
            }
        };
        Ok(tickets.members().into_iter().map(view).collect())
    }
}

impl NodeHandle {
    /// Does what waits for a disk, on a thread that may.
    async fn sign<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tickets) -> Result<T, TicketRefusal> + Send + 'static,
    ) -> Result<T, MembershipRefusal> {
        let tickets: Arc<Tickets> = self.0.net.tickets().ok_or_else(NoTickets::refusal)?;
        let done = tokio::task::spawn_blocking(move || work(&tickets)).await;
        let done = done.map_err(|_| MembershipRefusal::Store("the node is stopping".into()))?;
        done.map_err(|refusal| match refusal {
            TicketRefusal::Bad(text) => MembershipRefusal::Bad(text),
            TicketRefusal::Disk | TicketRefusal::Full => {
                MembershipRefusal::Store(refusal.to_string())
            }
            _ => MembershipRefusal::May(refusal.to_string()),
        })
    }
}
