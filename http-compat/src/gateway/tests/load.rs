//! For load generators: the gateway alone, on a given port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rig::{quiet, table};
use crate::gateway::{GatewayMetrics, TcpOnly, serve_gateway};

/// Serves the service `bench`, at the addresses of `GATEWAY_ENDPOINTS` (separated by commas), on
/// `GATEWAY_LISTEN` for `GATEWAY_SECONDS`.
#[test]
#[ignore = "a server for a load generator: GATEWAY_LISTEN=127.0.0.1:18092 \
            GATEWAY_ENDPOINTS=127.0.0.1:18081,127.0.0.1:18082 GATEWAY_SECONDS=60 cargo test \
            --release -p skyclaw-http-compat --lib serve_for_a_load_generator -- --ignored"]
fn serve_for_a_load_generator() {
    let setting = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let listen = setting("GATEWAY_LISTEN");
    let endpoints: Vec<SocketAddr> =
        setting("GATEWAY_ENDPOINTS").split(',').map(|it| it.parse().unwrap()).collect();
    let seconds = setting("GATEWAY_SECONDS").parse().unwrap();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Ok(threads) = std::env::var("GATEWAY_THREADS") {
        runtime.worker_threads(threads.parse().unwrap());
    }
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.unwrap();
        let (_table, receiver) =
            watch::channel(Arc::new(table(&[("svc_bench", "bench", &endpoints)])));
        let stop = CancellationToken::new();
        let ending = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            ending.cancel();
        });
        let (connector, metrics) = (Arc::new(TcpOnly), GatewayMetrics::default());
        let grace = Duration::from_secs(1);
        serve_gateway(listener, quiet(), receiver, connector, metrics, stop, grace).await.unwrap();
    });
}
