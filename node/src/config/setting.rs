//! The settings themselves: each is one row here and nowhere else.
//!
//! Always: the key in `skyclaw.toml` is the variable's name without `SKYCLAW_`, in lower case; what others
//! named has none.
//! A row's flag, default and rule are what the parsers, `--help` and `skyclaw-node config` use.

use std::borrow::Cow;

use skyclaw_protocol::{limits, shards};

use super::value::Kind;

/// Which part of the program a setting is for; also the heading in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All roles and the command line.
    Common,
    /// The coordinator role.
    Coordinator,
    /// The host role.
    Host,
    /// The gateway role.
    Gateway,
}

impl Part {
    /// The heading shown above its settings.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Common => "All roles",
            Self::Coordinator => "Coordinator",
            Self::Host => "Host",
            Self::Gateway => "Gateway",
        }
    }
}

/// What holds when no source gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the feature is off, or the other side decides.
    Nothing,
    /// This text, read by the same rule as the variable.
    Text(&'static str),
    /// This number, likewise.
    Number(u64),
    /// Made at start; the text describes it.
    Made(&'static str),
}

impl Fallback {
    /// What holds, as the variable would say it; none if that is no constant.
    #[must_use]
    pub fn constant(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Number(number) => Some(number.to_string().into()),
            Self::Nothing | Self::Made(_) => None,
        }
    }

    /// The same for people, also of what is made at start.
    #[must_use]
    pub fn words(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Made(text) => Some(text.into()),
            _ => self.constant(),
        }
    }
}

/// How much of a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// Nothing but that it is set.
    Hidden,
    /// Entries `key:label:capabilities:flag`: all but the key.
    ApiKeys,
    /// Urls: all but user and password.
    Urls,
    /// One url, also with a password that holds commas: all but user, password, query and fragment.
    Url,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the program.
    pub key: Key,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag without the dashes. Secrets have none: a command line is readable by others.
    pub flag: Option<&'static str>,
    /// Who uses it.
    pub part: Part,
    /// How it is read and what is allowed.
    pub kind: Kind,
    /// What holds otherwise.
    pub fallback: Fallback,
    /// How much of it may be shown.
    pub secrecy: Secrecy,
    /// One sentence for people.
    pub doc: &'static str,
}

impl Setting {
    /// Its key in `skyclaw.toml`; none for the path of that file and for variables of others.
    #[must_use]
    pub fn toml_key(&self) -> Option<String> {
        let bare = self.env.strip_prefix("SKYCLAW_")?;
        (self.key != Key::Config).then(|| bare.to_ascii_lowercase())
    }
}

/// Longest interval, in milliseconds: far below what timers can hold (F39).
const MAX_MS: i64 = limits::MAX_TIMEOUT_MS.cast_signed();

/// An interval of a loop. Below 10 ms it would only spin (F39).
const INTERVAL: Kind = Kind::Int { min: 10, max: MAX_MS, unit: "ms" };

/// A wait for a collector: a thread waits, and the spans behind it.
const COLLECTOR: Kind = Kind::Int { min: 100, max: 300_000, unit: "ms" };

const fn ms_from(min: i64) -> Kind {
    Kind::Int { min, max: MAX_MS, unit: "ms" }
}

const SHARDS: shards::Settings = shards::Settings::USUAL;

macro_rules! settings {
    ($($key:ident $env:literal $flag:expr, $part:ident, $kind:expr, $fallback:expr, $secrecy:ident, $doc:literal;)*) => {
        /// The name of a setting in the program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key { $(#[doc = $doc] $key,)* }

        /// Every setting, in the order shown to people.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            key: Key::$key, env: $env, flag: $flag, part: Part::$part, kind: $kind,
            fallback: $fallback, secrecy: Secrecy::$secrecy, doc: $doc,
        },)*];
    };
}

use Fallback::{Made, Nothing, Number, Text};

settings! {
    Role "SKYCLAW_ROLE" Some("role"), Common, Kind::Roles, Text("coordinator,host"), Open,
        "What this process does: any of coordinator, host, gateway";
    Network "SKYCLAW_NETWORK" Some("network"), Common, Kind::Text, Text("local"), Open,
        "Name of the network this node belongs to";
    Token "SKYCLAW_TOKEN" None, Common, Kind::Verbatim, Nothing, Hidden,
        "Shared token of hosts, peers and operators; unset means no check";
    TokenOld "SKYCLAW_TOKEN_OLD" None, Common, Kind::Verbatim, Nothing, Hidden,
        "The token before, which other nodes may still have while it is changed; libp2p only";
    Ticket "SKYCLAW_TICKET" None, Common, Kind::Verbatim, Nothing, Hidden,
        "Ticket of the network to join, as `skyclaw invite` prints it; `skyclaw join` keeps one instead";
    CoordinatorUrls "SKYCLAW_COORDINATOR_URLS" Some("coordinator-url"), Common, Kind::UrlList, Nothing, Urls,
        "Coordinators to talk to, tried in order";
    CoordinatorUrl "SKYCLAW_COORDINATOR_URL" None, Common, Kind::Url, Nothing, Urls,
        "One coordinator, where no list is given (the command line falls back to http://127.0.0.1:8787)";
    Config "SKYCLAW_CONFIG" Some("config"), Common, Kind::Path, Made("./skyclaw.toml, if there is one"), Open,
        "File with settings";
    Log "SKYCLAW_LOG" Some("log"), Common, Kind::Text, Text("info"), Open,
        "What is logged: a level, or a filter such as skyclaw_node=debug,info; releases have nothing below debug";
    LogFormat "SKYCLAW_LOG_FORMAT" Some("log-format"), Common, Kind::OneOf(&["text", "json"]), Text("text"), Open,
        "How it is logged: text or json";
    Otlp "SKYCLAW_OTLP" Some("otlp"), Common, Kind::Text, Nothing, Url,
        "Url of an OpenTelemetry collector (OTLP over HTTP) that traces are sent to; needs a build with the feature otel";
    OtelTracesEndpoint "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" None, Common, Kind::Text, Nothing, Url,
        "The same under the name that OpenTelemetry has for it, with its path";
    OtelEndpoint "OTEL_EXPORTER_OTLP_ENDPOINT" None, Common, Kind::Text, Nothing, Url,
        "The same without its path, which is /v1/traces";
    OtelHeaders "OTEL_EXPORTER_OTLP_HEADERS" None, Common, Kind::Verbatim, Nothing, Hidden,
        "Headers sent to it: name=value, separated by commas";
    OtelTracesHeaders "OTEL_EXPORTER_OTLP_TRACES_HEADERS" None, Common, Kind::Verbatim, Nothing, Hidden,
        "The same, and instead of them, where others are meant for traces alone";
    OtelTimeout "OTEL_EXPORTER_OTLP_TIMEOUT" None, Common, COLLECTOR, Number(10_000), Open,
        "Longest wait for the collector, for one call and for all that repeat it";
    OtelTracesTimeout "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" None, Common, COLLECTOR, Nothing, Open,
        "The same, and instead of it";
    OtelDelay "OTEL_BSP_SCHEDULE_DELAY" None, Common, ms_from(100), Number(5_000), Open,
        "How long spans wait for others to be sent with";
    OtelExporter "OTEL_TRACES_EXPORTER" None, Common, Kind::Text, Text("otlp"), Open,
        "How traces are sent: otlp, or none";
    OtelDisabled "OTEL_SDK_DISABLED" None, Common, Kind::Text, Nothing, Open,
        "Nothing is sent where this is true";
    OtelServiceName "OTEL_SERVICE_NAME" None, Common, Kind::Text, Text("skyclaw-node"), Open,
        "What this node is called in traces";
    OtelSampler "OTEL_TRACES_SAMPLER" None, Common, Kind::Text, Text("parentbased_always_on"), Open,
        "Which traces are sent: always_on, always_off, traceidratio, or one of these after parentbased_";
    OtelSamplerArg "OTEL_TRACES_SAMPLER_ARG" None, Common, Kind::Text, Nothing, Open,
        "Which share of them, from 0 to 1, where the sampler is a ratio";
    TlsCert "SKYCLAW_TLS_CERT" Some("tls-cert"), Common, Kind::Path, Nothing, Open,
        "PEM file with the certificate that listeners show, and its chain; read again when it changes and on SIGHUP";
    TlsKey "SKYCLAW_TLS_KEY" Some("tls-key"), Common, Kind::Path, Nothing, Open,
        "PEM file with its private key";
    TlsListeners "SKYCLAW_TLS_LISTENERS" Some("tls-listeners"), Common, Kind::OneOf(&["all", "api", "gateway"]), Text("all"), Open,
        "What speaks TLS where there is a certificate: all, api or gateway";
    AcmeDomains "SKYCLAW_ACME_DOMAINS" Some("acme-domain"), Common, Kind::List, Nothing, Open,
        "Names for which certificates are ordered by ACME; port 443 of each must lead here";
    AcmeContact "SKYCLAW_ACME_CONTACT" Some("acme-contact"), Common, Kind::List, Nothing, Open,
        "Mail addresses that the ACME server may write to";
    AcmeDirectory "SKYCLAW_ACME_DIRECTORY" Some("acme-directory"), Common, Kind::Text,
        Text("https://acme-v02.api.letsencrypt.org/directory"), Open,
        "Url of the ACME server's directory";
    AcmeCaFile "SKYCLAW_ACME_CA_FILE" Some("acme-ca-file"), Common, Kind::Path, Nothing, Open,
        "PEM file with the authority of an ACME server that the web does not know";

    CoordinatorHost "SKYCLAW_COORDINATOR_HOST" Some("http-host"), Coordinator, Kind::Text, Text("0.0.0.0"), Open,
        "Address the HTTP API listens on";
    CoordinatorPort "SKYCLAW_COORDINATOR_PORT" Some("http-port"), Coordinator, Kind::Port, Text("8787"), Open,
        "Port of the HTTP API; 0 takes a free one";
    NodeId "SKYCLAW_COORDINATOR_NODE_ID" Some("node-id"), Coordinator, Kind::Text, Made("node_<uuid>, new at each start"), Open,
        "Display name of this coordinator";
    PublicUrl "SKYCLAW_COORDINATOR_PUBLIC_URL" Some("public-url"), Coordinator, Kind::Text, Nothing, Urls,
        "Url under which others reach this coordinator";
    DbPath "SKYCLAW_DB_PATH" Some("db"), Coordinator, Kind::Path, Text(".skyclaw/coordinator.db"), Open,
        "Database file, for a host alone .skyclaw/node.db; its folder is made if missing";
    DbMinFreeBytes "SKYCLAW_DB_MIN_FREE_BYTES" Some("db-min-free-bytes"), Coordinator,
        Kind::Int { min: 0, max: i64::MAX, unit: "bytes" }, Number(67_108_864), Open,
        "Below this much free disk nothing new is taken";
    LeaseMs "SKYCLAW_LEASE_MS" Some("lease-ms"), Coordinator, INTERVAL, Number(limits::DEFAULT_LEASE_MS), Open,
        "How long a claimed job is held for its host without news of it";
    P2pLeaseMs "SKYCLAW_P2P_LEASE_MS" Some("p2p-lease-ms"), Coordinator, ms_from(1000), Number(limits::DEFAULT_P2P_LEASE_MS), Open,
        "The same for hosts attached over libp2p, which renew it by themselves";
    HostTtlMs "SKYCLAW_HOST_TTL_MS" Some("host-ttl-ms"), Coordinator, INTERVAL, Number(limits::DEFAULT_HOST_TTL_MS), Open,
        "A host silent for so long counts as dead";
    JobTtlMs "SKYCLAW_JOB_TTL_MS" Some("job-ttl-ms"), Coordinator, INTERVAL, Number(limits::DEFAULT_JOB_TTL_MS), Open,
        "A job not ended after so long expires";
    RetentionMs "SKYCLAW_RETENTION_MS" Some("retention-ms"), Coordinator, INTERVAL, Number(limits::DEFAULT_RETENTION_MS), Open,
        "How long a job is kept with its output after its end";
    ShardCoordinators "SKYCLAW_SHARD_COORDINATORS" Some("shard-coordinators"), Coordinator,
        Kind::Int { min: 0, max: u32::MAX as i64, unit: "coordinators" }, Number(SHARDS.limits.coordinators as u64), Open,
        "Up to so many coordinators each keeps every job; beyond, each keeps a part. The same everywhere";
    ShardJobs "SKYCLAW_SHARD_JOBS" Some("shard-jobs"), Coordinator,
        Kind::Int { min: 0, max: i64::MAX, unit: "jobs" }, Number(SHARDS.limits.records), Open,
        "The same by the number of jobs that have not ended";
    ShardAwayMs "SKYCLAW_SHARD_AWAY_MS" Some("shard-away-ms"), Coordinator, INTERVAL, Number(SHARDS.away_ms), Open,
        "A coordinator away for so long keeps no part any more: others take it";
    PeerUrls "SKYCLAW_PEER_URLS" Some("peer-url"), Coordinator, Kind::UrlList, Nothing, Urls,
        "Other coordinators to replicate with";
    P2p "SKYCLAW_P2P" Some("p2p"), Coordinator, Kind::Switch, Text("1"), Open,
        "Find other nodes over libp2p; 0 turns it off";
    P2pListen "SKYCLAW_P2P_LISTEN" Some("p2p-listen"), Coordinator, Kind::List,
        Made("port 4787, TCP and QUIC, on loopback where the HTTP API is, else everywhere"), Open,
        "Multiaddrs libp2p listens on, such as /ip4/0.0.0.0/tcp/4787";
    P2pExternalAddr "SKYCLAW_P2P_EXTERNAL_ADDR" Some("p2p-external-addr"), Coordinator, Kind::List, Nothing, Open,
        "Multiaddrs under which nodes elsewhere reach this one";
    Bootstrap "SKYCLAW_BOOTSTRAP" Some("bootstrap"), Coordinator, Kind::List, Nothing, Open,
        "Multiaddrs of nodes to join, with or without /p2p/ at the end";
    Mdns "SKYCLAW_MDNS" Some("mdns"), Coordinator, Kind::Switch,
        Made("1 where libp2p listens beyond loopback"), Open,
        "Find nodes on the LAN; 0 turns it off";
    Gossip "SKYCLAW_GOSSIP" Some("gossip"), Coordinator, Kind::Switch, Text("1"), Open,
        "Tell news by gossip; 0 leaves them to repair, which takes some seconds, for tests and for finding faults";
    PeerSyncMs "SKYCLAW_PEER_SYNC_MS" Some("peer-sync-ms"), Coordinator, INTERVAL, Number(3_000), Open,
        "How often state is fetched from peers";
    PeerDiscovery "SKYCLAW_PEER_DISCOVERY" Some("peer-discovery"), Coordinator, Kind::Switch, Text("1"), Open,
        "Learn of further peers from peers; 0 turns it off";
    MinReplications "SKYCLAW_MIN_REPLICATIONS" Some("min-replications"), Coordinator,
        Kind::AutoInt { min: 1, max: u32::MAX as i64 }, Text("auto"), Open,
        "Coordinators that must hold a change before it is answered; auto is 2 with peers, else 1";
    EndpointHosts "SKYCLAW_ENDPOINT_HOSTS" Some("endpoint-host"), Coordinator, Kind::List, Nothing, Open,
        "Names and addresses, beside its own, that any host may give for its services; * for all";
    IdempotencyTtlMs "SKYCLAW_IDEMPOTENCY_TTL_MS" Some("idempotency-ttl-ms"), Coordinator, INTERVAL, Number(limits::DEFAULT_KEY_TTL_MS), Open,
        "How long the answer to an idempotency key is kept";
    PublicApiKeys "SKYCLAW_PUBLIC_API_KEYS" None, Coordinator, Kind::Verbatim, Nothing, ApiKeys,
        "Keys of the public API: key:label:capabilities:shell, separated by commas";
    PublicCorsOrigin "SKYCLAW_PUBLIC_CORS_ORIGIN" Some("public-cors-origin"), Coordinator, Kind::Text, Text("*"), Open,
        "Origin that may call the public API from a browser";

    HostId "SKYCLAW_HOST_ID" Some("host-id"), Host, Kind::Verbatim, Nothing, Open,
        "Id of this host; the coordinator makes one otherwise";
    HostName "SKYCLAW_HOST_NAME" Some("host-name"), Host, Kind::Verbatim, Made("openclaw-node-<pid>"), Open,
        "Display name of this host";
    Capabilities "SKYCLAW_CAPABILITIES" Some("capabilities"), Host, Kind::List, Text("shell,openclaw,service-host"), Open,
        "What this host can do";
    AllowedCommands "SKYCLAW_ALLOWED_COMMANDS" Some("allowed-commands"), Host, Kind::List,
        Text("openclaw,node,bash,sh,npm,pnpm"), Open,
        "Commands that jobs and services may run";
    Policy "SKYCLAW_POLICY" Some("policy"), Host, Kind::Path, Nothing, Open,
        "File with rules for what jobs, services and agents may run; SKYCLAW_ALLOWED_COMMANDS, where set, must allow it too";
    Sandbox "SKYCLAW_SANDBOX" Some("sandbox"), Host,
        Kind::OneOf(&["auto", "none", "basic", "landlock", "isolated"]), Text("auto"), Open,
        "How far what runs here is kept apart; auto is the strongest this machine allows, a named level that it lacks ends the start";
    SandboxMin "SKYCLAW_SANDBOX_MIN" Some("sandbox-min"), Host,
        Kind::OneOf(&["none", "basic", "landlock", "isolated"]), Text("none"), Open,
        "Weakest level at which this host starts at all";
    OpenclawCommand "SKYCLAW_OPENCLAW_COMMAND" Some("openclaw-command"), Host, Kind::Verbatim, Text("openclaw"), Open,
        "The openclaw program";
    OpenclawConfig "SKYCLAW_OPENCLAW_CONFIG" Some("openclaw-config"), Host, Kind::Path, Nothing, Open,
        "OpenClaw configuration whose models and credentials agent jobs may use; unset means no agent jobs";
    OpenclawGateway "SKYCLAW_OPENCLAW_GATEWAY" Some("openclaw-gateway"), Host, Kind::Switch, Text("0"), Open,
        "Let agent jobs ask the Gateway on this machine, where the policy allows agents everything; 1 turns it on";
    OpenclawMax "SKYCLAW_OPENCLAW_MAX" Some("openclaw-max"), Host, Kind::AutoInt { min: 1, max: 1000 }, Text("auto"), Open,
        "Agents at once; auto is one for every two processors";
    OpenclawMemoryBytes "SKYCLAW_OPENCLAW_MEMORY_BYTES" Some("openclaw-memory-bytes"), Host,
        Kind::Int { min: 1, max: i64::MAX, unit: "bytes" }, Number(1_342_177_280), Open,
        "Memory that must be free for an agent to begin";
    MaxParallel "SKYCLAW_MAX_PARALLEL" Some("max-parallel"), Host,
        Kind::Int { min: 1, max: limits::MAX_PARALLEL.cast_signed(), unit: "jobs" }, Number(1), Open,
        "Jobs run at once";
    PollMs "SKYCLAW_POLL_MS" Some("poll-ms"), Host, INTERVAL, Number(2_000), Open,
        "Wait between claims that found nothing";
    HeartbeatMs "SKYCLAW_HEARTBEAT_MS" Some("heartbeat-ms"), Host, INTERVAL, Number(5_000), Open,
        "How often the host says it is alive";
    TimeoutMs "SKYCLAW_TIMEOUT_MS" Some("timeout-ms"), Host, ms_from(1000), Number(limits::DEFAULT_RUN_MS), Open,
        "Longest run of a job that names no timeout";
    StopGraceMs "SKYCLAW_STOP_GRACE_MS" Some("stop-grace-ms"), Host, ms_from(0), Number(10_000), Open,
        "What running jobs get when the node is told to stop";
    MaxOutputBytes "SKYCLAW_MAX_OUTPUT_BYTES" Some("max-output-bytes"), Host,
        Kind::Int { min: 0, max: limits::MAX_OUTPUT_BYTES as i64, unit: "bytes" }, Number(128_000), Open,
        "Most of each output that is kept";
    WorkDir "SKYCLAW_WORK_DIR" Some("work-dir"), Host, Kind::Path, Nothing, Open,
        "Folder under which jobs get their own folders";
    ServiceHostEnabled "SKYCLAW_SERVICE_HOST_ENABLED" Some("service-host-enabled"), Host, Kind::Switch, Text("1"), Open,
        "Run services too; 0 turns it off";
    ServiceBasePort "SKYCLAW_SERVICE_BASE_PORT" Some("service-base-port"), Host, Kind::Port, Text("3100"), Open,
        "First port given to services";
    ServicePublicBaseUrl "SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL" Some("service-host-public-base-url"), Host,
        Kind::Text, Nothing, Urls,
        "Url of this host, without port, under which its services are reached";

    GatewayHost "SKYCLAW_GATEWAY_HOST" Some("gateway-host"), Gateway, Kind::Text, Text("0.0.0.0"), Open,
        "Address the gateway listens on";
    GatewayPort "SKYCLAW_GATEWAY_PORT" Some("gateway-port"), Gateway, Kind::Port, Text("8790"), Open,
        "Port of the gateway";
    GatewayDomain "SKYCLAW_GATEWAY_DOMAIN" Some("gateway-domain"), Gateway, Kind::Text, Nothing, Open,
        "Requests for the host NAME.DOMAIN go to the service NAME, beside /v1/gateway/NAME";
    GatewayRefreshMs "SKYCLAW_GATEWAY_REFRESH_MS" Some("gateway-refresh-ms"), Gateway, INTERVAL, Number(3_000), Open,
        "How often the table of services is fetched from SKYCLAW_COORDINATOR_URLS; without them it comes by itself";
    GatewayHealthProbeMs "SKYCLAW_GATEWAY_HEALTH_PROBE_MS" Some("gateway-health-probe-ms"), Gateway, INTERVAL, Number(5_000), Open,
        "How often endpoints are probed";
    GatewayHealthPath "SKYCLAW_GATEWAY_HEALTH_PATH" Some("gateway-health-path"), Gateway, Kind::Verbatim, Text("/health"), Open,
        "Path of the probe";
    GatewayHealthTimeoutMs "SKYCLAW_GATEWAY_HEALTH_TIMEOUT_MS" Some("gateway-health-timeout-ms"), Gateway, ms_from(500), Number(1_500), Open,
        "Longest wait for a probe";
    GatewayRetryAttempts "SKYCLAW_GATEWAY_RETRY_ATTEMPTS" Some("gateway-retry-attempts"), Gateway,
        Kind::Int { min: 0, max: 100, unit: "attempts" }, Number(1), Open,
        "Further endpoints tried for requests that may be repeated";
    GatewayUnhealthyCooldownMs "SKYCLAW_GATEWAY_UNHEALTHY_COOLDOWN_MS" Some("gateway-unhealthy-cooldown-ms"), Gateway,
        ms_from(1000), Number(10_000), Open,
        "How long a failing endpoint is left alone";
}

impl Key {
    /// The row of this setting.
    #[must_use]
    pub fn setting(self) -> &'static Setting {
        // The macro writes keys and rows in one order.
        &SETTINGS[self as usize]
    }
}
