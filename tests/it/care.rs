//! `skyclaw doctor` and `skyclaw why` against real nodes: what they say of a network that is well, and
//! of one that is not.

use serde_json::Value;
use skyclaw_tests::{Node, Setup, Shell, eventually, shell};

use crate::cluster::nodes;
use crate::text;

/// The command line of whoever has this token.
fn skyclaw(node: &Node, token: &str) -> Shell {
    Shell::of(node).with("SKYCLAW_TOKEN", token)
}

/// The findings of that name, as their levels.
fn levels<'a>(told: &'a Value, name: &str) -> Vec<&'a str> {
    let all = told["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|it| it["name"] == name).map(|it| text(it, "level")).collect()
}

#[test]
fn doctor_finds_nothing_wrong_with_a_node_that_is_well() {
    let node = Setup::both().env("SKYCLAW_TOKEN", "secret").start();
    node.api.until_hosts(1);
    let ended = skyclaw(&node, "secret").run(&["doctor", "--json"]);
    let told = ended.json();
    assert_eq!(ended.code, Some(0), "{told}");
    for name in ["coordinator", "token", "clock", "hosts", "jobs"] {
        assert_eq!(levels(&told, name), ["ok"], "{name}: {told}");
    }
}

/// Of each coordinator of the settings: its disk, how others reach it, whether it hears gossip; and whether
/// all hold the same.
#[test]
fn doctor_compares_coordinators_and_says_how_they_hear_and_are_reached() {
    let nodes = nodes(2, 2);
    nodes[0].api.submit(&shell("true"));
    let urls = nodes.iter().map(Node::url).collect::<Vec<_>>().join(",");
    let all = Shell::bare().with("SKYCLAW_COORDINATOR_URLS", urls).with("SKYCLAW_TOKEN", "secret");
    eventually("all is well between them", || {
        let told = all.run(&["doctor", "--json"]).json();
        let seen = (levels(&told, "gossip"), levels(&told, "records"));
        let each = (levels(&told, "disk").len(), levels(&told, "reach").len());
        // They listen on loopback.
        let alone = told.to_string().matches("is reached by its own machine alone").count();
        if seen == (vec!["ok", "ok"], vec!["ok"]) && each == (2, 2) && alone == 2 {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });
    let status = nodes[0].api.get("/v1/status").ok();
    assert!(status["store"]["bytes"].as_u64() > Some(0), "{status}");
    assert_eq!(status["held"]["records"], 1, "{status}");
    assert_eq!(status["reach"]["mesh"]["state"], 1, "{status}");
}

/// An operator may name any address: those of a machine's own lead nobody else there.
#[test]
fn doctor_says_how_far_an_address_that_was_named_leads() {
    for (address, said) in [
        ("/ip4/127.0.0.1/tcp/4787", "is reached by its own machine alone"),
        ("/ip4/192.168.7.7/tcp/4787", "is reached by its own network alone"),
        ("/ip4/192.0.2.1/tcp/4787", "is reached from everywhere"),
    ] {
        let node = Setup::coordinator()
            .env("SKYCLAW_TOKEN", "secret")
            .env("SKYCLAW_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0")
            .env("SKYCLAW_P2P_EXTERNAL_ADDR", address)
            .start();
        let told = skyclaw(&node, "secret").run(&["doctor", "--json"]).json();
        let all = told["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let reach = all.iter().find(|it| it["name"] == "reach").expect("it is told");
        assert!(text(reach, "what").contains(said), "{told}");
    }
}

#[test]
fn doctor_names_a_wrong_token_and_jobs_that_wait_for_nobody() {
    let node = Setup::both().env("SKYCLAW_TOKEN", "secret").start();
    let ended = skyclaw(&node, "guess").run(&["doctor", "--json"]);
    let told = ended.json();
    assert_eq!((ended.code, levels(&told, "token")), (Some(1), vec!["fail"]), "{told}");
    node.api.until_hosts(1);
    let shell = skyclaw(&node, "secret");
    let submitted = shell.run(&["submit", "--requires", "gpu", "--json", "true"]).json();
    let id = text(&submitted["job"], "id").to_owned();
    let told = shell.run(&["doctor", "--json"]).json();
    assert_eq!(levels(&told, "jobs"), ["fail"], "{told}");
    assert!(told.to_string().contains(&id));
    let why = shell.run(&["why", &id, "--json"]).json();
    assert_eq!(text(&why, "because"), "no host has gpu");
    assert_eq!(why["hosts"][0]["missing"], serde_json::json!(["gpu"]));
}

#[test]
fn why_says_where_a_job_runs_and_how_it_ended() {
    let node = Setup::both().env("SKYCLAW_HOST_NAME", "box").start();
    let id = node.api.submit_shell("exit 7");
    let shell = skyclaw(&node, "");
    eventually("it says how it ended", || {
        let why = shell.run(&["why", &id, "--json"]).json();
        let because = text(&why, "because").to_owned();
        if because.starts_with("it ended with exit code 7") && because.contains("on box") {
            Ok(())
        } else {
            Err(because)
        }
    });
}
