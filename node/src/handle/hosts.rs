//! What the engine says of hosts.

use skyclaw_protocol::{HostId, HostView, NodeId, Refusal};

use super::NodeHandle;
use crate::engine::{HostWays, Input};

impl NodeHandle {
    pub(crate) async fn host_list(&self) -> Result<Vec<HostView>, Refusal> {
        self.asked(Input::Hosts).await
    }

    /// The node that speaks for a host; none if there is none or the host is not known.
    pub(crate) async fn host_node(&self, host: HostId) -> Result<Option<NodeId>, Refusal> {
        Ok(self.host_ways(host).await?.and_then(|(node, _)| node))
    }

    /// That node, and the coordinator that registered the host; none if the host is not known.
    pub(super) async fn host_ways(&self, host: HostId) -> Result<Option<HostWays>, Refusal> {
        self.asked(|reply| Input::HostWays { host, reply }).await
    }

    /// There is a host in this process, or will be.
    pub(crate) fn set_has_host(&self) {
        // Nobody says otherwise.
        let _ = self.0.has_host.set(());
    }

    /// Whether a host that was registered at this coordinator is surely not the one in this process.
    pub(super) fn is_others(&self, host: &HostId) -> bool {
        is_others(host, self.0.has_host.get().is_some(), self.0.own_host.get())
    }

    /// The host in this process is known by this id.
    pub(crate) fn set_own_host(&self, id: HostId) {
        // It registers again under the same one.
        let _ = self.0.own_host.set(id);
    }
}

/// Before the host in this process has registered, after a restart, any may be the one it was.
fn is_others(host: &HostId, has_host: bool, own: Option<&HostId>) -> bool {
    own.map_or(!has_host, |own| own != host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_own_host_has_registered_no_host_is_surely_anothers() {
        let [own, other] = ["own", "other"].map(|id| HostId::new(id).unwrap());
        assert!(is_others(&other, false, None), "there is none");
        assert!(!is_others(&own, true, None) && !is_others(&other, true, None));
        assert!(!is_others(&own, true, Some(&own)) && is_others(&other, true, Some(&own)));
    }
}
