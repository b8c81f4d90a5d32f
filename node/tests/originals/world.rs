//! A coordinator in this process, and records as originals write them.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use skyclaw_http_compat::Request;
use skyclaw_node::config::{Config, EnvVars, Layer, Layers};
use skyclaw_node::handle::NodeHandle;
use skyclaw_node::originals::{Merged, Originals};
use skyclaw_node::run::Node;
use skyclaw_node::time;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{Adopted, Answer, Command, JobId, JobRequest, JobView};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) node: Option<Node>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Some(start(folder.path()).await);
        Self { folder, node }
    }

    pub(crate) fn handle(&self) -> NodeHandle {
        self.node.as_ref().unwrap().coordinator().unwrap().handle().clone()
    }

    pub(crate) fn originals(&self) -> Originals {
        self.handle().originals().unwrap().clone()
    }

    pub(crate) async fn stop(&mut self) {
        self.node.take().unwrap().stop().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.stop().await;
        self.node = Some(start(self.folder.path()).await);
    }

    pub(crate) async fn merge(&self, body: &Value) -> Merged {
        self.originals().merge(Bytes::from(body.to_string())).await.unwrap()
    }

    pub(crate) async fn ask(&self, command: Command) -> Answer {
        self.handle().command(Request { command, idempotency: None }).await.unwrap()
    }

    pub(crate) async fn submit(&self) -> JobView {
        let Answer::Job(job) = self.ask(Command::Submit(request())).await else { panic!("no job") };
        *job
    }

    /// A job of ours with an id and creation of an original's.
    pub(crate) async fn adopt(&self, id: &str, created: Wall) -> JobView {
        let adopted = Adopted {
            id: JobId::new(id).unwrap(),
            created,
            request: request(),
            attempts: 0,
            version: 1,
            end: None,
        };
        let answer = self.ask(Command::Adopt(Box::new(adopted))).await;
        let Answer::Job(job) = answer else { panic!("no job") };
        *job
    }
}

pub(crate) async fn start(folder: &Path) -> Node {
    let settings = EnvVars::new([
        ("SKYCLAW_ROLE", "coordinator"),
        ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1"),
        ("SKYCLAW_COORDINATOR_PORT", "0"),
        ("SKYCLAW_P2P", "0"),
        ("SKYCLAW_DB_PATH", folder.join("node.db").to_str().unwrap()),
    ]);
    let layers = Layers::new(Layer::default(), settings.layer(), Layer::default());
    Node::start(&Config::resolve(&layers).unwrap().config).await.unwrap()
}

fn request() -> JobRequest {
    let payload = br#"{"kind":"shell","command":"true"}"#;
    JobRequest::new(payload.to_vec(), vec!["nobody".into()])
}

/// So many milliseconds ago, as originals write it.
pub(crate) fn iso(ago: u64) -> String {
    iso_at(Wall(time::wall().0 - ago))
}

pub(crate) fn iso_at(at: Wall) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap()).unwrap();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

pub(crate) fn job(id: &str, version: u64, status: &str, created: &str) -> Value {
    json!({
        "id": id, "createdAt": created, "updatedAt": created, "updatedBy": "node_o",
        "version": version, "status": status, "attempts": 1,
        "requirement": { "requiredCapabilities": ["shell"] },
        "payload": { "kind": "shell", "command": "true" }, "assignedHostId": "h_o",
    })
}

pub(crate) fn host(id: &str, version: u64) -> Value {
    json!({
        "id": id, "name": id, "capabilities": ["shell"], "maxParallel": 1, "activeLeases": 0,
        "lastSeenAt": iso(0), "registeredAt": iso(1000), "updatedBy": "node_o", "version": version,
    })
}

pub(crate) fn service(id: &str, version: u64) -> Value {
    json!({
        "id": id, "name": id, "command": "x", "args": [], "replicas": 1, "requiredCapabilities": [],
        "status": "running", "createdAt": iso(1000), "updatedAt": iso(0), "updatedBy": "node_o",
        "version": version, "assignments": [{
            "hostId": "h_o", "status": "running", "updatedAt": iso(0),
            "endpoint": "http://127.0.0.1:9",
        }],
    })
}
