//! How a host asks coordinators.

use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::orders::Question;
use skyclaw_protocol::{NodeId, codec};
use tokio::sync::watch;
use tokio::time::sleep;

use super::limits::{LOOK, LOOK_AGAIN, MAX_TELL};
use crate::net::{AskError, NetHandle, Service};

/// Carries one question to a connected coordinator, and its answer back.
pub trait Transport: Send + Sync + 'static {
    /// Dropping the future gives the question up.
    fn ask(
        &self,
        to: NodeId,
        ask: HostAsk,
        patience: Duration,
    ) -> BoxFuture<'static, Result<HostTell, AskError>>;

    /// The coordinators that are connected, now and at each change.
    fn coordinators(&self) -> watch::Receiver<Vec<NodeId>>;
}

impl Transport for NetHandle {
    fn ask(
        &self,
        to: NodeId,
        ask: HostAsk,
        patience: Duration,
    ) -> BoxFuture<'static, Result<HostTell, AskError>> {
        let net = self.clone();
        async move {
            let mut look = LOOK;
            if let HostAsk::Claim { wait_ms, .. } | HostAsk::Services(Question { wait_ms, .. }) =
                &ask
            {
                look += Duration::from_millis(u64::from(*wait_ms));
            }
            let mut asked = pin!(Self::ask(&net, to, Service::Host, codec::encode(&ask), patience));
            // A process that was killed says nothing; where it is found dead its connections end, and
            // with them the wait.
            let told = loop {
                tokio::select! {
                    told = &mut asked => break told?,
                    () = sleep(look) => net.probe(to),
                }
                look = LOOK_AGAIN;
            };
            codec::decode(&told, MAX_TELL).map_err(|error| {
                tracing::warn!(coordinator = ?to, %error, "its answer cannot be read");
                AskError::NoAnswer
            })
        }
        .boxed()
    }

    fn coordinators(&self) -> watch::Receiver<Vec<NodeId>> {
        Self::coordinators(self)
    }
}
