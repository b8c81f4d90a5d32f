//! The one place where the sources meet: from what was given to what it means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libp2p::Multiaddr;
use skyclaw_protocol::SandboxLevel;
use skyclaw_protocol::shards::{Limits, Settings as Shards};

use super::env::EnvVars;
use super::error::{ConfigError, ConfigErrors};
use super::file;
use super::layer::{Coordinators, Layer, Layers, Origin};
use super::mask::shown;
use super::report::Report;
use super::secret::Secret;
use super::setting::{Key, SETTINGS};
use super::value::{Value, judge};
use super::{
    ClientConfig, Config, CoordinatorConfig, GatewayConfig, HostConfig, Link, LogConfig, LogFormat,
    P2pConfig, P2pLink, Role,
};
use crate::joined::{self, Joined};

/// The database of a host without the coordinator role: not a coordinator's, which another node
/// in the same folder may be using.
pub(crate) const HOST_DB_PATH: &str = ".skyclaw/node.db";

/// Where the command line looks when nothing names a coordinator.
pub const DEFAULT_COORDINATOR_URL: &str = "http://127.0.0.1:8787";

/// The settings of one start, with all that is worth saying about them.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the settings mean.
    pub config: Config,
    /// What was corrected or looks like a slip; to be logged at start.
    pub warnings: Vec<String>,
    /// Every setting with its origin, fit to be shown.
    pub report: Report,
}

/// Settings that won and were judged.
#[derive(Debug)]
pub(crate) struct Settled {
    values: Vec<Option<(Value, Origin)>>,
    joined: Option<Joined>,
}

impl Layers {
    /// Reads the environment and the file, which is the one named by flag or variable or
    /// `default_file` if it exists.
    ///
    /// # Errors
    /// The file cannot be read or holds what is no setting.
    pub fn load(flags: Layer, env: &EnvVars, default_file: &Path) -> Result<Self, ConfigErrors> {
        let env = env.layer();
        let named = [&flags, &env].into_iter().find_map(|layer| match layer.get(Key::Config) {
            Some(given) => match &given.value {
                Value::Text(path) => Some(PathBuf::from(path)),
                _ => None,
            },
            None => None,
        });
        let file = match named {
            Some(path) => file::read(&path)?,
            None if default_file.exists() => file::read(default_file)?,
            None => Layer::default(),
        };
        Ok(Self::new(flags, env, file))
    }

    /// With what this node knows of the ticket network it belongs to, or is to join.
    ///
    /// # Errors
    /// The file that says so cannot be used, the ticket makes no sense, or they contradict each other
    /// or other settings.
    pub fn join(self) -> Result<Self, ConfigErrors> {
        let joined = joined::find(&self).map_err(ConfigError::Membership)?;
        if let (Some(joined), Some(given)) = (&joined, self.get(Key::Network))
            && given.origin != Origin::Default
            && given.value != Value::Text(joined.name.clone())
        {
            return Err(ConfigError::Membership(format!(
                "{} says that this node belongs to the network {}, SKYCLAW_NETWORK ({}) says \
                 another: unset it, or move that file away",
                joined.path.display(),
                joined.name,
                given.origin,
            ))
            .into());
        }
        Ok(self.with_joined(joined))
    }
}

impl Config {
    /// What the settings mean for a node.
    ///
    /// # Errors
    /// Everything that cannot be meant, at once.
    pub fn resolve(layers: &Layers) -> Result<Resolved, ConfigErrors> {
        let (mut settled, odd) = Settled::new(layers, |_| true)?;
        let mut warnings: Vec<String> = layers.warnings().cloned().chain(odd).collect();
        let config = settled.config(layers, &mut warnings)?;
        if let Some(link) = config.member() {
            let path = Value::Text(link.db_path.display().to_string());
            settled.values[Key::DbPath as usize] = settled.origin(Key::DbPath).map(|at| (path, at));
        }
        let report = Report::new(&settled, &config);
        Ok(Resolved { config, warnings, report })
    }
}

impl ClientConfig {
    /// What the settings mean for the command line, and warnings. Settings of the daemon are not
    /// looked at: a bad port of a node is no reason to refuse `skyclaw jobs`. A file that was not named, but
    /// only lies in the current folder, may not direct a token of the environment anywhere:
    /// the folder may be someone else's.
    ///
    /// # Errors
    /// Everything that cannot be meant, at once.
    pub fn resolve(
        layers: &Layers,
        file_was_named: bool,
    ) -> Result<(Self, Vec<String>), ConfigErrors> {
        let ours = |key| matches!(key, Key::Token | Key::CoordinatorUrls | Key::CoordinatorUrl);
        let (settled, mut warnings) = Settled::new(layers, ours)?;
        let fallback = || vec![DEFAULT_COORDINATOR_URL.to_owned()];
        let foreign_token =
            settled.origin(Key::Token).is_some_and(|origin| matches!(origin, Origin::Env));
        let urls = match layers.coordinators() {
            Coordinators::Unset | Coordinators::BlankList => fallback(),
            Coordinators::Urls(_, origin @ Origin::File { .. })
                if foreign_token && !file_was_named =>
            {
                warnings.push(format!(
                    "the coordinator named in {origin} is not used with the token of the \
                     environment: name the file in SKYCLAW_CONFIG if it is yours"
                ));
                fallback()
            }
            Coordinators::Urls(urls, _) => urls,
        };
        Ok((Self { urls, token: settled.secret(Key::Token) }, warnings))
    }
}

impl Settled {
    /// Picks and judges the settings `wanted`; the text of secrets does not reach the errors.
    fn new(
        layers: &Layers,
        wanted: impl Fn(Key) -> bool,
    ) -> Result<(Self, Vec<String>), ConfigErrors> {
        let mut warnings = Vec::new();
        let mut errors = Vec::new();
        let mut values = Vec::with_capacity(SETTINGS.len());
        for setting in SETTINGS {
            let given = layers.get(setting.key).filter(|_| wanted(setting.key));
            let Some(given) = given else {
                values.push(None);
                continue;
            };
            let origin = given.origin.clone();
            let name = setting.env;
            warnings.extend(given.odd.iter().map(|odd| format!("{name} ({origin}): {odd}")));
            match judge(setting.key, given.value.clone()) {
                Ok((value, warning)) => {
                    warnings.extend(warning.map(|text| format!("{name} ({origin}): {text}")));
                    values.push(Some((value, origin)));
                }
                Err(allowed) => {
                    let found = shown(&given.value);
                    errors.push(ConfigError::Value { setting: name, origin, found, allowed });
                    values.push(None);
                }
            }
        }
        ConfigErrors::check(errors)?;
        Ok((Self { values, joined: layers.joined.clone() }, warnings))
    }

    fn config(&self, layers: &Layers, warnings: &mut Vec<String>) -> Result<Config, ConfigErrors> {
        let roles = self.roles()?;
        let coordinates = roles.contains(&Role::Coordinator);
        let link = |role: Role, lacking: ConfigError| -> Result<Option<Link>, ConfigErrors> {
            if !roles.contains(&role) {
                return Ok(None);
            }
            if coordinates {
                return Ok(Some(Link::Embedded));
            }
            match layers.coordinators() {
                Coordinators::Unset => Ok(Some(Link::P2p(Box::new(self.link(role)?)))),
                Coordinators::Urls(urls, _) if !urls.is_empty() => Ok(Some(Link::Http(urls))),
                Coordinators::BlankList | Coordinators::Urls(..) => Err(lacking.into()),
            }
        };
        let host = link(Role::Host, ConfigError::NoCoordinatorUrl)?.map(|link| self.host(link));
        let gateway = link(Role::Gateway, ConfigError::NoGatewayUrl)?;
        let gateway = gateway.map(|link| self.gateway(link));
        Ok(Config {
            roles,
            token: self.secret(Key::Token),
            old_token: self.secret(Key::TokenOld),
            network: self.text(Key::Network),
            joined: self.joined.clone(),
            log: LogConfig {
                filter: self.text(Key::Log),
                format: match self.text(Key::LogFormat).as_str() {
                    "json" => LogFormat::Json,
                    _ => LogFormat::Text,
                },
            },
            traces: self.traces(warnings)?,
            coordinator: coordinates.then(|| self.coordinator()).transpose()?,
            host,
            gateway,
            tls: self.tls()?,
        })
    }

    fn roles(&self) -> Result<Vec<Role>, ConfigErrors> {
        let mut roles = Vec::new();
        for word in self.list(Key::Role) {
            let role = Role::parse(&word).ok_or_else(|| ConfigError::Value {
                setting: Key::Role.setting().env,
                origin: self.origin(Key::Role).unwrap_or(Origin::Default),
                found: word.clone(),
                allowed: Key::Role.setting().kind.allowed(),
            })?;
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        if roles.is_empty() {
            return Err(ConfigError::Value {
                setting: Key::Role.setting().env,
                origin: self.origin(Key::Role).unwrap_or(Origin::Default),
                found: String::new(),
                allowed: Key::Role.setting().kind.allowed(),
            }
            .into());
        }
        roles.sort_unstable();
        if let Some(joined) = &self.joined
            && let Some(role) = roles.iter().find(|role| !joined.allowed.has_word(role.as_str()))
        {
            return Err(ConfigError::Membership(format!(
                "this node may be {} in the network {}, not {}: set SKYCLAW_ROLE so, or ask for a \
                 ticket with that role",
                joined.allowed,
                joined.name,
                role.as_str(),
            ))
            .into());
        }
        Ok(roles)
    }

    fn coordinator(&self) -> Result<CoordinatorConfig, ConfigErrors> {
        let peer_urls = self.list(Key::PeerUrls);
        let explicit = match self.value(Key::MinReplications) {
            Some(Value::Int(n)) => u32::try_from(*n).ok(),
            _ => None,
        };
        let p2p = self.p2p()?;
        let told_of_others =
            !peer_urls.is_empty() || p2p.as_ref().is_some_and(|p2p| !p2p.bootstrap.is_empty());
        Ok(CoordinatorConfig {
            listen_host: self.text(Key::CoordinatorHost),
            listen_port: self.port(Key::CoordinatorPort),
            node_id: self
                .optional(Key::NodeId)
                .unwrap_or_else(|| format!("node_{}", uuid::Uuid::new_v4())),
            public_url: self.optional(Key::PublicUrl),
            db_path: self.text(Key::DbPath).into(),
            db_min_free_bytes: self.number(Key::DbMinFreeBytes),
            lease: self.duration(Key::LeaseMs),
            p2p_lease: self.duration(Key::P2pLeaseMs),
            host_ttl: self.duration(Key::HostTtlMs),
            run_timeout: self.duration(Key::TimeoutMs),
            job_ttl: self.duration(Key::JobTtlMs),
            retention: self.duration(Key::RetentionMs),
            shards: Shards {
                limits: Limits {
                    records: self.number(Key::ShardJobs),
                    coordinators: usize::try_from(self.number(Key::ShardCoordinators))
                        .unwrap_or(usize::MAX),
                },
                away_ms: self.number(Key::ShardAwayMs),
            },
            min_replications: explicit.unwrap_or(if told_of_others { 2 } else { 1 }),
            min_replications_auto: explicit.is_none(),
            p2p,
            peer_urls,
            peer_sync: self.duration(Key::PeerSyncMs),
            peer_discovery: self.switch(Key::PeerDiscovery),
            endpoint_hosts: self.list(Key::EndpointHosts),
            idempotency_ttl: self.duration(Key::IdempotencyTtlMs),
            public_api_keys: self.secret(Key::PublicApiKeys),
            public_cors_origin: self.text(Key::PublicCorsOrigin),
        })
    }

    fn gateway(&self, link: Link) -> GatewayConfig {
        GatewayConfig {
            link,
            listen_host: self.text(Key::GatewayHost),
            listen_port: self.port(Key::GatewayPort),
            domain: self.optional(Key::GatewayDomain),
            refresh: self.duration(Key::GatewayRefreshMs),
            probe_every: self.duration(Key::GatewayHealthProbeMs),
            probe_path: self.text(Key::GatewayHealthPath),
            probe_timeout: self.duration(Key::GatewayHealthTimeoutMs),
            retry_attempts: u32::try_from(self.number(Key::GatewayRetryAttempts))
                .unwrap_or(u32::MAX),
            cooldown: self.duration(Key::GatewayUnhealthyCooldownMs),
        }
    }

    /// How a host or gateway joins that was given no coordinators.
    fn link(&self, role: Role) -> Result<P2pLink, ConfigErrors> {
        Ok(P2pLink {
            db_path: self.host_db_path(),
            db_min_free_bytes: self.number(Key::DbMinFreeBytes),
            p2p: self.p2p()?.ok_or(ConfigError::NoTransport(role.as_str()))?,
            peer_urls: self.list(Key::PeerUrls),
        })
    }

    /// The file of a node without the coordinator role.
    fn host_db_path(&self) -> PathBuf {
        match self.origin(Key::DbPath) {
            None | Some(Origin::Default) => HOST_DB_PATH.into(),
            Some(_) => self.text(Key::DbPath).into(),
        }
    }

    fn p2p(&self) -> Result<Option<P2pConfig>, ConfigErrors> {
        let (listen, external, mut bootstrap) = (
            self.addresses(Key::P2pListen)?,
            self.addresses(Key::P2pExternalAddr)?,
            self.addresses(Key::Bootstrap)?,
        );
        let mdns = match self.value(Key::Mdns) {
            Some(Value::Switch(on)) => Some(*on),
            _ => None,
        };
        let on = self.switch(Key::P2p);
        if let Some(joined) = &self.joined {
            if !on {
                let text = "a ticket network works over libp2p, which SKYCLAW_P2P turns off";
                return Err(ConfigError::Membership(text.to_owned()).into());
            }
            bootstrap.extend(joined.bootstrap.iter().cloned());
        }
        let gossip = self.switch(Key::Gossip);
        Ok(on.then_some(P2pConfig { listen, external, bootstrap, mdns, gossip }))
    }

    fn addresses(&self, key: Key) -> Result<Vec<Multiaddr>, ConfigErrors> {
        let parse = |text: String| {
            text.parse().map_err(|_| ConfigError::Value {
                setting: key.setting().env,
                origin: self.origin(key).unwrap_or(Origin::Default),
                found: text,
                allowed: "multiaddrs such as /ip4/192.0.2.1/tcp/4787".to_owned(),
            })
        };
        Ok(self.list(key).into_iter().map(parse).collect::<Result<_, _>>()?)
    }

    fn host(&self, link: Link) -> HostConfig {
        HostConfig {
            link,
            id: self.optional(Key::HostId),
            name: self
                .optional(Key::HostName)
                .unwrap_or_else(|| format!("openclaw-node-{}", std::process::id())),
            key_path: {
                let mut path = self.host_db_path().into_os_string();
                path.push(".key");
                path.into()
            },
            capabilities: self.list(Key::Capabilities),
            allowed_commands: self.list(Key::AllowedCommands),
            allowed_commands_are_set: self
                .origin(Key::AllowedCommands)
                .is_some_and(|origin| origin != Origin::Default),
            policy: self.optional(Key::Policy).map(PathBuf::from),
            settings_file: self.optional(Key::Config).map(PathBuf::from),
            // `auto` is no level.
            sandbox: SandboxLevel::of(&self.text(Key::Sandbox)),
            sandbox_min: SandboxLevel::of(&self.text(Key::SandboxMin))
                .unwrap_or(SandboxLevel::None),
            openclaw_command: self.text(Key::OpenclawCommand),
            openclaw_config: self.optional(Key::OpenclawConfig).map(PathBuf::from),
            openclaw_gateway: self.switch(Key::OpenclawGateway),
            openclaw_max: match self.value(Key::OpenclawMax) {
                Some(Value::Int(most)) => usize::try_from(*most).ok(),
                _ => None,
            },
            openclaw_memory_bytes: self.number(Key::OpenclawMemoryBytes),
            max_parallel: u32::try_from(self.number(Key::MaxParallel)).unwrap_or(u32::MAX),
            poll: self.duration(Key::PollMs),
            heartbeat: self.duration(Key::HeartbeatMs),
            timeout: self.duration(Key::TimeoutMs),
            stop_grace: self.duration(Key::StopGraceMs),
            max_output_bytes: usize::try_from(self.number(Key::MaxOutputBytes))
                .unwrap_or(usize::MAX),
            work_dir: self.optional(Key::WorkDir).map(PathBuf::from),
            services: self.switch(Key::ServiceHostEnabled),
            service_base_port: self.port(Key::ServiceBasePort),
            service_public_base_url: self.optional(Key::ServicePublicBaseUrl),
        }
    }

    pub(crate) fn value(&self, key: Key) -> Option<&Value> {
        self.values.get(key as usize)?.as_ref().map(|(value, _)| value)
    }

    pub(crate) fn origin(&self, key: Key) -> Option<Origin> {
        self.values.get(key as usize)?.as_ref().map(|(_, origin)| origin.clone())
    }

    pub(super) fn optional(&self, key: Key) -> Option<String> {
        match self.value(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn secret(&self, key: Key) -> Option<Secret> {
        match self.value(key) {
            Some(Value::Secret(secret)) => Some(secret.clone()),
            _ => None,
        }
    }

    // The following have a default in the table, read by the same rule (a test holds that).

    pub(super) fn text(&self, key: Key) -> String {
        let fallback = || key.setting().fallback.constant().unwrap_or_default().into_owned();
        self.optional(key).unwrap_or_else(fallback)
    }

    pub(super) fn list(&self, key: Key) -> Vec<String> {
        match self.value(key) {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    fn switch(&self, key: Key) -> bool {
        !matches!(self.value(key), Some(Value::Switch(false)))
    }

    pub(super) fn number(&self, key: Key) -> u64 {
        match self.value(key) {
            Some(Value::Int(n)) => u64::try_from(*n).unwrap_or(0),
            _ => 0,
        }
    }

    fn port(&self, key: Key) -> u16 {
        u16::try_from(self.number(key)).unwrap_or(0)
    }

    pub(super) fn duration(&self, key: Key) -> Duration {
        Duration::from_millis(self.number(key))
    }
}
