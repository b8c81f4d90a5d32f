//! The table at work: the state of each service and endpoint, kept over changes of the table.
//!
//! Always: state is found by identity; what the table no longer names is forgotten, and whatever
//! still uses it goes on to its end.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use hyper::header::HeaderValue;
use skyclaw_protocol::ServiceId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::balance;
use super::budget::Budget;
use super::config::GatewayConfig;
use super::connector::{Connector, PathKind};
use super::error::Refused;
use super::health::Health;
use super::metrics::{GatewayMetrics, ServiceMetrics};
use super::pool::Pool;
use super::table::{Endpoint, EndpointId, Table};

/// Everything the gateway has.
pub(super) struct Gateway {
    pub(super) config: GatewayConfig,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) metrics: GatewayMetrics,
    /// Callers' connections, upgraded ones included.
    pub(super) tasks: TaskTracker,
    /// Ends those.
    pub(super) ending: CancellationToken,
    live: RwLock<Arc<Live>>,
    idle: Arc<AtomicUsize>,
    in_flight: AtomicUsize,
    began: Instant,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// One table and the state of what it names.
#[derive(Debug, Default)]
pub(super) struct Live {
    services: Vec<Arc<Service>>,
    by_key: HashMap<String, usize>,
    by_host: HashMap<String, usize>,
    /// The answer of the list.
    pub(super) served: Vec<String>,
}

/// A service as one table has it.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) health_path: Option<String>,
    pub(super) upstreams: Vec<Arc<Upstream>>,
    pub(super) kept: Arc<Kept>,
    id: ServiceId,
    name: String,
}

/// What outlives a table.
#[derive(Debug)]
pub(super) struct Kept {
    turn: AtomicUsize,
    in_flight: AtomicUsize,
    pub(super) budget: Budget,
    pub(super) metrics: ServiceMetrics,
}

/// An endpoint and all that is known of it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) replica: String,
    /// What it gets as Host at its address.
    pub(super) authority: Option<HeaderValue>,
    pub(super) health: Health,
    pub(super) pool: Pool,
    /// What failed last, if anything did.
    pub(super) failed_by: Mutex<&'static str>,
    /// Until when its address is passed over in favour of its node, in milliseconds.
    pub(super) no_tcp_until: AtomicU64,
    shown: [OnceLock<Option<HeaderValue>>; 3],
}

impl Gateway {
    pub(super) fn new(
        config: GatewayConfig,
        connector: Arc<dyn Connector>,
        metrics: GatewayMetrics,
    ) -> Self {
        Self {
            config: config.bounded(),
            connector,
            metrics,
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
            live: RwLock::default(),
            idle: Arc::default(),
            in_flight: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }

    /// Milliseconds since the gateway began, at least 1.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    pub(super) fn cooldown(&self) -> u64 {
        u64::try_from(self.config.cooldown.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes another table. State moves over by identity.
    pub(super) fn change(&self, table: &Table) {
        let before = self.live();
        let known: HashMap<&EndpointId, &Arc<Upstream>> = (before.services.iter())
            .flat_map(|service| &service.upstreams)
            .map(|upstream| (&upstream.endpoint.id, upstream))
            .collect();
        // With another name it is counted under another name.
        let kept: HashMap<(&ServiceId, &str), &Arc<Kept>> = (before.services.iter())
            .map(|service| ((&service.id, service.name.as_str()), &service.kept))
            .collect();
        let names: HashSet<&str> = table.routes().iter().map(|it| it.name.as_str()).collect();
        self.metrics.keep(&names);
        let services = table.routes().iter().map(|route| {
            let upstreams = route.endpoints.iter().map(|endpoint| match known.get(&endpoint.id) {
                // Its host may have got another name or slot by now; that is only shown.
                Some(upstream) => Arc::clone(upstream),
                None => Arc::new(Upstream::new(Arc::clone(endpoint), self.pool())),
            });
            Arc::new(Service {
                id: route.id.clone(),
                name: route.name.clone(),
                health_path: route.health_path.clone(),
                upstreams: upstreams.collect(),
                kept: kept.get(&(&route.id, route.name.as_str())).map_or_else(
                    || Arc::new(Kept::new(self.metrics.of(&route.name), self.now())),
                    |kept| Arc::clone(kept),
                ),
            })
        });
        let services: Vec<Arc<Service>> = services.collect();
        let now: HashSet<&EndpointId> = (services.iter())
            .flat_map(|service| &service.upstreams)
            .map(|upstream| &upstream.endpoint.id)
            .collect();
        for (id, upstream) in &known {
            if !now.contains(id) {
                upstream.pool.retire();
            }
        }
        let live = Live {
            by_key: table.keys().map(|(key, at)| (key.clone(), at)).collect(),
            by_host: table.hosts().map(|(key, at)| (key.clone(), at)).collect(),
            served: table.served().into_iter().map(str::to_owned).collect(),
            services,
        };
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }

    fn pool(&self) -> Pool {
        Pool::new(self.config.threads, Arc::clone(&self.idle), self.config.relayed_for)
    }

    /// Counts a request of a service as one under way.
    pub(super) fn admit(self: &Arc<Self>, service: &Arc<Service>) -> Result<Ticket, Refused> {
        let most = self.config.max_in_flight;
        let ticket = Ticket { gateway: Arc::clone(self), kept: Arc::clone(&service.kept) };
        let all = self.in_flight.fetch_add(1, Relaxed);
        let own = service.kept.in_flight.fetch_add(1, Relaxed);
        if all >= most {
            return Err(Refused::Busy(most, ""));
        }
        let most = most / 2;
        if own >= most { Err(Refused::Busy(most, "of this service ")) } else { Ok(ticket) }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Ticket {
    gateway: Arc<Gateway>,
    kept: Arc<Kept>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gateway.in_flight.fetch_sub(1, Relaxed);
        self.kept.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Live {
    pub(super) fn by_key(&self, key: &str) -> Option<&Arc<Service>> {
        self.by_key.get(key).and_then(|&at| self.services.get(at))
    }

    pub(super) fn by_host(&self, name: &str) -> Option<&Arc<Service>> {
        self.by_host.get(name).and_then(|&at| self.services.get(at))
    }

    pub(super) fn services(&self) -> &[Arc<Service>] {
        &self.services
    }
}

impl Kept {
    const fn new(metrics: ServiceMetrics, now: u64) -> Self {
        Self {
            turn: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            budget: Budget::new(now),
            metrics,
        }
    }
}

impl Service {
    /// What it is called. Several may have one name, and each has an id of its own.
    pub(super) fn name_and_id(&self) -> (&str, &str) {
        (&self.name, self.id.as_str())
    }

    /// Whose turn it is with the next request.
    pub(super) fn turn(&self) -> usize {
        self.kept.turn.fetch_add(1, Relaxed)
    }

    /// The endpoint for the next attempt of a request; none of `tried`.
    pub(super) fn choose(&self, gateway: &Gateway, turn: usize, tried: &[usize]) -> Option<usize> {
        let all = self.upstreams.iter().map(|upstream| &upstream.health);
        balance::choose(all, tried, turn, gateway.now(), gateway.cooldown())
    }
}

impl Upstream {
    fn new(endpoint: Arc<Endpoint>, pool: Pool) -> Self {
        Self {
            replica: endpoint.replica(),
            authority: (endpoint.http.as_ref())
                .and_then(|place| HeaderValue::from_str(&place.authority).ok()),
            endpoint,
            health: Health::default(),
            pool,
            failed_by: Mutex::new(""),
            no_tcp_until: AtomicU64::new(0),
            shown: [const { OnceLock::new() }; 3],
        }
    }

    /// What `x-skyclaw-route` says of an answer of this endpoint.
    pub(super) fn shown(&self, attempts: usize, path: PathKind) -> Option<HeaderValue> {
        let text = || {
            let path = path.as_str();
            let text = format!("replica={}; attempts={attempts}; path={path}", self.replica);
            HeaderValue::from_bytes(text.as_bytes()).ok()
        };
        // Nearly all answers come at the first attempt.
        if attempts == 1
            && let Some(slot) = self.shown.get(path as usize)
        {
            return slot.get_or_init(text).clone();
        }
        text()
    }
}

/// An attempt at an endpoint, until its answer is whole.
#[derive(Debug)]
pub(super) struct Flight {
    gateway: Arc<Gateway>,
    upstream: Arc<Upstream>,
}

impl Flight {
    pub(super) fn new(gateway: &Arc<Gateway>, upstream: &Arc<Upstream>) -> Self {
        upstream.health.begin();
        Self { gateway: Arc::clone(gateway), upstream: Arc::clone(upstream) }
    }

    pub(super) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The endpoint failed: it is passed over for a while.
    pub(super) fn failed(&self, reason: &'static str) {
        self.gateway.note_failure(&self.upstream, reason);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.upstream.health.end();
    }
}

impl Gateway {
    /// An endpoint failed: it is passed over for a while.
    pub(super) fn note_failure(&self, upstream: &Upstream, reason: &'static str) {
        self.metrics.failed(reason);
        *upstream.failed_by.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        if upstream.health.failed(self.now(), self.cooldown()) {
            self.metrics.ejections.inc();
            let (service, replica) = (&upstream.endpoint.id.service, &upstream.replica);
            tracing::info!(%service, %replica, reason, "an endpoint is passed over for a while");
        }
    }
}
