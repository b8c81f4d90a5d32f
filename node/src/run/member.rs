//! A node without the coordinator role that joins over libp2p: its file, its place in the network,
//! and its port to the coordinators it finds.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_http_compat::gateway::GatewayMetrics;
use skyclaw_http_compat::normalize_url;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::learned::Learned;
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{NetworkId, NodeId};

use super::p2p::{label, membership};
use super::{StartError, blobs, duties};
use crate::blobs::{Blobs, Peers};
use crate::config::{Config, P2pLink};
use crate::host::outbox::{Outbox, OutboxThread};
use crate::host::p2p::{P2pCoordinators, Parts as PortParts, WorkBoard};
use crate::limits::HTTP_STOP_GRACE;
use crate::net::{Description, Listen, Net, NetConfig, NetHandle, Service, Sink, book_path};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::time;

/// Who holds a blob that arose here: this node and two coordinators.
const COPIES: usize = 3;

/// How long a stopping node waits for the outbox: a few turns of its disk. A host that did not stop in
/// time may still hold a door to it.
const OUTBOX_STOP: Duration = Duration::from_secs(5);

/// What such a node has of its own.
#[derive(Debug)]
pub(super) struct Member {
    net: Net,
    handle: NetHandle,
    key: NodeKey,
    network: NetworkId,
    board: Arc<WorkBoard>,
    lonely: String,
    /// The door to results that wait, until the host takes it.
    outbox: Option<Outbox>,
    thread: OutboxThread,
    /// Where it keeps blobs, and what goes on about them.
    blobs: Option<Blobs>,
    metrics: Arc<Metrics>,
    gateway_metrics: GatewayMetrics,
    tasks: Tasks,
}

impl Member {
    /// Opens the file and joins the network.
    pub(super) async fn start(
        config: &Config,
        link: &P2pLink,
        name: &str,
    ) -> Result<Self, StartError> {
        let mut entropy = [0; 32];
        rand::fill(&mut entropy);
        let mut options = skyclaw_store::Options::new(entropy);
        options.min_free_bytes = link.db_min_free_bytes;
        let path = link.db_path.clone();
        let opened = tokio::task::spawn_blocking(move || Outbox::open(path, options)).await;
        let (outbox, key, thread) = opened.map_err(|_| StartError::Interrupted)??;

        let listen = listen(link);
        let mdns = link.p2p.mdns.unwrap_or_else(|| !listen.is_loopback());
        let lonely = lonely(link, mdns);
        let membership = membership(config);
        let net_config = NetConfig {
            membership: membership.clone(),
            mdns,
            listen,
            external: link.p2p.external.clone(),
            bootstrap: link.p2p.bootstrap.clone(),
            gossip: link.p2p.gossip,
            book: book_path(&link.db_path),
            about: Description {
                roles: config.roles.iter().map(|role| role.as_str().to_owned()).collect(),
                label: label(name),
                ..Description::default()
            },
            token: config.token.clone(),
        };
        let board = Arc::new(WorkBoard::default());
        let network = membership.id();
        let handle = NetHandle::new(membership);
        let (metrics, gateway_metrics) = Metrics::new(GatewayMetrics::register);
        metrics.add(handle.numbers());
        duties::serve_numbers(&handle, &metrics);
        let tasks = Tasks::default();
        let blobs = blobs::beside(&link.db_path, link.db_min_free_bytes).await;
        if let Some(blobs) = &blobs {
            let own = key.id();
            Peers::new(handle.clone(), move || Some(own), COPIES, tasks.clone()).connect(blobs);
        }
        let urls: Vec<String> =
            link.peer_urls.iter().filter_map(|url| normalize_url(url)).collect();
        let sink = Arc::new(Ears(Arc::clone(&board)));
        let net = match Net::start(net_config, &handle, &key, move || urls.clone(), sink).await {
            Ok(net) => net,
            Err(error) => {
                let _ = tasks.shutdown(HTTP_STOP_GRACE).await;
                // Its file can be had again once it has ended.
                drop(outbox);
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
                return Err(error.into());
            }
        };
        let outbox = Some(outbox);
        Ok(Self {
            net,
            handle,
            key,
            network,
            board,
            lonely,
            outbox,
            thread,
            blobs,
            metrics,
            gateway_metrics,
            tasks,
        })
    }

    /// The port through which a host gets its work.
    pub(super) fn port(&self) -> P2pCoordinators {
        P2pCoordinators::new(PortParts {
            own: self.key.id(),
            key: self.key.clone(),
            network: self.network,
            transport: Arc::new(self.handle.clone()),
            board: Arc::clone(&self.board),
            clock: Arc::new(time::now),
            chance: Arc::new(rand::random),
            lonely: self.lonely.clone(),
        })
    }

    /// For the host alone.
    pub(super) const fn take_outbox(&mut self) -> Option<Outbox> {
        self.outbox.take()
    }

    /// Where it keeps blobs, if it has a place for them.
    pub(super) fn blobs(&self) -> Option<Blobs> {
        self.blobs.clone()
    }

    /// Its place in the network.
    pub(super) const fn net(&self) -> &NetHandle {
        &self.handle
    }

    /// What it counts; coordinators ask for it.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Of that, what its gateway does.
    pub(super) const fn gateway_metrics(&self) -> &GatewayMetrics {
        &self.gateway_metrics
    }

    /// Which node it is.
    pub(super) fn id(&self) -> NodeId {
        self.key.id()
    }

    /// Its key.
    pub(super) fn key(&self) -> NodeKey {
        self.key.clone()
    }

    /// To be called once the host has ended, and with it the last door to the outbox.
    pub(super) async fn stop(self) {
        if !self.tasks.shutdown(HTTP_STOP_GRACE).await {
            tracing::warn!("copies under way were dropped");
        }
        self.net.stop().await;
        drop(self.outbox);
        if !self.thread.join_within(OUTBOX_STOP).await {
            tracing::warn!("the outbox did not close in time; what is on its disk is whole");
        }
    }
}

/// One that is told of nodes on this machine only is not for others.
fn listen(link: &P2pLink) -> Listen {
    let P2pLink { p2p, .. } = link;
    if !p2p.listen.is_empty() {
        return Listen::Asked(p2p.listen.clone());
    }
    let near = !p2p.bootstrap.is_empty() && Listen::Asked(p2p.bootstrap.clone()).is_loopback();
    Listen::Default(IpAddr::V4(if near { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED }))
}

/// What is said while no coordinator is found.
fn lonely(link: &P2pLink, mdns: bool) -> String {
    let lan =
        if mdns { "the LAN is searched (mDNS)" } else { "the LAN is not searched (mDNS is off)" };
    let bootstrap: Vec<String> = link.p2p.bootstrap.iter().map(ToString::to_string).collect();
    let named = if bootstrap.is_empty() {
        "no address is named (SKYCLAW_BOOTSTRAP)".to_owned()
    } else {
        format!("called are {}", bootstrap.join(" "))
    };
    format!("no coordinator is found yet, and jobs come from one: {lan}, {named}; trying on")
}

/// What a host hears of the network: where work waits.
struct Ears(Arc<WorkBoard>);

impl Sink for Ears {
    fn frame(&self, _from: NodeId, _message: Message) -> bool {
        // Frames are for coordinators; nobody repeats what a host drops.
        true
    }

    fn learned(&self, _from: NodeId, learned: Vec<Learned>) -> bool {
        for learned in learned {
            if let Learned::Work(work) = learned {
                self.0.hear(time::now().mono, work.into_body());
            }
        }
        true
    }

    fn gone(&self, _node: NodeId) {}

    fn answer(
        &self,
        _service: Service,
        _from: NodeId,
        _ask: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>> {
        futures::future::ready(None).boxed()
    }
}
