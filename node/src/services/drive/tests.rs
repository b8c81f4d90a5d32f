//! What wakes a driver.

use futures::future::pending;
use skyclaw_protocol::JobId;

use super::*;
use crate::host::{Claim, HostSpec, Pulse, Report};
use crate::services::{NoBundles, ServicesConfig};
use crate::supervisor::SupervisorConfig;

/// Answers nothing.
struct Silent;

impl Coordinator for Silent {
    fn register(&self, _spec: HostSpec) -> BoxFuture<'_, Result<HostId, PortError>> {
        Box::pin(pending())
    }

    fn heartbeat(
        &self,
        _host: HostId,
        _running: Vec<(JobId, u32)>,
    ) -> BoxFuture<'_, Result<Pulse, PortError>> {
        Box::pin(pending())
    }

    fn claim(
        &self,
        _host: HostId,
        _most: usize,
        _wait: Duration,
        _without: Vec<String>,
    ) -> BoxFuture<'_, Result<Claim, PortError>> {
        Box::pin(pending())
    }

    fn complete(&self, _report: Report) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(pending())
    }
}

/// Registered once more in its last moments, it would otherwise turn round as fast as it can until its
/// instances are gone.
#[tokio::test]
async fn a_host_that_stops_does_not_wake_for_questions() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new(SupervisorConfig {
        work_root: Some(dir.path().into()),
        hidden: false,
        ..SupervisorConfig::default()
    });
    let supervisor = supervisor.unwrap();
    let services = Services::new(ServicesConfig::default(), Arc::new(NoBundles));
    let host = watch::Sender::new(HostId::new("h").unwrap());
    let client = health::client().unwrap();
    let mut driver = Driver::new(services, &Silent, &supervisor, host.subscribe(), client);
    driver.stopping = true;
    host.send_replace(HostId::new("h").unwrap());
    let event = driver.next().await;
    assert!(matches!(event, Some(Event::Registered)));
    driver.handle(event);
    let woken = timeout(Duration::from_millis(200), driver.next()).await;
    assert!(woken.is_err(), "there is nothing to do");
}
