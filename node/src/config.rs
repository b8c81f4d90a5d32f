//! Settings: what was given, then what it means.
//!
//! Flags go before `SKYCLAW_*` variables, these before `skyclaw.toml`, this before defaults. Each
//! source parses into one [`Layer`]; [`Config::resolve`] is the only place where they meet.
//! [`SETTINGS`] declares each setting once; parsers, help and report follow from it.
//!
//! Always: below `main` nobody reads the environment. Secrets do not reach messages or reports.

mod args;
mod env;
mod error;
mod file;
mod layer;
mod mask;
mod near;
mod report;
mod resolve;
mod secret;
mod setting;
mod tls;
mod traces;
mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

use libp2p::Multiaddr;
use skyclaw_protocol::shards::Settings as Shards;
use skyclaw_protocol::{NetworkId, SandboxLevel};

use crate::joined::Joined;

pub use args::{NodeArgs, NodeCommand, command as node_command};
pub use env::EnvVars;
pub use error::{ConfigError, ConfigErrors};
pub use file::{DEFAULT_FILE, parse as parse_file};
pub use layer::{Coordinators, Given, Layer, Layers, Origin};
pub(crate) use mask::mask_urls;
pub use report::{Report, Row};
pub(crate) use resolve::HOST_DB_PATH;
pub use resolve::{DEFAULT_COORDINATOR_URL, Resolved};
pub use secret::Secret;
pub use setting::{Fallback, Key, Part, SETTINGS, Secrecy, Setting};
pub use tls::{AcmeSettings, TlsConfig, TlsSource};
pub use traces::TraceConfig;
pub use value::{Kind, Value, integer, list};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes jobs and services, keeps them, hands them to hosts.
    Coordinator,
    /// Runs them.
    Host,
    /// Leads requests to services.
    Gateway,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Host => "host",
            Self::Gateway => "gateway",
        }
    }

    /// The role a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Coordinator, Self::Host, Self::Gateway].into_iter().find(|r| r.as_str() == word)
    }
}

/// The settings of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its roles: sorted, at least one.
    pub roles: Vec<Role>,
    /// The shared token; none means no check.
    pub token: Option<Secret>,
    /// The token before it, which other nodes may still have.
    pub old_token: Option<Secret>,
    /// Name of the network.
    pub network: String,
    /// The ticket network it belongs to; none in a token network.
    pub joined: Option<Joined>,
    /// Logging.
    pub log: LogConfig,
    /// There if traces are to be sent.
    pub traces: Option<TraceConfig>,
    /// There if the node is a coordinator.
    pub coordinator: Option<CoordinatorConfig>,
    /// There if the node is a host.
    pub host: Option<HostConfig>,
    /// There if the node is a gateway.
    pub gateway: Option<GatewayConfig>,
    /// There if its listeners speak TLS.
    pub tls: Option<TlsConfig>,
}

impl Config {
    /// The folder of the node's database, in which its other files lie.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        let own = self.coordinator.as_ref().map(|it| it.db_path.as_path());
        let path = own.or_else(|| self.member().map(|link| link.db_path.as_path()));
        let folder = path.and_then(Path::parent).filter(|dir| !dir.as_os_str().is_empty());
        match (folder, path) {
            (Some(folder), _) => folder.to_owned(),
            (None, Some(_)) => PathBuf::from("."),
            (None, None) => PathBuf::from(".skyclaw"),
        }
    }

    /// Where ACME's account and certificates are kept.
    #[must_use]
    pub fn acme_dir(&self) -> PathBuf {
        self.state_dir().join("acme")
    }

    /// What the node is called where several are seen side by side.
    #[must_use]
    pub fn display_name(&self) -> &str {
        let host = self.host.as_ref().map(|host| host.name.as_str());
        self.coordinator.as_ref().map(|it| it.node_id.as_str()).or(host).unwrap_or("gateway")
    }

    /// The network that signatures are bound to.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        match &self.joined {
            Some(joined) => joined.network(),
            None => NetworkId::of_name(&self.network),
        }
    }

    /// How the node joins the network, where it does without being a coordinator.
    #[must_use]
    pub fn member(&self) -> Option<&P2pLink> {
        let host = self.host.as_ref().and_then(|host| host.link.member());
        let gateway = || self.gateway.as_ref().and_then(|gateway| gateway.link.member());
        host.or_else(gateway)
    }
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter of `tracing`; not yet parsed.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The settings of the coordinator role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// Address the API listens on: a name or an IP address.
    pub listen_host: String,
    /// Port of the API; 0 takes a free one.
    pub listen_port: u16,
    /// Display name.
    pub node_id: String,
    /// Url for others, as given: not yet normalised.
    pub public_url: Option<String>,
    /// The database file.
    pub db_path: PathBuf,
    /// Below this much free disk nothing new is taken.
    pub db_min_free_bytes: u64,
    /// Lease of jobs claimed over HTTP.
    pub lease: Duration,
    /// Lease of jobs granted to hosts attached over libp2p.
    pub p2p_lease: Duration,
    /// A host silent for so long counts as dead.
    pub host_ttl: Duration,
    /// How long hosts are taken to let a job run that names no timeout (`SKYCLAW_TIMEOUT_MS`).
    pub run_timeout: Duration,
    /// A job not ended after so long expires.
    pub job_ttl: Duration,
    /// How long a job is kept with its output after its end.
    pub retention: Duration,
    /// From which size on not every coordinator keeps every job.
    pub shards: Shards,
    /// libp2p; none if it is turned off.
    pub p2p: Option<P2pConfig>,
    /// Other coordinators, as given: not yet normalised.
    pub peer_urls: Vec<String>,
    /// How often their state is fetched.
    pub peer_sync: Duration,
    /// Whether they are asked for further peers.
    pub peer_discovery: bool,
    /// Coordinators that must hold a change; at least 1.
    pub min_replications: u32,
    /// Whether that number was chosen here, and may change as peers are met.
    pub min_replications_auto: bool,
    /// Names and addresses that any host may give for its services; `*` for all.
    pub endpoint_hosts: Vec<String>,
    /// How long the answer to an idempotency key is kept.
    pub idempotency_ttl: Duration,
    /// `SKYCLAW_PUBLIC_API_KEYS`, not yet parsed.
    pub public_api_keys: Option<Secret>,
    /// Origin for the public API.
    pub public_cors_origin: String,
}

/// The settings of libp2p.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2pConfig {
    /// Where it was asked to listen; empty if nowhere in particular.
    pub listen: Vec<Multiaddr>,
    /// Under which addresses it is reached from elsewhere.
    pub external: Vec<Multiaddr>,
    /// Nodes to join.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether the LAN is searched; none leaves it to where libp2p listens.
    pub mdns: Option<bool>,
    /// Whether news travel by gossip.
    pub gossip: bool,
}

/// How a host gets its work, or a gateway its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// From the coordinator in the same process.
    Embedded,
    /// From these coordinators, as given; at least one.
    Http(Vec<String>),
    /// From the coordinators that are found over libp2p.
    P2p(Box<P2pLink>),
}

impl Link {
    fn member(&self) -> Option<&P2pLink> {
        match self {
            Self::P2p(link) => Some(link),
            Self::Embedded | Self::Http(_) => None,
        }
    }
}

/// The settings of the gateway role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where it learns of services.
    pub link: Link,
    /// Address it listens on: a name or an IP address.
    pub listen_host: String,
    /// Its port; 0 takes a free one.
    pub listen_port: u16,
    /// With a domain `D`, requests for the host `S.D` go to the service `S`.
    pub domain: Option<String>,
    /// How often the table is fetched, over HTTP.
    pub refresh: Duration,
    /// How often endpoints are probed.
    pub probe_every: Duration,
    /// Path of the probe.
    pub probe_path: String,
    /// Longest wait for a probe.
    pub probe_timeout: Duration,
    /// Further endpoints tried for requests that may be repeated.
    pub retry_attempts: u32,
    /// How long a failing endpoint is left alone.
    pub cooldown: Duration,
}

/// The settings of a host or gateway that finds coordinators over libp2p.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P2pLink {
    /// The file with the node's identity and the results not handed in yet.
    pub db_path: PathBuf,
    /// Below this much free disk no ballast is made beside the file.
    pub db_min_free_bytes: u64,
    /// libp2p.
    pub p2p: P2pConfig,
    /// HTTP APIs of coordinators that are asked for addresses, as given.
    pub peer_urls: Vec<String>,
}

/// The settings of the host role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Where work comes from.
    pub link: Link,
    /// Its id; the coordinator makes one otherwise.
    pub id: Option<String>,
    /// Display name.
    pub name: String,
    /// Where a host that talks HTTP keeps the key with which it signs receipts.
    pub key_path: PathBuf,
    /// What it can do, in the order given.
    pub capabilities: Vec<String>,
    /// Commands it may run.
    pub allowed_commands: Vec<String>,
    /// Whether a source gives that list, rather than its default.
    pub allowed_commands_are_set: bool,
    /// The file with rules for what may run, not yet read; none leaves it to that list.
    pub policy: Option<PathBuf>,
    /// The file with settings, if one was named.
    pub settings_file: Option<PathBuf>,
    /// How far what it runs is kept apart; none for the strongest that the machine allows.
    pub sandbox: Option<SandboxLevel>,
    /// The weakest level at which it starts.
    pub sandbox_min: SandboxLevel,
    /// The openclaw program.
    pub openclaw_command: String,
    /// The OpenClaw configuration that agent jobs may use.
    pub openclaw_config: Option<PathBuf>,
    /// Whether they may ask the Gateway.
    pub openclaw_gateway: bool,
    /// Agents at once; none for what the machine suggests.
    pub openclaw_max: Option<usize>,
    /// Memory that one takes.
    pub openclaw_memory_bytes: u64,
    /// Jobs run at once; at least 1.
    pub max_parallel: u32,
    /// Wait between claims that found nothing.
    pub poll: Duration,
    /// How often it says it is alive.
    pub heartbeat: Duration,
    /// Longest run of a job that names no timeout; at least 1 s.
    pub timeout: Duration,
    /// What running jobs get when the node is told to stop.
    pub stop_grace: Duration,
    /// Most of each output that is kept.
    pub max_output_bytes: usize,
    /// Folder under which jobs get their own.
    pub work_dir: Option<PathBuf>,
    /// Whether it runs services too.
    pub services: bool,
    /// First port given to services.
    pub service_base_port: u16,
    /// Url of this host, without port, under which its services are reached; as given.
    pub service_public_base_url: Option<String>,
}

/// The settings of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Coordinators, tried in order; may be empty.
    pub urls: Vec<String>,
    /// The shared token.
    pub token: Option<Secret>,
}
