//! The wiring, top to bottom: which parts a node is made of, how they start and how they stop.
//!
//! ```text
//!   HTTP -> http-compat -> NodeHandle -> engine -> machine, store
//!                 host loop -^ (embedded)
//!   host loop -> HTTP client, or libp2p -> coordinators (host role alone)
//! ```
//!
//! Stopping goes against the data's way: first the host (its runs end and are reported), then the
//! API (requests under way are answered), then libp2p, last the engine.

mod attached;
mod blobs;
mod error;
mod p2p;
mod signal;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use skyclaw_http_compat::{
    ApiConfig, HttpMetrics, Identity, PublicKey, Secret as ApiSecret, normalize_url, router,
    serve_counting,
};
use skyclaw_protocol::machine::Config as MachineConfig;
use skyclaw_protocol::placement::capability_list;
use skyclaw_protocol::{HostId, NetworkId};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::{Config, CoordinatorConfig, HostConfig, HostLink, Secret};
use crate::engine::{Engine, EngineConfig};
use crate::handle::{NodeHandle, Others};
use crate::host;
use crate::limits::{
    EMBEDDED_HOST_PATIENCE, HOST_FAREWELL, HOST_STOP_SLACK, HTTP_STOP_GRACE, JOB_KILL_GRACE,
    QUORUM_TIMEOUT_MS,
};
use crate::net::NetHandle;
use crate::repair::Repair;
use crate::supervisor::{Supervisor, SupervisorConfig};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;

pub use error::StartError;
pub use signal::{run, stop_with_parent};

/// A running node.
#[derive(Debug)]
pub struct Node {
    coordinator: Option<Coordinator>,
    host: Option<RunningHost>,
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
}

#[derive(Debug)]
struct RunningHost {
    tasks: Tasks,
    grace: std::time::Duration,
    /// Its own libp2p and file, where it has no coordinator beside it.
    parts: Option<attached::Parts>,
    failed: Arc<AtomicBool>,
}

impl Node {
    /// Starts every role that `config` names. Returns once the API listens and the host, if any,
    /// has registered.
    ///
    /// # Errors
    /// [`StartError`], in words for the person at the terminal. Nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let coordinator = match &config.coordinator {
            Some(coordinator) => Some(Coordinator::start(config, coordinator).await?),
            None => None,
        };
        let mut node = Self { coordinator, host: None };
        if let Err(error) = node.start_host(config).await {
            node.stop().await;
            return Err(error);
        }
        Ok(node)
    }

    /// Returns once the host has registered, or, inside a coordinator, could not yet.
    async fn start_host(&mut self, config: &Config) -> Result<(), StartError> {
        let Some(settings) = &config.host else { return Ok(()) };
        let mut outbox = None;
        let mut parts = None;
        let link: Box<dyn host::Coordinator> = match (&settings.link, &self.coordinator) {
            (HostLink::P2p(link), _) => {
                let (port, own, door) = attached::start(config, link, &settings.name).await?;
                (parts, outbox) = (Some(own), Some(door));
                Box::new(port)
            }
            (HostLink::Embedded, Some(coordinator)) => {
                Box::new(host::Embedded::new(coordinator.handle.clone()))
            }
            (HostLink::Http(urls), _) => {
                let token = config.token.as_ref().map(Secret::expose);
                Box::new(host::http::HttpCoordinator::new(urls, token).map_err(StartError::Host)?)
            }
            (HostLink::Embedded, None) => return Err(StartError::NoCoordinator),
        };
        // Only a coordinator that was named must be there at the start.
        let patient = !matches!(settings.link, HostLink::Http(_));
        let (tasks, grace) = (Tasks::default(), settings.stop_grace);
        let stop = tasks.token();
        let dead = Arc::<AtomicBool>::default();
        let failed_later = Arc::clone(&dead);
        self.host = Some(RunningHost { tasks: tasks.clone(), grace, parts, failed: dead });
        let supervisor = Supervisor::new(supervisor_config(settings))
            .map_err(|source| StartError::Supervisor { source })?;
        supervisor.prepare();
        let (registered, first) = oneshot::channel();
        let mut host = host_config(settings, registered)?;
        host.outbox = outbox;
        let (failed, failure) = oneshot::channel();
        tasks.spawn(async move {
            if let Err(error) = host::run(host, link.as_ref(), &supervisor, stop).await
                && let Err(error) = failed.send(error)
            {
                tracing::error!("the host cannot go on: {error}");
                failed_later.store(true, Ordering::Relaxed);
            }
        });
        tokio::select! {
            biased;
            Ok(error) = failure => Err(StartError::Host(error.to_string())),
            // Its sender goes with a host that failed, before the failure is told.
            Ok(()) = first => Ok(()),
            // A coordinator whose store must heal first is up all the same, and a host that has
            // not found one yet.
            () = tokio::time::sleep(EMBEDDED_HOST_PATIENCE), if patient => Ok(()),
            else => Err(StartError::Interrupted),
        }
    }

    /// The coordinator role, if it runs.
    #[must_use]
    pub const fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_ref()
    }

    /// True once a role has ended by itself: a damaged store, or a host that coordinators refuse.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let host = self.host.as_ref().is_some_and(|host| host.failed.load(Ordering::Relaxed));
        host || self.coordinator.as_ref().is_some_and(Coordinator::is_dead)
    }

    /// Stops every role: running jobs get their grace, then end, and are reported.
    pub async fn stop(self) {
        if let Some(RunningHost { tasks, grace, parts, .. }) = self.host {
            if !tasks.shutdown(grace + HOST_STOP_SLACK).await {
                tracing::warn!(
                    "the host did not stop in time; what it ran is ended with this process"
                );
            }
            if let Some(parts) = parts {
                parts.stop().await;
            }
        }
        if let Some(coordinator) = self.coordinator {
            coordinator.stop().await;
        }
    }
}

impl Coordinator {
    async fn start(config: &Config, settings: &CoordinatorConfig) -> Result<Self, StartError> {
        // The port first: a second node on this machine should not touch the file.
        let listen = (settings.listen_host.as_str(), settings.listen_port);
        let listener = TcpListener::bind(listen).await.map_err(|source| StartError::Listen {
            address: format!("{}:{}", listen.0, listen.1),
            source,
        })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: format!("{}:{}", listen.0, listen.1),
            source,
        })?;
        let engine = {
            let config = engine_config(config, settings);
            tokio::task::spawn_blocking(move || Engine::start(config))
                .await
                .map_err(|_| StartError::Interrupted)??
        };
        let (metrics, http_metrics) = Metrics::new(HttpMetrics::register);
        metrics.watch(engine.shared());
        let public_url = settings.public_url.as_deref().and_then(normalize_url);
        let mut peers: Vec<String> = Vec::new();
        for url in settings.peer_urls.iter().filter_map(|url| normalize_url(url)) {
            if !peers.contains(&url) && Some(&url) != public_url.as_ref() {
                peers.push(url);
            }
        }
        let lines = start_lines(settings, address, public_url.as_deref(), &peers);
        let identity = Identity { node_id: settings.node_id.clone(), public_url };
        let others = Others {
            bootstraps: settings.p2p.as_ref().map_or(0, |p2p| p2p.bootstrap.len()),
            needed: (settings.min_replications as usize).saturating_sub(1),
        };
        let net = NetHandle::new(p2p::membership(config));
        metrics.add(net.numbers());
        let network = p2p::membership(config).id();
        let repair = Repair::new(engine.shared(), engine.inbox(), network);
        metrics.add(repair.numbers());
        let handle = NodeHandle::new(&engine, identity, peers, others, metrics, net.clone());
        if let Some(blobs) = blobs::beside(&settings.db_path, settings.db_min_free_bytes).await {
            blobs::keep_services(&blobs, engine.shared());
            handle.set_blobs(blobs);
        }
        let api = ApiConfig {
            token: config.token.as_ref().map(Secret::expose).and_then(ApiSecret::new),
            public_keys: settings
                .public_api_keys
                .as_ref()
                .map_or_else(Vec::new, |keys| PublicKey::parse_list(keys.expose())),
            cors_origin: settings.public_cors_origin.clone(),
            metrics: http_metrics.clone(),
            ..ApiConfig::default()
        };
        let net = match p2p::start(config, settings, net, &engine, &handle, repair).await {
            Ok(tasks) => tasks,
            Err(error) => {
                // Nothing waits for its end but the file's lock.
                let _ = tokio::task::spawn_blocking(move || engine.stop()).await;
                return Err(error.into());
            }
        };
        let http = Tasks::default();
        let app = router(Arc::new(handle.clone()), api);
        let stop = http.token();
        http.spawn(async move {
            if let Err(error) =
                serve_counting(listener, app, &http_metrics, stop, HTTP_STOP_GRACE).await
            {
                tracing::error!(%error, "the API stopped listening");
            }
        });
        Ok(Self { engine, net, handle, http, address, lines })
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

fn supervisor_config(settings: &HostConfig) -> SupervisorConfig {
    SupervisorConfig {
        allowed: settings.allowed_commands.clone(),
        openclaw_command: settings.openclaw_command.clone(),
        default_timeout: settings.timeout,
        max_output: settings.max_output_bytes,
        work_root: settings.work_dir.clone(),
        // What is not text cannot be handed on; a job sees the few names that policy allows.
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        ..SupervisorConfig::default()
    }
}

/// The host's settings; `registered` is told of the first line, which says that it has registered.
fn host_config(
    settings: &HostConfig,
    registered: oneshot::Sender<()>,
) -> Result<host::HostConfig, StartError> {
    let id = match settings.id.as_deref().map(str::trim).filter(|id| !id.is_empty()) {
        Some(id) => Some(HostId::new(id).map_err(|error| {
            StartError::Host(format!("SKYCLAW_HOST_ID cannot be used: {error}"))
        })?),
        None => None,
    };
    let spec = host::HostSpec {
        id,
        name: settings.name.clone(),
        capabilities: capability_list(settings.capabilities.clone()),
        max_parallel: settings.max_parallel as usize,
    };
    let registered = Mutex::new(Some(registered));
    let mut config = host::HostConfig::new(spec);
    config.poll = settings.poll;
    config.heartbeat = settings.heartbeat;
    // Jobs may end by themselves first; then TERM, and after this KILL.
    config.drain = settings.stop_grace;
    config.grace = JOB_KILL_GRACE;
    config.farewell = HOST_FAREWELL;
    config.announce = host::Announcer::new(move |line| {
        let first = registered.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(first) = first {
            let _ = first.send(());
        }
        // Nobody may be reading.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    });
    Ok(config)
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
            network: NetworkId::of_name(&config.network),
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
        },
    }
}

/// What the original printed at its start, word for word; scripts wait for it.
fn start_lines(
    settings: &CoordinatorConfig,
    address: SocketAddr,
    public_url: Option<&str>,
    peers: &[String],
) -> Vec<String> {
    let copies = settings.min_replications;
    let mut lines = vec![
        format!(
            "coordinator {} listening on http://{}:{}",
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
