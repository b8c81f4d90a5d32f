//! What other members get from a host by tunnels: HTTP to an instance of a service, its log, what jobs
//! write while they run; and of any node what it counts.

use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::NodeId;

use crate::net::{Duty, NetHandle, Serving, Tunnel, Tunnels};
use crate::numbers;
use crate::output::OutputTunnels;
use crate::services::{ServiceTunnels, Services};
use crate::supervisor::Outputs;
use crate::telemetry::Metrics;

/// Serves those of services from now on.
pub(super) fn serve(net: &NetHandle, services: &Services) {
    let port = Arc::new(ServiceDuty(ServiceTunnels::new(services.clone())));
    for duty in [Duty::Http, Duty::Logs] {
        if !net.serve(duty, Arc::clone(&port) as Arc<dyn Tunnels>) {
            tracing::error!(?duty, "these tunnels are served twice");
        }
    }
}

#[derive(Clone)]
struct ServiceDuty(ServiceTunnels);

impl Tunnels for ServiceDuty {
    fn serve(
        &self,
        duty: Duty,
        _from: NodeId,
        header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>> {
        let this = self.0.clone();
        async move {
            match duty {
                Duty::Http => {
                    let serving = this.http(&header).await?;
                    Ok(boxed(move |tunnel| serving.run(tunnel)))
                }
                Duty::Logs => {
                    let serving = this.logs(&header)?;
                    Ok(boxed(move |tunnel| serving.run(tunnel)))
                }
                _ => Err("services have nothing of the kind".to_owned()),
            }
        }
        .boxed()
    }
}

/// Serves what jobs write from now on.
pub(super) fn serve_output(net: &NetHandle, outputs: Outputs) {
    let port = OutputDuty(OutputTunnels::new(outputs));
    if !net.serve(Duty::Output, Arc::new(port)) {
        tracing::error!("the output of jobs is served twice");
    }
}

/// Tells what this node counts from now on.
pub(super) fn serve_numbers(net: &NetHandle, metrics: &Arc<Metrics>) {
    let port = NumbersDuty(Arc::downgrade(metrics));
    if !net.serve(Duty::Numbers, Arc::new(port)) {
        tracing::error!("the numbers of this node are served twice");
    }
}

/// They hold what is counted, the network too, which holds this: a circle would outlive the node.
struct NumbersDuty(Weak<Metrics>);

impl Tunnels for NumbersDuty {
    fn serve(
        &self,
        _duty: Duty,
        _from: NodeId,
        _header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>> {
        let metrics = self.0.upgrade().ok_or_else(|| "the node stops".to_owned());
        let serving = metrics.map(|metrics| boxed(move |tunnel| numbers::tell(metrics, tunnel)));
        std::future::ready(serving).boxed()
    }
}

struct OutputDuty(OutputTunnels);

impl Tunnels for OutputDuty {
    fn serve(
        &self,
        _duty: Duty,
        _from: NodeId,
        header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>> {
        let serving = self.0.open(&header);
        let serving = serving.map(|serving| boxed(move |tunnel| serving.run(tunnel)));
        std::future::ready(serving).boxed()
    }
}

fn boxed<F>(serve: impl FnOnce(Tunnel) -> F + Send + 'static) -> Serving
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::new(move |tunnel| serve(tunnel).boxed())
}
