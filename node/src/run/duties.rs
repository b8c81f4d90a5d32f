//! What other members get from a host's services by tunnels: HTTP to an instance, and its log.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::NodeId;

use crate::net::{Duty, NetHandle, Serving, Tunnel, Tunnels};
use crate::services::{ServiceTunnels, Services};

/// Serves them from now on.
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
                Duty::Blob => Err("services have no blobs".to_owned()),
            }
        }
        .boxed()
    }
}

fn boxed<F>(serve: impl FnOnce(Tunnel) -> F + Send + 'static) -> Serving
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::new(move |tunnel| serve(tunnel).boxed())
}
