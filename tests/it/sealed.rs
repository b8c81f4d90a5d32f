//! The environment of services: told to who runs them, and in no other answer, file or log.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Api, Node, Setup, Shell, binary, eventually};

use crate::cluster::nodes;
use crate::holds;

/// A question that may be held for 300 ms was, if its answer took so long.
const HELD: Duration = Duration::from_millis(250);

/// A service that says what it was told, and never serves.
fn teller(canary: &str, required: &str) -> Value {
    let script = "echo got-$CANARY-$OTHER; exec sleep 600";
    json!({
        "serviceId": "a", "name": "a", "command": "sh", "args": ["-c", script],
        "env": { "CANARY": canary, "OTHER": "one" }, "requiredCapabilities": [required],
    })
}

#[track_caller]
fn until_logged(shell: &Shell, line: &str) {
    eventually(line, || match shell.run(&["logs", "a"]).stdout {
        log if log.contains(line) => Ok(()),
        log => Err(log),
    });
}

fn claimed(api: &Api) -> Value {
    api.post("/v1/hosts/h/services/claim", &json!({})).ok()["service"]["env"].clone()
}

fn database(node: &Node) -> Vec<u8> {
    std::fs::read(node.cwd().join(".skyclaw/coordinator.db")).expect("a database")
}

#[test]
fn a_service_gets_its_environment_and_nobody_reads_it() {
    let canary = format!("canary{}", std::process::id());
    let mut node = Setup::both()
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_LOG", "debug")
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .env("SKYCLAW_SERVICE_BASE_PORT", 27_100)
        .start();
    node.api.until_hosts(1);
    // In the name of an administrator.
    let shell = Shell::of(&node).with("SKYCLAW_TOKEN", "secret");
    let made = node.api.post("/v1/services", &teller(&canary, "service-host")).ok();
    assert_eq!(made["service"]["env"], json!({ "CANARY": "***", "OTHER": "***" }));
    until_logged(&shell, &format!("got-{canary}-one"));
    // What was shown can be sent back: a mask keeps the value.
    let change = json!({ "env": { "CANARY": "***", "OTHER": "two" } });
    let patched = node.api.send("PATCH", "/v1/services/a", &[], change.to_string().as_bytes());
    assert_eq!(patched.ok()["service"]["env"], made["service"]["env"]);
    until_logged(&shell, &format!("got-{canary}-two"));
    let new = json!({ "env": { "NEW": "***" } }).to_string();
    let refused = node.api.send("PATCH", "/v1/services/a", &[], new.as_bytes()).error(400);
    assert!(refused.contains("env.NEW is *** and has no value to keep"), "{refused}");
    // The same once more is no other deployment.
    let generation = || {
        let service = node.api.get("/v1/services/a?details=1").ok();
        service["service"]["generation"].as_u64()
    };
    let before = generation();
    let mut same = teller(&canary, "service-host");
    same["env"]["OTHER"] = json!("two");
    node.api.post("/v1/services", &same).ok();
    assert_eq!(generation(), before);

    for target in ["/v1/services", "/v1/services/a?details=1", "/v1/state", "/metrics"] {
        assert!(!node.api.get(target).text().contains(&canary), "{target}");
    }
    let shown = shell.run(&["service", "a", "--json"]).stdout;
    assert!(shown.contains("***") && !shown.contains(&canary), "{shown}");
    let copy = node.folder().join("copy");
    let backup = Command::new(binary("skyclaw-node"))
        .args(["backup", copy.to_str().expect("text")])
        .current_dir(node.cwd())
        .env("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
        .env("SKYCLAW_COORDINATOR_PORT", node.api.address().port().to_string())
        .env("SKYCLAW_TOKEN", "secret")
        .output()
        .expect("it runs");
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    node.stop();
    assert!(!node.process.log().contains(&canary));
    for file in [database(&node), std::fs::read(copy).expect("a backup")] {
        assert!(
            holds(&file, "got-$CANARY-$OTHER") && holds(&file, "sealed:1:"),
            "here it would be"
        );
        assert!(!holds(&file, &canary));
    }
}

/// The original's hosts, and any that talks HTTP, have no key: their coordinator opens what they run.
#[test]
fn a_host_that_talks_http_is_told_what_it_is_to_run_at_any_coordinator() {
    let nodes = nodes(2, 2);
    nodes[0].api.register("h", &["special"], 1);
    nodes[1].api.post("/v1/services", &teller("canary", "special")).ok();
    let told = json!({ "CANARY": "canary", "OTHER": "one" });
    for node in &nodes {
        // Of host and service the other one may not have heard yet.
        eventually("the service is claimed", || {
            match node.api.post("/v1/hosts/h/services/claim", &json!({})) {
                answer if answer.status != 200 => Err(answer.text()),
                answer if answer.json()["service"]["env"] == told => Ok(()),
                answer => Err(answer.text()),
            }
        });
    }
    // Orders are told in clear and held while they stay the same, as ever.
    let mut mark = Value::Null;
    eventually("the orders are held", || {
        let known = mark.is_string();
        let asked = match known {
            true => json!({ "running": ["a"], "mark": mark, "waitMs": 300 }),
            false => json!({}),
        };
        let begun = Instant::now();
        let orders = nodes[0].api.post("/v1/hosts/h/services/orders", &asked).ok();
        let held = known && orders["mark"] == mark && begun.elapsed() >= HELD;
        mark = orders["mark"].clone();
        match held && orders["orders"][0]["env"] == told {
            true => Ok(()),
            false => Err(orders.to_string()),
        }
    });
    for node in &nodes {
        assert!(!holds(&database(node), "canary"));
    }
}

#[test]
fn what_the_token_before_sealed_is_read_while_it_is_named() {
    let mut node = Setup::coordinator().env("SKYCLAW_TOKEN", "before").start();
    node.api.register("h", &["special"], 1);
    node.api.post("/v1/services", &teller("canary", "special")).ok();
    let told = json!({ "CANARY": "canary", "OTHER": "one" });
    assert_eq!(claimed(&node.api), told);
    node.stop();
    node.start_with(|setup| setup.env("SKYCLAW_TOKEN", "now").env("SKYCLAW_TOKEN_OLD", "before"));
    assert_eq!(claimed(&node.api), told);
    node.stop();
    node.start_with(|setup| setup.env("SKYCLAW_TOKEN", "now").env("SKYCLAW_TOKEN_OLD", "other"));
    let refused = node.api.post("/v1/hosts/h/services/claim", &json!({})).error(503);
    assert!(refused.contains("env.CANARY: it was sealed under another token"), "{refused}");
    // Deployed again it is readable.
    node.api.post("/v1/services", &teller("fresh", "special")).ok();
    assert_eq!(claimed(&node.api)["CANARY"], "fresh");
}

#[test]
fn without_a_token_values_are_kept_in_clear_and_the_node_says_so_once() {
    let node = Setup::coordinator().start();
    for n in 0..2 {
        let made = node.api.post("/v1/services", &teller(&format!("canary{n}"), "special")).ok();
        assert_eq!(made["service"]["env"]["CANARY"], "***");
    }
    eventually("it says so", || {
        let log = node.process.log();
        match log.matches("are kept in clear").count() {
            1 => Ok(()),
            _ => Err(log),
        }
    });
}
