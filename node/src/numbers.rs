//! What other members count: their metrics, asked for through a tunnel, so that those without an HTTP API of
//! their own, and those behind NAT, can be watched through any coordinator.
//!
//! Always: coordinators alone are told, as they tell whoever may read; what comes is bounded, and is the
//! word of that member, which nobody checked.

use std::sync::Arc;
use std::time::Duration;

use skyclaw_protocol::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::{Duty, NetHandle};
use crate::telemetry::Metrics;

/// Longest text: that of a gateway with 200 services is half a megabyte.
const MAX_TEXT: u64 = 2 << 20;

/// Longest wait for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the numbers of this node.
pub(crate) async fn tell(metrics: Arc<Metrics>, mut tunnel: impl AsyncRead + AsyncWrite + Unpin) {
    let text = metrics.render();
    let told = async {
        tunnel.write_all(text.as_bytes()).await?;
        tunnel.flush().await?;
        tunnel.shutdown().await?;
        // Whoever reads ends its half when it has all.
        tunnel.read(&mut [0; 1]).await
    };
    if timeout(PATIENCE, told).await.is_err() {
        tracing::debug!("a reader of this node's numbers is too slow");
    }
}

/// Those of another member.
///
/// # Errors
/// Why they are not to be had.
pub(crate) async fn ask(net: &NetHandle, node: NodeId) -> Result<String, String> {
    let opened = net.open(node, Duty::Numbers, Vec::new(), PATIENCE).await;
    let mut tunnel = opened.map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = (&mut tunnel).take(MAX_TEXT + 1);
    let read = async { std::pin::pin!(read).read_to_string(&mut text).await };
    match timeout(PATIENCE, read).await {
        Ok(Ok(_)) if text.len() as u64 <= MAX_TEXT => Ok(text),
        Ok(Ok(_)) => Err("it tells more than is read".to_owned()),
        Ok(Err(error)) => Err(format!("it broke off: {error}")),
        Err(_) => Err("it did not tell them in time".to_owned()),
    }
}
