//! The runtime of services on a host: instances as processes that are kept up, seen through, and
//! ended without a trace.
//!
//! ```text
//!   coordinators ──orders──> agent ──start, stop──> process ──> supervisor ──> a shim per process
//!        ^                     │  <──up, ended────────┘│
//!        └──────reports────────┘                       └──> table: ports, logs
//! ```
//!
//! When to do what is decided in [`agent`]; [`Services`] is what others see: the port of a live
//! instance, the lines it wrote. Nothing a service does stops the host: whatever ends it becomes a
//! reason that is reported.

pub mod agent;
mod bundles;
mod drive;
mod health;
mod logs;
mod ports;
mod process;
mod table;
mod tunnels;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skyclaw_protocol::ServiceId;

pub use crate::bundle::BundleError;
use crate::seals::Seals;

pub use agent::InstanceId;
pub use bundles::{Bundles, Busy, NoBundles};
pub(crate) use drive::run;
pub use logs::{LogEntry, LogStream};
use table::Table;
pub use table::{Entry, InstanceLog};
pub use tunnels::{HttpHeader, HttpServing, LogsHeader, LogsServing, ServiceTunnels};

/// The settings of the runtime.
#[derive(Clone, Debug)]
pub struct ServicesConfig {
    /// First port looked at.
    pub base_port: u16,
    /// Url of this host, without port, under which its services are reached from elsewhere.
    pub public_base_url: Option<String>,
    /// Pause between questions that a coordinator does not hold.
    pub poll: Duration,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// How long an instance that is over still serves.
    pub linger: Duration,
    /// How long an instance may take until it serves.
    pub start_timeout: Duration,
    /// Bytes of log kept of each instance.
    pub log_bytes: usize,
    /// What opens the values of environments.
    pub seals: Seals,
}

impl Default for ServicesConfig {
    fn default() -> Self {
        Self {
            base_port: 3100,
            public_base_url: None,
            poll: Duration::from_millis(2000),
            grace: Duration::from_secs(10),
            // Gateways hear of a change within a second.
            linger: Duration::from_secs(2),
            start_timeout: Duration::from_secs(60),
            // 256 instances at most: 64 MiB.
            log_bytes: 256 << 10,
            seals: Seals::default(),
        }
    }
}

/// The services of this host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ServicesConfig,
    bundles: Arc<dyn Bundles>,
    table: Table,
}

impl Services {
    /// None run until the host does.
    #[must_use]
    pub fn new(config: ServicesConfig, bundles: Arc<dyn Bundles>) -> Self {
        Self(Arc::new(Inner { config, bundles, table: Table::default() }))
    }

    /// Where a live instance listens on this machine: one that serves, of this host's own.
    #[must_use]
    pub fn address_of(&self, service: &ServiceId, epoch: u64) -> Option<SocketAddr> {
        self.0.table.address(service, epoch)
    }

    /// The lines of the instances of a service, of one epoch or of all: of each the last `tail`,
    /// and then, if they are to be followed, those to come, also of instances to come.
    #[must_use]
    pub fn logs(
        &self,
        service: &ServiceId,
        epoch: Option<u64>,
        tail: usize,
        follow: bool,
    ) -> LogStream {
        LogStream::open(self.clone(), service.clone(), epoch, tail, follow)
    }

    /// All instances that are here.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        self.0.table.list()
    }
}
