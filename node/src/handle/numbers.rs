//! What any member of the network counts.

use skyclaw_protocol::Refusal;

use super::NodeHandle;
use crate::{net, numbers};

impl NodeHandle {
    /// The metrics of a member by its peer id; none if no such member is known here.
    pub(super) async fn numbers_of(&self, peer: String) -> Result<Option<String>, Refusal> {
        let Some(node) = net::node_of_text(&peer) else { return Ok(None) };
        if self.node() == Some(node) {
            return Ok(Some(self.0.metrics.render()));
        }
        let peer = net::peer_text(node);
        if !self.0.net.view().peers.iter().any(|known| known.peer_id == peer) {
            return Ok(None);
        }
        let numbers = numbers::ask(&self.0.net, node).await;
        let unheard =
            |why| Refusal::Busy(format!("the numbers of {peer} cannot be had: {why}").into());
        numbers.map(Some).map_err(unheard)
    }
}
