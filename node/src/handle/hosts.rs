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
        let (reply, answer) = oneshot::channel();
        self.send(Input::HostNode { host, reply })?;
        answer.await.unwrap_or(Err(Refusal::Stopping))
    }
}
