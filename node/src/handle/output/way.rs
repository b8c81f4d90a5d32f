//! The way to what a run writes: here, at the node of its host, or not before the end.

use skyclaw_http_compat::PeerView;
use skyclaw_protocol::{HostId, JobView, NodeId, codec};

use super::{Follower, PATIENCE};
use crate::config::Role;
use crate::net::{self, Duty, OpenError, Tunnel};
use crate::output::OutputHeader;
use crate::supervisor::OutputReader;

/// Where a run's output is.
pub(super) enum Way {
    Here(OutputReader),
    There(NodeId),
    /// Its host talks HTTP only, and says nothing before the end.
    AtItsEnd,
    /// Nobody is known who could tell.
    Nowhere,
}

impl Follower {
    pub(super) async fn way(&self, job: &JobView) -> Way {
        let from = [self.at.stdout, self.at.stderr];
        let here = self.handle.0.outputs.get();
        if let Some(reader) = here.and_then(|here| here.read(&self.id, job.attempts, from)) {
            return Way::Here(reader);
        }
        let Some(host) = job.assigned_host.clone() else { return Way::Nowhere };
        let me = self.handle.node();
        let there = |node| if Some(node) == me { Way::Nowhere } else { Way::There(node) };
        match self.handle.host_ways(host.clone()).await.ok().flatten() {
            Some((Some(node), _)) => there(node),
            Some((None, sponsor)) if self.talks_http(&host, sponsor) => Way::AtItsEnd,
            // It is a part of the coordinator that registered it.
            Some((None, sponsor)) => there(sponsor),
            None => Way::Nowhere,
        }
    }

    /// Whether a host without a node of its own is surely no part of the coordinator that registered it.
    fn talks_http(&self, host: &HostId, sponsor: NodeId) -> bool {
        let inner = &self.handle.0;
        if self.handle.node() == Some(sponsor) {
            return self.handle.is_others(host);
        }
        let (name, view) = (net::peer_text(sponsor), inner.net.view());
        let has = |peer: &PeerView, word: Role| peer.roles.iter().any(|role| role == word.as_str());
        // One of which nothing is known now may have a host.
        let sponsor = view.peers.iter().find(|peer| peer.peer_id == name);
        sponsor.is_some_and(|peer| has(peer, Role::Coordinator) && !has(peer, Role::Host))
    }

    pub(super) async fn tunnel(&self, node: NodeId) -> Result<Tunnel, OpenError> {
        let header = OutputHeader {
            job: self.id.clone(),
            attempt: self.at.attempt,
            stdout: self.at.stdout as u64,
            stderr: self.at.stderr as u64,
            follow: self.follow,
        };
        self.handle.0.net.open(node, Duty::Output, codec::encode(&header), PATIENCE).await
    }
}
