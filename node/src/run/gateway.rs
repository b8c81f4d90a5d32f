//! The gateway role: its port, its table of services, its way to their instances.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skyclaw_http_compat::gateway::{
    Connector, GatewayConfig as Settings, GatewayMetrics, Table, TcpOnly, serve_gateway,
};
use skyclaw_http_compat::{PublicKey, Secret as ApiSecret, Tls};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Node, StartError};
use crate::config::{Config, GatewayConfig, Link, Secret};
use crate::gateway::{self, Reached};
use crate::limits::HTTP_STOP_GRACE;
use crate::tasks::Tasks;
use crate::tls::Certificates;

/// Longest wait of the first callers for the first table: until then all services would be unknown.
const FIRST_TABLE: Duration = Duration::from_secs(2);

/// The port, taken.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the port.
pub(super) async fn listen(settings: &GatewayConfig) -> Result<Door, StartError> {
    let wanted = (settings.listen_host.as_str(), settings.listen_port);
    let failed = |source| StartError::ListenGateway {
        address: format!("{}:{}", wanted.0, wanted.1),
        source,
    };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Door { listener, address })
}

/// The gateway role while it runs.
#[derive(Debug)]
pub(super) struct RunningGateway {
    tasks: Tasks,
}

impl RunningGateway {
    /// True if it stopped listening by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.tasks.token().is_cancelled()
    }

    pub(super) async fn stop(self) {
        if !self.tasks.shutdown(HTTP_STOP_GRACE * 2).await {
            tracing::warn!("the gateway dropped what was under way");
        }
    }
}

impl Node {
    /// Begins to serve callers. The port was taken before.
    pub(super) fn start_gateway(
        &self,
        config: &Config,
        settings: &GatewayConfig,
        door: Door,
    ) -> Result<RunningGateway, StartError> {
        let tasks = Tasks::default();
        let (table, changes) = watch::channel(Arc::new(Table::default()));
        let mut connector: Arc<dyn Connector> = Arc::new(TcpOnly);
        let mut metrics = GatewayMetrics::default();
        match (&settings.link, &self.coordinator, &self.member) {
            (Link::Embedded, Some(coordinator), _) => {
                let handle = coordinator.handle().clone();
                let own = handle.node();
                connector =
                    Arc::new(Reached::new(handle.net().clone(), own, self.services.clone()));
                metrics = coordinator.gateway_metrics.clone();
                tasks.spawn(gateway::follow(handle, table, metrics.clone(), tasks.token()));
            }
            (Link::P2p(_), _, Some(member)) => {
                let (net, own) = (member.net().clone(), Some(member.id()));
                metrics = member.gateway_metrics().clone();
                connector = Arc::new(Reached::new(net.clone(), own, self.services.clone()));
                tasks.spawn(gateway::ask(net, table, metrics.clone(), tasks.token()));
            }
            (Link::Http(urls), ..) => {
                let fetch = gateway::Fetch::new(urls, config.token.as_ref(), settings.refresh);
                let fetch = fetch.map_err(StartError::Host)?;
                tasks.spawn(fetch.run(table, tasks.token()));
            }
            (Link::Embedded, None, _) | (Link::P2p(_), _, None) => {
                return Err(StartError::NoCoordinator);
            }
        }
        let certificates = self.certificates.as_ref();
        let tls = certificates.map(Certificates::gateway).transpose()?.flatten();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let served = served(config, settings, tls);
        let stop = tasks.token();
        let Door { listener, address } = door;
        let mut first = changes.clone();
        tasks.spawn(async move {
            // They wait in the queue of the port, which is open. If there is no table, they hear it.
            let _ = stop.run_until_cancelled(timeout(FIRST_TABLE, first.changed())).await;
            let ended = serve_gateway(
                listener,
                served,
                changes,
                connector,
                metrics,
                stop.clone(),
                HTTP_STOP_GRACE,
            );
            if let Err(error) = ended.await {
                tracing::error!(%error, "the gateway stopped listening");
            }
            // The rest is of no use without it.
            stop.cancel();
        });
        let _ = writeln!(
            std::io::stdout().lock(),
            "[skyclaw] gateway listening on {scheme}://{}:{}",
            settings.listen_host,
            address.port()
        );
        Ok(RunningGateway { tasks })
    }
}

fn served(config: &Config, settings: &GatewayConfig, tls: Option<Tls>) -> Settings {
    let keys = config.coordinator.as_ref().and_then(|it| it.public_api_keys.as_ref());
    Settings {
        token: config.token.as_ref().map(Secret::expose).and_then(ApiSecret::new),
        public_keys: keys.map_or_else(Vec::new, |keys| PublicKey::parse_list(keys.expose())),
        domain: settings.domain.clone(),
        probe_every: settings.probe_every,
        probe_path: settings.probe_path.clone(),
        probe_timeout: settings.probe_timeout,
        retry_attempts: settings.retry_attempts,
        cooldown: settings.cooldown,
        tls,
        ..Settings::default()
    }
}
