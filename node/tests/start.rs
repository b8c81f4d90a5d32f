//! A start that fails, in a program that goes on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::net::TcpListener;
use std::time::Duration;

use skyclaw_node::config::{Config, EnvVars, Layer, Layers};
use skyclaw_node::run::Node;

fn config(settings: &[(&str, &str)]) -> Config {
    let settings = EnvVars::new(settings.iter().copied());
    let layers = Layers::new(Layer::default(), settings.layer(), Layer::default());
    Config::resolve(&layers).unwrap().config
}

/// Whoever embeds a node may try again: with another port, over the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_finds_a_port_taken_leaves_no_task_running() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.db").to_string_lossy().into_owned();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let multiaddr = format!("/ip4/127.0.0.1/tcp/{port}");
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for (role, setting, value) in [
        ("coordinator", "SKYCLAW_COORDINATOR_PORT", &*port),
        ("coordinator", "SKYCLAW_P2P_LISTEN", &*multiaddr),
        ("host", "SKYCLAW_P2P_LISTEN", &*multiaddr),
        // Over the same file again.
        ("host", "SKYCLAW_P2P_LISTEN", &*multiaddr),
    ] {
        let mut settings = vec![
            ("SKYCLAW_ROLE", role),
            ("SKYCLAW_BOOTSTRAP", "/ip4/127.0.0.1/tcp/9"),
            ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1"),
            ("SKYCLAW_COORDINATOR_PORT", "0"),
            ("SKYCLAW_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0"),
            ("SKYCLAW_DB_PATH", &*file),
        ];
        settings.retain(|(name, _)| *name != setting);
        settings.push((setting, value));
        let error = Node::start(&config(&settings)).await.unwrap_err();
        assert!(error.to_string().contains(&port), "{error}");
        let mut patience = 200;
        while tasks() > before {
            patience -= 1;
            assert!(patience > 0, "{role}, {setting}: {} tasks more than before", tasks() - before);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
