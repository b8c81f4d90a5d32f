//! A node inside another program: starts a coordinator with its host, submits a job over HTTP as any
//! client would, prints what it said, and stops.
//!
//! ```sh
//! cargo run --example one_node
//! ```

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use skyclaw_node::client::{Client, segment};
use skyclaw_node::config::{Config, EnvVars, Layer, Layers};
use skyclaw_node::run::Node;
use skyclaw_node::supervisor;

fn main() -> Result<(), Box<dyn Error>> {
    // The host starts this very program as the keeper of each job.
    supervisor::shim::run_if_asked();
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("skyclaw-example-{}", std::process::id()));
    let settings = EnvVars::new([
        ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1"),
        ("SKYCLAW_COORDINATOR_PORT", "0"),
        ("SKYCLAW_DB_PATH", &folder.join("node.db").to_string_lossy()),
        ("SKYCLAW_ALLOWED_COMMANDS", "sh"),
    ]);
    let layers = Layers::new(Layer::default(), settings.layer(), Layer::default());
    let node = Node::start(&Config::resolve(&layers)?.config).await?;
    let url = match node.coordinator() {
        Some(coordinator) => format!("http://{}", coordinator.address()),
        None => return Err("the settings name the coordinator role".into()),
    };

    let client = Client::new(&[url], None)?;
    let job = client
        .post(
            "/v1/jobs",
            &json!({
                "payload": { "kind": "shell", "command": "sh", "args": ["-c", "echo hello from a job"] },
                "requirement": { "requiredCapabilities": ["shell"] },
            }),
        )
        .await?;
    let path = format!("/v1/jobs/{}", segment(job["job"]["id"].as_str().unwrap_or_default()));
    let done = loop {
        let job = client.get(&path).await?;
        if matches!(job["job"]["status"].as_str(), Some("completed" | "failed")) {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let said = done["job"]["result"]["stdout"].as_str().unwrap_or_default();
    let host = &done["job"]["assignedHostId"];
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, format!("{host} said: {said}").as_bytes())?;
    drop(out);

    node.stop().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
