//! The members as people are shown them.

use std::collections::BTreeMap;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::network::{Capability, Serial};

use super::Tickets;

/// A member, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSeen {
    /// Which node.
    pub node: NodeId,
    /// What it may be.
    pub roles: Vec<String>,
    /// Until when, unless it is renewed.
    pub expires: Wall,
    /// The name of its capability.
    pub serial: Serial,
    /// Whether it is connected.
    pub connected: bool,
    /// Since when it, or its capability, is revoked.
    pub revoked: Option<Wall>,
}

impl Tickets {
    /// All that is known of members, by their keys: those met, and those that others let in.
    #[must_use]
    pub fn members(&self) -> Vec<MemberSeen> {
        let own = self.capability().map(|(capability, _)| capability);
        let connected: Vec<NodeId> = self.sessions().keys().copied().collect();
        let state = self.state();
        let revoked = state.notices.revoked();
        let mut all: BTreeMap<NodeId, &Capability> =
            state.notices.members().map(|capability| (capability.peer, capability)).collect();
        if let Some(own) = &own {
            all.insert(own.peer, own);
        }
        let seen = |(node, capability): (NodeId, &Capability)| MemberSeen {
            node,
            roles: capability.roles.words(),
            expires: capability.not_after,
            serial: capability.serial,
            connected: own.as_ref().is_some_and(|own| own.peer == node)
                || connected.contains(&node),
            revoked: revoked.peer(node).or_else(|| revoked.serial(capability.serial)),
        };
        let mut members: Vec<MemberSeen> = all.into_iter().map(seen).collect();
        // One that is revoked stays to be seen, also where its capability is not known here.
        for (node, at) in revoked.peers() {
            if members.iter().all(|known| known.node != node) {
                members.push(MemberSeen {
                    node,
                    roles: Vec::new(),
                    expires: at,
                    serial: Serial([0; 16]),
                    connected: false,
                    revoked: Some(at),
                });
            }
        }
        members
    }
}
