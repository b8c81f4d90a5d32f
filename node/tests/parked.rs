//! Claims that wait at a running coordinator while their host changes.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use skyclaw_http_compat::Request;
use skyclaw_node::config::{Config, EnvVars, Layer, Layers};
use skyclaw_node::handle::NodeHandle;
use skyclaw_node::run::Node;
use skyclaw_protocol::{Answer, Command, HostId, JobRequest, Milli, Refusal};

async fn coordinator(folder: &tempfile::TempDir) -> Node {
    let settings = EnvVars::new([
        ("SKYCLAW_ROLE", "coordinator"),
        ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1"),
        ("SKYCLAW_COORDINATOR_PORT", "0"),
        ("SKYCLAW_DB_PATH", folder.path().join("node.db").to_str().unwrap()),
    ]);
    let layers = Layers::new(Layer::default(), settings.layer(), Layer::default());
    Node::start(&Config::resolve(&layers).unwrap().config).await.unwrap()
}

async fn ask(handle: &NodeHandle, command: Command) -> Result<Answer, Refusal> {
    let answer = handle.command(Request { command, idempotency: None });
    tokio::time::timeout(Duration::from_secs(10), answer).await.expect("answered at once")
}

fn host() -> HostId {
    HostId::new("h").unwrap()
}

fn register(capability: &str) -> Command {
    Command::RegisterHost {
        node: None,
        id: Some(host()),
        name: "h".into(),
        capabilities: vec![capability.into()],
        max_parallel: Milli::whole(1),
        openclaw: None,
    }
}

async fn park(handle: &NodeHandle) -> tokio::task::JoinHandle<Result<Answer, Refusal>> {
    let parked = handle.clone();
    let claim = Command::Claim { host: host(), wait_ms: 30_000, without: Vec::new() };
    let claim = tokio::spawn(async move { ask(&parked, claim).await });
    // Commands are taken in order, but the task must have got to sending its own.
    tokio::time::sleep(Duration::from_millis(200)).await;
    claim
}

#[tokio::test]
async fn a_removed_host_hears_of_it_on_the_claim_it_parked() {
    let folder = tempfile::tempdir().unwrap();
    let node = coordinator(&folder).await;
    let handle = node.coordinator().unwrap().handle().clone();
    ask(&handle, register("shell")).await.unwrap();
    let claim = park(&handle).await;
    ask(&handle, Command::RemoveHost { host: host() }).await.unwrap();
    assert_eq!(claim.await.unwrap(), Err(Refusal::UnknownHost("h".into())));
    node.stop().await;
}

#[tokio::test]
async fn a_parked_claim_gets_what_its_host_can_run_since_it_registered_again() {
    let folder = tempfile::tempdir().unwrap();
    let node = coordinator(&folder).await;
    let handle = node.coordinator().unwrap().handle().clone();
    ask(&handle, register("shell")).await.unwrap();
    let claim = park(&handle).await;
    let payload = br#"{"kind":"shell","command":"true"}"#;
    let job = JobRequest::new(payload.to_vec(), vec!["gpu".into()]);
    ask(&handle, Command::Submit(job)).await.unwrap();
    ask(&handle, register("gpu")).await.unwrap();
    assert!(matches!(claim.await.unwrap(), Ok(Answer::Job(_))));
    node.stop().await;
}
