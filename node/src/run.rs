//! The wiring, top to bottom: which parts a node is made of, how they start and how they stop.
//!
//! ```text
//!   HTTP -> http-compat -> NodeHandle -> engine -> machine, store
//!                 host loop -^ (embedded)
//!   host loop -> HTTP client, or libp2p -> coordinators (host role alone)
//! ```
//!
//! Stopping goes against the data's way: first the gateway (requests under way are answered), then
//! the host (its runs end and are reported), the API, libp2p, last the engine.

mod blobs;
mod bridge;
mod duties;
mod error;
mod gateway;
mod host;
mod host_key;
mod member;
mod p2p;
pub mod policy;
pub mod sandbox;
mod signal;

use std::net::SocketAddr;
use std::sync::Arc;

use skyclaw_http_compat::gateway::GatewayMetrics;
use skyclaw_http_compat::{
    ApiConfig, HttpMetrics, Identity, PublicKey, Secret as ApiSecret, Tls, normalize_url, router,
    serve,
};
use skyclaw_protocol::limits::QUORUM_TIMEOUT_MS;
use skyclaw_protocol::machine::Config as MachineConfig;
use skyclaw_protocol::seal::SealKeys;
use tokio::net::TcpListener;

use crate::attach::Refused;
use crate::blobs::{Blobs, Peers};
use crate::config::{Config, CoordinatorConfig, Secret};
use crate::engine::{Engine, EngineConfig};
use crate::handle::{NodeHandle, Others};
use crate::imports::Imports;
use crate::limits::HTTP_STOP_GRACE;
use crate::net::NetHandle;
use crate::originals::Originals;
use crate::repair::Repair;
use crate::sandbox::Sandbox;
use crate::seals::Seals;
use crate::services::Services;
use crate::supervisor::policy::PolicyFile;
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::tls::Certificates;
use crate::traces;

pub use error::StartError;
use gateway::RunningGateway;
use host::RunningHost;
pub use host::look_at_openclaw;
use member::Member;
pub use signal::{run, stop_with_parent};

/// A running node.
#[derive(Debug)]
pub struct Node {
    coordinator: Option<Coordinator>,
    /// Its place in the network, where it has none as coordinator.
    member: Option<Member>,
    host: Option<RunningHost>,
    gateway: Option<RunningGateway>,
    /// There if the host runs services.
    services: Option<Services>,
    /// Where its host keeps what is fetched for it.
    blobs: Option<Blobs>,
    /// There if its listeners speak TLS.
    certificates: Option<Certificates>,
}

/// The coordinator role while it runs.
#[derive(Debug)]
pub struct Coordinator {
    engine: Engine,
    net: Tasks,
    handle: NodeHandle,
    http: Tasks,
    address: SocketAddr,
    lines: Vec<String>,
    gateway_metrics: GatewayMetrics,
    metrics: Arc<Metrics>,
}

impl Node {
    /// Starts every role that `config` names. Returns once the API and the gateway listen and the
    /// host, if any, has registered.
    ///
    /// # Errors
    /// [`StartError`], in words for the person at the terminal. Nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let rules = policy::load(config)?;
        let sandbox = sandbox::start(config, rules.as_ref()).await?;
        // Ports first: a second node on this machine should not touch the database.
        let door = match &config.gateway {
            Some(settings) => Some(gateway::listen(settings).await?),
            None => None,
        };
        let certificates = config.tls.as_ref();
        let certificates =
            certificates.map(|tls| Certificates::start(tls, config.acme_dir())).transpose()?;
        let mut node = Self {
            coordinator: None,
            member: None,
            host: None,
            gateway: None,
            services: None,
            blobs: None,
            certificates,
        };
        if let Err(error) = node.start_roles(config, door, (rules, sandbox)).await {
            node.stop().await;
            return Err(error);
        }
        Ok(node)
    }

    async fn start_roles(
        &mut self,
        config: &Config,
        door: Option<gateway::Door>,
        kept: (Option<PolicyFile>, Sandbox),
    ) -> Result<(), StartError> {
        if let Some(settings) = &config.coordinator {
            let tls = self.certificates.as_ref().map(Certificates::api).transpose()?.flatten();
            self.coordinator = Some(Coordinator::start(config, settings, tls).await?);
        }
        if let Some(link) = config.member() {
            let name = config.host.as_ref().map_or("gateway", |host| host.name.as_str());
            self.member = Some(Member::start(config, link, name).await?);
        }
        self.blobs = self.blobs_of_host(config).await;
        self.services = self.start_services(config);
        if let (Some(coordinator), Some(services)) = (&self.coordinator, &self.services) {
            coordinator.handle.set_hosted(services.clone());
        }
        if let (Some(settings), Some(door)) = (&config.gateway, door) {
            self.gateway = Some(self.start_gateway(config, settings, door)?);
        }
        self.start_host(config, kept).await
    }

    /// The coordinator role, if it runs.
    #[must_use]
    pub const fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_ref()
    }

    /// The services of the host role, if it runs any.
    #[must_use]
    pub const fn services(&self) -> Option<&Services> {
        self.services.as_ref()
    }

    /// True once a role has ended by itself: a damaged store, or a host that coordinators refuse.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let host = self.host.as_ref().is_some_and(RunningHost::has_failed);
        let gateway = self.gateway.as_ref().is_some_and(RunningGateway::has_ended);
        host || gateway || self.coordinator.as_ref().is_some_and(Coordinator::is_dead)
    }

    /// Stops every role: running jobs get their grace, then end, and are reported.
    pub async fn stop(self) {
        if let Some(gateway) = self.gateway {
            gateway.stop().await;
        }
        if let Some(host) = self.host {
            host.stop().await;
        }
        if let Some(member) = self.member {
            member.stop().await;
        }
        if let Some(coordinator) = self.coordinator {
            coordinator.stop().await;
        }
        if let Some(certificates) = self.certificates {
            certificates.stop().await;
        }
    }
}

impl Coordinator {
    async fn start(
        config: &Config,
        settings: &CoordinatorConfig,
        tls: Option<Tls>,
    ) -> Result<Self, StartError> {
        // As of the gateway.
        let listen = (settings.listen_host.as_str(), settings.listen_port);
        let failed =
            |source| StartError::Listen { address: format!("{}:{}", listen.0, listen.1), source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let engine = {
            let config = engine_config(config, settings);
            tokio::task::spawn_blocking(move || Engine::start(config))
                .await
                .map_err(|_| StartError::Interrupted)??
        };
        say_who_may_ask(config, &engine);
        let (metrics, (http_metrics, gateway_metrics)) =
            Metrics::new(|it| (HttpMetrics::register(it), GatewayMetrics::register(it)));
        metrics.watch(engine.shared());
        let public_url = settings.public_url.as_deref().and_then(normalize_url);
        let peers = peer_urls(settings, public_url.as_ref());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let lines = start_lines(settings, (scheme, address), public_url.as_deref(), &peers);
        let identity = Identity { node_id: settings.node_id.clone(), public_url };
        let others = Others {
            bootstraps: settings.p2p.as_ref().map_or(0, |p2p| p2p.bootstrap.len()),
            needed: (settings.min_replications as usize).saturating_sub(1),
        };
        let net = NetHandle::new(p2p::membership(config));
        metrics.add(net.numbers());
        duties::serve_numbers(&net, &metrics);
        let network = config.network_id();
        let repair = Repair::new(engine.shared(), engine.inbox(), network);
        metrics.add(repair.numbers());
        let refused = Refused::default();
        metrics.add(refused.numbers());
        let (path, space) = (&settings.db_path, settings.db_min_free_bytes);
        let originals = Originals::open(path, settings.retention, space, engine.shared()).await;
        metrics.add(originals.numbers());
        let handle =
            NodeHandle::new(&engine, identity, peers, others, Arc::clone(&metrics), net.clone());
        handle.set_seals(seals(config, Some(handle.net())));
        if config.host.is_some() {
            handle.set_has_host();
        }
        let http = Tasks::default();
        http.spawn(originals.clone().keep(http.token()));
        handle.set_originals(originals);
        let imports = {
            let (path, retention) = (settings.db_path.clone(), settings.retention);
            tokio::task::spawn_blocking(move || Imports::open(&path, retention))
        };
        let imports = imports.await.map_err(|_| StartError::Interrupted)?;
        imports.keep(&http);
        handle.set_imports(imports);
        if let Some(blobs) = blobs::beside(&settings.db_path, settings.db_min_free_bytes).await {
            let shared = engine.shared();
            let copies = settings.min_replications as usize;
            let peers = Peers::new(net.clone(), move || shared.node(), copies, http.clone());
            peers.connect(&blobs);
            peers.keep(&blobs, blobs::of_services(engine.shared()));
            handle.set_blobs(blobs, peers);
        }
        let api = api_config(config, settings, http_metrics.clone());
        let net = match p2p::start(config, settings, net, &engine, &handle, repair, refused).await {
            Ok(tasks) => tasks,
            Err(error) => {
                http.shutdown(HTTP_STOP_GRACE).await;
                // Nothing waits for its end but the file's lock.
                let _ = tokio::task::spawn_blocking(move || engine.stop()).await;
                return Err(error.into());
            }
        };
        if let Some(bridge) = bridge::of(config, settings, &engine, &handle) {
            metrics.add(bridge.metrics());
            bridge.start(&net);
        }
        let app = router(Arc::new(handle.clone()), api);
        let stop = http.token();
        http.spawn(async move {
            if let Err(error) =
                serve(listener, tls, app, &http_metrics, stop, HTTP_STOP_GRACE).await
            {
                tracing::error!(%error, "the API stopped listening");
            }
        });
        Ok(Self { engine, net, handle, http, address, lines, gateway_metrics, metrics })
    }

    /// Where the API listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the original printed at its start.
    pub fn start_lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// The door to the engine.
    #[must_use]
    pub const fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// True once the engine has ended by itself: the store turned out to be damaged.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.engine.is_dead()
    }

    async fn stop(self) {
        self.handle.drain();
        if !self.http.shutdown(HTTP_STOP_GRACE * 2).await {
            tracing::warn!("requests under way were dropped");
        }
        // After the API: what was under way may have needed the word of others.
        if !self.net.shutdown(HTTP_STOP_GRACE * 2).await {
            tracing::warn!("libp2p did not stop in time");
        }
        let engine = self.engine;
        match tokio::task::spawn_blocking(move || engine.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the engine ended with an error"),
            Err(error) => tracing::error!(%error, "the engine could not be stopped"),
        }
    }
}

/// The coordinators that are named, each once, and not this one.
fn peer_urls(settings: &CoordinatorConfig, own: Option<&String>) -> Vec<String> {
    let mut peers: Vec<String> = Vec::new();
    for url in settings.peer_urls.iter().filter_map(|url| normalize_url(url)) {
        if !peers.contains(&url) && Some(&url) != own {
            peers.push(url);
        }
    }
    peers
}

fn api_config(config: &Config, settings: &CoordinatorConfig, metrics: HttpMetrics) -> ApiConfig {
    let keys = settings.public_api_keys.as_ref();
    ApiConfig {
        token: config.token.as_ref().map(Secret::expose).and_then(ApiSecret::new),
        public_keys: keys.map_or_else(Vec::new, |keys| PublicKey::parse_list(keys.expose())),
        cors_origin: settings.public_cors_origin.clone(),
        endpoint_hosts: settings.endpoint_hosts.clone(),
        metrics,
        join_trace: traces::joining(),
        ..ApiConfig::default()
    }
}

/// Under what values that only nodes may read are sealed.
fn seals(config: &Config, net: Option<&NetHandle>) -> Seals {
    let text = |token: &Option<Secret>| token.as_ref().map(|token| token.expose().to_owned());
    let (token, old) = (text(&config.token), text(&config.old_token));
    let tickets = net.and_then(|net| net.membership().tickets().cloned());
    Seals::new(SealKeys::of_tokens(token.as_deref(), old.as_deref()), tickets)
}

/// Keys bind those who show one; without a token nobody has to.
fn say_who_may_ask(config: &Config, engine: &Engine) {
    let now = crate::time::wall();
    let controls = engine.shared().controls_now();
    if config.token.is_none() && controls.principals().any(|principal| principal.is_valid(now)) {
        tracing::warn!(
            "there are keys of the API, but no SKYCLAW_TOKEN is set: whoever shows no key may do \
             everything; set SKYCLAW_TOKEN, and give it to administrators alone"
        );
    }
}

fn engine_config(config: &Config, settings: &CoordinatorConfig) -> EngineConfig {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut entropy = [0; 32];
    rand::fill(&mut entropy);
    let mut store = skyclaw_store::Options::new(entropy);
    store.min_free_bytes = settings.db_min_free_bytes;
    store.retention_ms = millis(settings.retention);
    EngineConfig {
        db_path: settings.db_path.clone(),
        store,
        machine: MachineConfig {
            network: config.network_id(),
            label: settings.node_id.clone(),
            lease_ms: millis(settings.lease),
            replicas: settings.min_replications as usize,
            key_ttl_ms: millis(settings.idempotency_ttl),
            job_ttl_ms: millis(settings.job_ttl),
            quorum_timeout_ms: QUORUM_TIMEOUT_MS,
            run_ms: millis(settings.run_timeout),
            p2p_lease_ms: millis(settings.p2p_lease),
            host_ttl_ms: millis(settings.host_ttl),
            retention_ms: millis(settings.retention),
            shards: settings.shards,
        },
    }
}

/// What the original printed at its start, word for word; scripts wait for it.
fn start_lines(
    settings: &CoordinatorConfig,
    (scheme, address): (&str, SocketAddr),
    public_url: Option<&str>,
    peers: &[String],
) -> Vec<String> {
    let copies = settings.min_replications;
    let mut lines = vec![
        format!(
            "coordinator {} listening on {scheme}://{}:{}",
            settings.node_id,
            settings.listen_host,
            address.port()
        ),
        format!(
            "replication policy: min replicas {copies} ({} peer acks required)",
            copies.saturating_sub(1)
        ),
    ];
    lines.extend(public_url.map(|url| format!("public url: {url}")));
    if !peers.is_empty() {
        lines.push(format!("peers: {}", peers.join(", ")));
    }
    lines
}
