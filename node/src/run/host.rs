//! The host role: its port to coordinators, its supervisor, its services.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skyclaw_protocol::placement::capability_list;
use skyclaw_protocol::{HostId, SandboxLevel, verify};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::member::Member;
use super::{Node, StartError, blobs, duties, host_key, p2p, policy};
use crate::blobs::Blobs;
use crate::config::{Config, HostConfig, Link, Secret};
use crate::host::{self, Receipts};
use crate::limits::{EMBEDDED_HOST_PATIENCE, HOST_FAREWELL, HOST_STOP_SLACK, JOB_KILL_GRACE};
use crate::net::NetHandle;
use crate::openclaw::{self, Found, Openclaw, OpenclawConfig};
use crate::sandbox::Sandbox;
use crate::services::{Services, ServicesConfig};
use crate::supervisor::policy::{AgentRules, PolicyFile};
use crate::supervisor::{Supervisor, SupervisorConfig};
use crate::tasks::Tasks;

/// The host role while it runs.
#[derive(Debug)]
pub(super) struct RunningHost {
    tasks: Tasks,
    grace: Duration,
    failed: Arc<AtomicBool>,
}

impl RunningHost {
    /// True once coordinators refused it.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) async fn stop(self) {
        if !self.tasks.shutdown(self.grace + HOST_STOP_SLACK).await {
            tracing::warn!("the host did not stop in time; what it ran is ended with this process");
        }
    }
}

impl Node {
    /// Where the host finds what it fetches: with its coordinator, or a place of its own.
    pub(super) async fn blobs_of_host(&self, config: &Config) -> Option<Blobs> {
        let settings = config.host.as_ref()?;
        let here = self.coordinator.as_ref().and_then(|here| here.handle.blobs().cloned());
        let member = || self.member.as_ref().and_then(Member::blobs);
        match (&settings.link, here.or_else(member)) {
            (Link::Http(urls), None) => {
                let token = config.token.as_ref().map(Secret::expose);
                blobs::of_http_host(settings.work_dir.as_deref(), urls, token).await
            }
            (_, found) => found,
        }
    }

    /// Its way to other members; none for a host that talks HTTP only.
    fn net(&self) -> Option<&NetHandle> {
        match (&self.coordinator, &self.member) {
            (Some(coordinator), _) => Some(coordinator.handle.net()),
            (None, Some(member)) => Some(member.net()),
            (None, None) => None,
        }
    }

    /// What runs services, if the host is to.
    pub(super) fn start_services(&self, config: &Config) -> Option<Services> {
        let settings = config.host.as_ref().filter(|host| host.services)?;
        let bundles = blobs::bundles(self.blobs.as_ref());
        let net = self.net();
        let seals = super::seals(config, net);
        let services =
            Services::new(ServicesConfig { seals, ..services_config(settings) }, bundles);
        if let Some(net) = net {
            duties::serve(net, &services);
        }
        Some(services)
    }

    /// Returns once the host has registered, or, inside a coordinator, could not yet.
    pub(super) async fn start_host(
        &mut self,
        config: &Config,
        (rules, sandbox): (Option<PolicyFile>, Sandbox),
    ) -> Result<(), StartError> {
        let Some(settings) = &config.host else { return Ok(()) };
        let mut outbox = None;
        let link: Box<dyn host::Coordinator> =
            match (&settings.link, &self.coordinator, &mut self.member) {
                (Link::P2p(_), _, Some(member)) => {
                    outbox = member.take_outbox();
                    Box::new(member.port())
                }
                (Link::Embedded, Some(coordinator), _) => {
                    Box::new(host::Embedded::new(coordinator.handle.clone()))
                }
                (Link::Http(urls), ..) => {
                    let token = config.token.as_ref().map(Secret::expose);
                    let port = host::http::HttpCoordinator::new(urls, token);
                    Box::new(port.map_err(StartError::Host)?)
                }
                (Link::Embedded, None, _) | (Link::P2p(_), _, None) => {
                    return Err(StartError::NoCoordinator);
                }
            };
        // Only a coordinator that was named must be there at the start.
        let patient = !matches!(settings.link, Link::Http(_));
        let (tasks, grace) = (Tasks::default(), settings.stop_grace);
        let stop = tasks.token();
        let dead = Arc::<AtomicBool>::default();
        let failed_later = Arc::clone(&dead);
        self.host = Some(RunningHost { tasks: tasks.clone(), grace, failed: dead });
        let agents = rules.as_ref().map(PolicyFile::agents).unwrap_or_default();
        let openclaw = Openclaw::new(openclaw_config(settings, agents));
        let supervisor = Supervisor::new(SupervisorConfig {
            blobs: self.blobs.clone(),
            openclaw: openclaw.clone(),
            policy: rules,
            sandbox: sandbox.hiding(super::sandbox::own(config)),
            ..supervisor_config(settings)
        })
        .map_err(|source| StartError::Supervisor { source })?;
        match (&self.coordinator, &self.member) {
            (Some(coordinator), _) => coordinator.metrics.add(supervisor.metrics()),
            (None, Some(member)) => member.metrics().add(supervisor.metrics()),
            (None, None) => {}
        }
        if let Some(coordinator) = &self.coordinator {
            coordinator.handle.set_outputs(supervisor.outputs());
        }
        if let Some(net) = self.net() {
            duties::serve_output(net, supervisor.outputs());
        }
        supervisor.prepare();
        let looks = openclaw::watch(openclaw.clone(), supervisor.clone(), stop.clone());
        tasks.spawn(looks);
        let (registered, first) = oneshot::channel();
        let mut host = host_config(settings, sandbox.level(), registered)?;
        host.outbox = outbox;
        host.services = self.services.clone();
        host.receipts = self.receipts(config, settings).await;
        if host.receipts.is_some() {
            signs(&mut host.spec.capabilities);
        }
        host.openclaw = Some(openclaw);
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
}

impl Node {
    /// What signs for the host: the node's own key, or that of a host alone.
    async fn receipts(&self, config: &Config, settings: &HostConfig) -> Option<Receipts> {
        let (network, name) = (p2p::membership(config).id(), config.network.as_str());
        match (&settings.link, &self.coordinator, &self.member) {
            (Link::Embedded, Some(coordinator), _) => {
                let shared = coordinator.engine.shared();
                Some(Receipts::new(move || shared.key(), network, name))
            }
            (Link::P2p(_), _, Some(member)) => {
                let key = member.key();
                Some(Receipts::new(move || Some(key.clone()), network, name))
            }
            (Link::Http(_), ..) => {
                let (path, mut seed) = (settings.key_path.clone(), [0; 32]);
                rand::fill(&mut seed);
                let found = tokio::task::spawn_blocking(move || host_key::load(&path, seed)).await;
                match found {
                    Ok(Ok(key)) => Some(Receipts::new(move || Some(key.clone()), network, name)),
                    Ok(Err(error)) => {
                        tracing::warn!(
                            "runs of this host get no receipts, as it has no key: {error}"
                        );
                        None
                    }
                    Err(_) => None,
                }
            }
            _ => None,
        }
    }
}

pub(super) fn supervisor_config(settings: &HostConfig) -> SupervisorConfig {
    SupervisorConfig {
        allowed: settings.allowed_commands.clone(),
        allowed_is_set: settings.allowed_commands_are_set,
        default_timeout: settings.timeout,
        max_output: settings.max_output_bytes,
        most: settings.max_parallel as usize,
        work_root: settings.work_dir.clone(),
        environment: policy::environment(),
        ..SupervisorConfig::default()
    }
}

/// What a host with these settings would find of OpenClaw on this machine.
///
/// # Errors
/// There is no place to run it in.
pub async fn look_at_openclaw(
    settings: &HostConfig,
    policy: Option<PolicyFile>,
) -> io::Result<Arc<Found>> {
    let agents = policy.as_ref().map(PolicyFile::agents).unwrap_or_default();
    let openclaw = Openclaw::new(openclaw_config(settings, agents));
    let config = SupervisorConfig { policy, ..supervisor_config(settings) };
    let supervisor = Supervisor::new(SupervisorConfig { openclaw: openclaw.clone(), ..config })?;
    let stop = CancellationToken::new();
    let looks = openclaw::watch(openclaw.clone(), supervisor.clone(), stop.clone());
    let looks = tokio::spawn(looks);
    let found = openclaw.known().await;
    stop.cancel();
    // It says what it saw to nobody here.
    let _ = looks.await;
    supervisor.shutdown(Duration::ZERO).await;
    Ok(found)
}

fn openclaw_config(settings: &HostConfig, rules: AgentRules) -> OpenclawConfig {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    OpenclawConfig {
        command: settings.openclaw_command.clone(),
        config: settings.openclaw_config.clone(),
        gateway: settings.openclaw_gateway,
        most: settings.openclaw_max.unwrap_or_else(|| (processors / 2).max(1)),
        bytes: settings.openclaw_memory_bytes,
        rules,
    }
}

pub(super) fn services_config(settings: &HostConfig) -> ServicesConfig {
    ServicesConfig {
        base_port: settings.service_base_port,
        public_base_url: settings.service_public_base_url.clone(),
        poll: settings.poll,
        grace: settings.stop_grace,
        ..ServicesConfig::default()
    }
}

/// What the owner says, and the levels that runs are kept at here: those are seen, and nobody's word,
/// as is whether it signs receipts.
fn capabilities(owner: &[String], level: SandboxLevel) -> Vec<String> {
    let seen =
        |word: &str| word.starts_with(SandboxLevel::CAPABILITY) || word == verify::CAPABILITY;
    let said = owner.iter().filter(|word| !seen(word.trim())).cloned();
    capability_list(said.chain(level.capabilities()))
}

/// This host signs receipts, so jobs that are to be verified may run here.
fn signs(capabilities: &mut Vec<String>) {
    capabilities.push(verify::CAPABILITY.to_owned());
    *capabilities = capability_list(std::mem::take(capabilities));
}

/// The host's settings; `registered` is told of the first line, which says that it has registered.
fn host_config(
    settings: &HostConfig,
    level: SandboxLevel,
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
        capabilities: capabilities(&settings.capabilities, level),
        max_parallel: settings.max_parallel as usize,
        openclaw: None,
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
