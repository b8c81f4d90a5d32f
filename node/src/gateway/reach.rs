//! The way to an instance: by a tunnel to its node, or, if that is this one, straight to it.

use std::io;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_http_compat::gateway::{Connector, Endpoint, PathKind, Stream};
use skyclaw_protocol::{NodeId, codec};
use tokio::net::TcpStream;

use crate::net::{self, Duty, NetHandle};
use crate::services::{HttpHeader, Services};

/// Longest time until a tunnel stands; the gateway gives up by itself, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(crate) struct Reached {
    net: NetHandle,
    own: Option<NodeId>,
    services: Option<Services>,
}

impl Reached {
    /// Through this node's place in the network. `own` and `services` are this node and what it
    /// runs itself, if it does.
    #[must_use]
    pub(crate) const fn new(
        net: NetHandle,
        own: Option<NodeId>,
        services: Option<Services>,
    ) -> Self {
        Self { net, own, services }
    }

    async fn reach(&self, endpoint: &Endpoint) -> io::Result<(Box<dyn Stream>, PathKind)> {
        let no = |text: String| io::Error::new(io::ErrorKind::NotConnected, text);
        let node = endpoint.node.ok_or_else(|| no("the instance has no node".into()))?;
        let (service, epoch) = (endpoint.id.service.clone(), endpoint.id.epoch);
        if Some(node) == self.own {
            let here = self.services.as_ref().and_then(|here| here.address_of(&service, epoch));
            let address = here.ok_or_else(|| no("the instance does not serve here".into()))?;
            let stream = TcpStream::connect(address).await?;
            // Small pieces are pieces of a conversation.
            stream.set_nodelay(true)?;
            return Ok((Box::new(stream), PathKind::Tcp));
        }
        let header = codec::encode(&HttpHeader { service, epoch });
        let tunnel = self.net.open(node, Duty::Http, header, PATIENCE).await;
        let tunnel = tunnel.map_err(|error| no(error.to_string()))?;
        let path = match tunnel.path() {
            net::PathKind::Direct => PathKind::Direct,
            net::PathKind::Relayed => PathKind::Relayed,
        };
        Ok((Box::new(tunnel), path))
    }
}

impl Connector for Reached {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, io::Result<(Box<dyn Stream>, PathKind)>> {
        self.reach(endpoint).boxed()
    }
}
