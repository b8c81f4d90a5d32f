//! What a gateway knows at this moment, told as metrics: how old its table is, how many instances of each service are
//! in it, and which of them it passes over, for how long and why.
//!
//! Always: it is read when the metrics are; there is nothing of a gateway that does not run. Services and
//! instances with series of their own are bounded; how many there are in all is told beside them.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::time::Instant;

use super::live::{Gateway, Service, Upstream};
use crate::metric_writer::MetricWriter;

/// Services that are told of, in the order of the table: as many as have other series of their own.
const MAX_SERVICES: usize = 200;

/// Instances passed over that are told of, the first of each service before the second of any: so many are an
/// outage, whichever they are.
const MAX_EJECTED: usize = 200;

/// A gateway and when it heard of its table; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    gateway: Arc<Mutex<Weak<Gateway>>>,
    /// When a coordinator said last what the table is; none before the first one.
    heard: Arc<Mutex<Option<Instant>>>,
}

impl Known {
    /// This gateway runs.
    pub(super) fn runs(&self, gateway: &Arc<Gateway>) {
        *self.gateway.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(gateway);
    }

    /// A coordinator said just now what the table is, or that it is as it was.
    pub(super) fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn gateway(&self) -> Option<Arc<Gateway>> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    fn age_s(&self) -> Option<u64> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|at| at.elapsed().as_secs())
    }
}

impl Collector for Known {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metrics = MetricWriter::new(encoder);
        let gateway = self.gateway();
        metrics.gauge_if(
            "gateway_table_age_seconds",
            "Seconds since a coordinator told the gateway its table, or that it is as it was",
            self.age_s().filter(|_| gateway.is_some()),
        )?;
        let Some(gateway) = gateway else { return Ok(()) };
        let live = gateway.live();
        let services = live.services();
        let count = services.len() as u64;
        metrics.gauge("gateway_services", "Services in the gateway's table", count)?;
        metrics.gauges(
            "gateway_endpoints",
            "Instances of each service that are in the gateway's table",
            services.iter().take(MAX_SERVICES).map(|service| {
                let (name, id) = service.name_and_id();
                ([("service", name), ("id", id)], service.upstreams.len() as u64)
            }),
        )?;
        let ejected = ejected(services, gateway.now());
        let count = ejected.len() as u64;
        metrics.gauge(
            "gateway_ejected",
            "Instances that failed and did not answer since",
            count,
        )?;
        metrics.gauges(
            "gateway_ejected_seconds",
            "Seconds for which an instance that failed is still passed over, by what failed last",
            ejected.iter().take(MAX_EJECTED).map(|one| {
                let (name, id) = one.service.name_and_id();
                let reason = reason(one.upstream);
                let labels =
                    [("service", name), ("id", id), ("instance", &one.place), ("reason", reason)];
                (labels, one.for_ms.div_ceil(1000))
            }),
        )
    }
}

/// An instance that failed and did not answer since.
struct Ejected<'a> {
    service: &'a Service,
    upstream: &'a Upstream,
    /// Its host and slot. Each run of it has a number, which would make a series for each of them.
    place: String,
    for_ms: u64,
}

/// All of them, the first of each service before the second of any.
fn ejected(services: &[Arc<Service>], now: u64) -> Vec<Ejected<'_>> {
    let mut all = Vec::new();
    for service in services {
        // A series is told once, also where two instances have no numbers and one host.
        let mut places = HashSet::new();
        for upstream in &service.upstreams {
            let Some(for_ms) = upstream.health.ejected_for(now) else { continue };
            let place = upstream.endpoint.place();
            if places.insert(place.clone()) {
                all.push((places.len(), Ejected { service, upstream, place, for_ms }));
            }
        }
    }
    all.sort_by_key(|(turn, _)| *turn);
    all.into_iter().map(|(_, one)| one).collect()
}

fn reason(upstream: &Upstream) -> &'static str {
    *upstream.failed_by.lock().unwrap_or_else(PoisonError::into_inner)
}
