//! What the gateway counts.
//!
//! Always: a service has series of its own while the table names it and fewer than
//! [`MAX_SERVICES`] others have; the rest counts as `other`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::known::Known;

/// Services with series of their own: some twenty series each.
const MAX_SERVICES: usize = 200;

/// What counts for services beyond that.
const OTHER: &str = "other";

/// Seconds to the head of an answer.
const BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    service: String,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Counters of the gateway; clones count together.
#[derive(Clone, Debug)]
pub struct GatewayMetrics {
    answers: Family<ClassLabels, Counter>,
    seconds: Family<ServiceLabels, Histogram, fn() -> Histogram>,
    retries: Family<ServiceLabels, Counter>,
    failures: Family<ReasonLabels, Counter>,
    refusals: Family<ReasonLabels, Counter>,
    pub(super) ejections: Counter,
    pub(super) connections: Gauge,
    pub(super) tunnels: Gauge,
    pub(super) known: Known,
    named: Arc<Mutex<HashSet<String>>>,
}

impl Default for GatewayMetrics {
    /// Metrics that nobody collects.
    fn default() -> Self {
        Self {
            answers: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            retries: Family::default(),
            failures: Family::default(),
            refusals: Family::default(),
            ejections: Counter::default(),
            connections: Gauge::default(),
            tunnels: Gauge::default(),
            known: Known::default(),
            named: Arc::default(),
        }
    }
}

/// The counters of one service.
#[derive(Clone, Debug)]
pub(super) struct ServiceMetrics {
    classes: [Counter; 5],
    seconds: Histogram,
    pub(super) retries: Counter,
}

impl ServiceMetrics {
    pub(super) fn answered(&self, status: u16, took: Duration) {
        if let Some(class) =
            usize::from(status / 100).checked_sub(1).and_then(|at| self.classes.get(at))
        {
            class.inc();
        }
        self.seconds.observe(took.as_secs_f64());
    }
}

impl GatewayMetrics {
    /// Metrics collected through `registry`: `gateway_answers` by service and status class,
    /// `gateway_seconds` and `gateway_retries` by service, `gateway_endpoint_failures` and
    /// `gateway_refusals` by reason, `gateway_ejections`, `gateway_connections`,
    /// `gateway_tunnels`; and what the gateway knows: `gateway_table_age_seconds`, `gateway_services`,
    /// `gateway_endpoints` by service, `gateway_ejected`, `gateway_ejected_seconds` by service, instance and reason.
    pub fn register(registry: &mut Registry) -> Self {
        let it = Self::default();
        registry.register("gateway_answers", "Answers of services", it.answers.clone());
        registry.register(
            "gateway_seconds",
            "Time from a request's head to its answer's, in seconds",
            it.seconds.clone(),
        );
        registry.register("gateway_retries", "Requests sent once more", it.retries.clone());
        registry.register(
            "gateway_endpoint_failures",
            "Attempts that came to nothing, by reason",
            it.failures.clone(),
        );
        registry.register(
            "gateway_refusals",
            "Requests the gateway answered with an error itself, by reason",
            it.refusals.clone(),
        );
        registry.register("gateway_ejections", "Endpoints passed over", it.ejections.clone());
        registry.register("gateway_connections", "Connections held", it.connections.clone());
        registry.register("gateway_tunnels", "Upgraded connections held", it.tunnels.clone());
        registry.register_collector(Box::new(it.known.clone()));
        it
    }

    /// A coordinator said just now what the gateway's table is, or that it is as it was.
    pub fn heard_of_table(&self) {
        self.known.heard();
    }

    /// How often requests were refused for `reason` so far.
    #[cfg(test)]
    pub(crate) fn refusals(&self, reason: &'static str) -> u64 {
        self.refusals.get_or_create(&ReasonLabels { reason }).get()
    }

    /// How often endpoints failed for `reason` so far.
    #[cfg(test)]
    pub(crate) fn failures(&self, reason: &'static str) -> u64 {
        self.failures.get_or_create(&ReasonLabels { reason }).get()
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn failed(&self, reason: &'static str) {
        self.failures.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// The counters of a service.
    pub(super) fn of(&self, service: &str) -> ServiceMetrics {
        let service = {
            let mut named = self.named();
            if named.contains(service) || named.len() < MAX_SERVICES {
                named.insert(service.to_owned());
                service.to_owned()
            } else {
                OTHER.to_owned()
            }
        };
        let labels = ServiceLabels { service: service.clone() };
        let class = |class| {
            let labels = ClassLabels { service: service.clone(), class };
            self.answers.get_or_create(&labels).clone()
        };
        ServiceMetrics {
            classes: CLASSES.map(class),
            seconds: self.seconds.get_or_create(&labels).clone(),
            retries: self.retries.get_or_create(&labels).clone(),
        }
    }

    /// Drops the series of services that are gone.
    pub(super) fn keep(&self, services: &HashSet<&str>) {
        let gone: Vec<String> = {
            let mut named = self.named();
            let gone = named.iter().filter(|name| !services.contains(name.as_str())).cloned();
            let gone: Vec<String> = gone.collect();
            named.retain(|name| services.contains(name.as_str()));
            gone
        };
        for service in gone {
            let labels = ServiceLabels { service: service.clone() };
            self.seconds.remove(&labels);
            self.retries.remove(&labels);
            for class in CLASSES {
                self.answers.remove(&ClassLabels { service: service.clone(), class });
            }
        }
    }

    fn named(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One more in a gauge until dropped.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
