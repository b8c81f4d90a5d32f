//! What the engine says of hosts.

use skyclaw_protocol::{HostId, HostView, NodeId, Refusal};
use tokio::sync::oneshot;

use super::NodeHandle;
use crate::engine::Input;

impl NodeHandle {
    pub(super) async fn host_list(&self) -> Result<Vec<HostView>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Hosts(reply))?;
        answer.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// The node that speaks for a host; none if there is none or the host is not known.
    pub(crate) async fn host_node(&self, host: HostId) -> Result<Option<NodeId>, Refusal> {
        Ok(self.host_ways(host).await?.and_then(|(node, _)| node))
    }

    /// That node, and the coordinator that registered the host; none if the host is not known.
    pub(super) async fn host_ways(
        &self,
        host: HostId,
    ) -> Result<Option<(Option<NodeId>, NodeId)>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::HostWays { host, reply })?;
        answer.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// The host in this process is known by this id.
    pub(crate) fn set_own_host(&self, id: HostId) {
        // It registers again under the same one.
        let _ = self.0.own_host.set(id);
    }
}
