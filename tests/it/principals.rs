//! Keys of the API at real nodes: made, spread, used, bounded, revoked; and that nothing secret shows.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_tests::{Api, Node, Setup, Shell, binary, eventually, shell, within};

use crate::cluster::{address, node, nodes, until_peers};
use crate::{holds, text};

/// News are everywhere within so long: gossip takes a moment, repair of what it lost some seconds.
const SOON: Duration = Duration::from_secs(10);

/// The command line of whoever has the token of the network.
fn owner(node: &Node) -> Shell {
    Shell::of(node).with("SKYCLAW_TOKEN", "secret")
}

/// Makes a key; its text.
#[track_caller]
fn key(node: &Node, name: &str, args: &[&str]) -> String {
    let key = owner(node).ok(&[&["keys", "create", name], args].concat());
    assert!(key.starts_with("sk_") && key.ends_with('\n'), "{key}");
    key.trim().to_owned()
}

/// The API as the owner of this key sees it.
fn with(node: &Node, key: &str) -> Api {
    Api::new(node.api.address(), Some(key.to_owned()))
}

#[track_caller]
fn until_status(api: &Api, target: &str, status: u16) {
    within(SOON, &format!("{target} is {status}"), || match api.get(target) {
        answer if answer.status == status => Ok(()),
        answer => Err(format!("{} {}", answer.status, answer.text())),
    });
}

#[test]
fn a_key_made_at_one_coordinator_counts_at_the_other_and_stops_at_both() {
    let nodes = nodes(2, 2);
    let ci = key(&nodes[0], "ci", &["--scope", "submit"]);
    until_status(&with(&nodes[1], &ci), "/v1/jobs", 200);
    let job = with(&nodes[1], &ci).submit(&shell("true"));
    assert_eq!(text(&job, "submittedBy"), "key:ci");
    let other = nodes[0].api.submit_shell("true");
    // Its own is shown to it at both, others' at none.
    let own = format!("/v1/jobs/{}", text(&job, "id"));
    for node in &nodes {
        until_status(&with(node, &ci), &own, 200);
        until_status(&node.api, &format!("/v1/jobs/{other}"), 200);
        assert_eq!(with(node, &ci).get(&format!("/v1/jobs/{other}")).status, 404);
        let listed = with(node, &ci).get("/v1/jobs").ok();
        assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1), "{listed}");
    }
    let begun = Instant::now();
    owner(&nodes[1]).ok(&["keys", "revoke", "ci"]);
    assert_eq!(with(&nodes[1], &ci).get("/v1/jobs").error(401), "unauthorized");
    until_status(&with(&nodes[0], &ci), "/v1/jobs", 401);
    println!("revoked at the other coordinator after {:?}", begun.elapsed());
    let listed = owner(&nodes[0]).json(&["keys"]);
    assert!(listed["principals"][0]["revokedAt"].is_string(), "{listed}");
    let table = owner(&nodes[0]).ok(&["keys"]);
    assert!(table.contains("revoked") && table.contains("ci"), "{table}");
    // Its name is free.
    key(&nodes[0], "ci", &["--scope", "read", "--expires", "30d"]);
}

#[test]
fn a_coordinator_that_was_away_hears_of_keys_when_it_comes_back_and_a_new_one_copies_them() {
    let mut nodes = nodes(2, 1);
    let old = key(&nodes[0], "old", &["--scope", "read"]);
    until_status(&with(&nodes[1], &old), "/v1/jobs", 200);
    nodes[1].kill();
    owner(&nodes[0]).ok(&["keys", "revoke", "old"]);
    let new = key(&nodes[0], "new", &["--scope", "read"]);
    nodes[1].start_again();
    until_status(&with(&nodes[1], &new), "/v1/jobs", 200);
    until_status(&with(&nodes[1], &old), "/v1/jobs", 401);
    // They are on its disk.
    nodes[0].kill();
    nodes[1].kill();
    nodes[1].start_again();
    assert_eq!(with(&nodes[1], &new).get("/v1/jobs").status, 200);
    assert_eq!(with(&nodes[1], &old).get("/v1/jobs").status, 401);
    let late = node("late", 1).env("SKYCLAW_BOOTSTRAP", address(&nodes[1])).start();
    until_peers(&late, 1);
    until_status(&with(&late, &new), "/v1/jobs", 200);
    assert_eq!(with(&late, &old).get("/v1/jobs").status, 401);
}

/// Without gossip, repair brings them.
#[test]
fn a_revoked_key_stops_where_no_gossip_comes() {
    let silent = |name: &str| node(name, 1).env("SKYCLAW_GOSSIP", 0);
    let first = silent("n0").start();
    let second = silent("n1").env("SKYCLAW_BOOTSTRAP", address(&first)).start();
    until_peers(&second, 1);
    let ci = key(&first, "ci", &["--scope", "read"]);
    until_status(&with(&second, &ci), "/v1/jobs", 200);
    owner(&second).ok(&["keys", "revoke", "ci"]);
    until_status(&with(&first, &ci), "/v1/jobs", 401);
}

#[test]
fn a_host_that_knows_no_token_works_with_a_key_of_its_own() {
    let coordinator = Setup::coordinator().env("SKYCLAW_TOKEN", "secret").start();
    let host_key = key(&coordinator, "box", &["--scope", "host"]);
    let user = with(&coordinator, &key(&coordinator, "user", &["--scope", "submit"]));
    let host = Setup::host(&[&coordinator.url()])
        .env("SKYCLAW_TOKEN", &host_key)
        .env("SKYCLAW_HEARTBEAT_MS", 100)
        .start();
    coordinator.api.until_hosts(1);
    let id = text(&user.submit(&shell("echo $SKYCLAW_TOKEN; env")), "id").to_owned();
    let job = user.until_job_ended(&id);
    assert_eq!(text(&job, "status"), "completed", "{job}");
    assert!(!job.to_string().contains(&host_key), "a job does not see its host's key");
    let hosts = with(&coordinator, &host_key);
    let refused = hosts.get("/v1/jobs").error(403);
    assert!(refused.contains("one of the scopes submit, read"), "{refused}");
    // A host whose key is revoked gets nothing any more.
    owner(&coordinator).ok(&["keys", "revoke", "box"]);
    assert_eq!(hosts.post("/v1/hosts/h/claim", &json!({})).status, 401);
    assert!(!host.process.log().contains(&host_key));
}

#[test]
fn bounds_of_a_key_are_429_and_a_principal_that_runs_enough_is_passed_over() {
    let node = Setup::coordinator().env("SKYCLAW_TOKEN", "secret").start();
    let args = ["--scope", "submit", "--queued", "2", "--running", "1"];
    let user = with(&node, &key(&node, "user", &args));
    node.api.register("h", &[], 9);
    let first = text(&user.submit(&shell("true")), "id").to_owned();
    let second = text(&user.submit(&shell("true")), "id").to_owned();
    let refused = user.post("/v1/jobs", &shell("true"));
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()));
    assert!(refused.text().contains("queued"), "{}", refused.text());
    let other = node.api.submit_shell("true");
    assert_eq!(text(&node.api.claim("h"), "id"), first);
    assert_eq!(text(&node.api.claim("h"), "id"), other, "the next one is another's");
    assert!(node.api.post("/v1/hosts/h/claim", &json!({})).ok()["job"].is_null());
    node.api.complete(&first, "h").ok();
    assert_eq!(text(&node.api.claim("h"), "id"), second);
    assert!(node.api.metric("skyclaw_http_refusals_total{reason=\"over_quota\"}") >= 1.0);
    let rated = with(&node, &key(&node, "rated", &["--scope", "submit", "--per-minute", "1"]));
    rated.submit(&shell("true"));
    let refused = rated.post("/v1/jobs", &shell("true"));
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("perMinute"), "{}", refused.text());
}

#[test]
fn a_key_that_sees_its_own_alone_is_told_the_reason_and_names_of_nobody_else() {
    let setup = Setup::both().env("SKYCLAW_TOKEN", "secret").env("SKYCLAW_HOST_NAME", "box");
    let node = setup.start();
    let host = text(&node.api.until_hosts(1)[0], "id").to_owned();
    let service = |id: &str| json!({ "serviceId": id, "name": "web", "command": "sh", "requiredCapabilities": ["gpu"] });
    node.api.post("/v1/services", &service("first")).ok();
    let ci = with(&node, &key(&node, "ci", &["--scope", "deploy"]));
    ci.post("/v1/services", &service("mine")).ok();
    let told = ci.get("/v1/services/mine/why").ok()["why"].clone();
    assert!(text(&told, "because").starts_with("0 of 1 wanted instances run; "), "{told}");
    assert!(!told.to_string().contains("box"), "{told}");
    for hidden in ["hosts", "instances", "rules", "then", "decidedBy"] {
        assert!(told[hidden].is_null(), "{told}");
    }
    let way = |api: &Api| api.get("/v1/services/mine/routes/why").ok()["why"].clone();
    let told = way(&ci);
    assert_eq!(told["because"], "the name web leads to another service, which is older");
    assert!(told["gateways"].is_null() && told["instances"].is_null(), "{told}");
    assert!(
        text(&way(&node.api), "because").contains("leads to the service first, which is older")
    );
    ci.get("/v1/services/first/why").error(404);
    ci.get("/v1/services/first/routes/why").error(404);
    ci.get(&format!("/v1/hosts/{host}/why")).error(403);
}

#[test]
fn a_key_is_in_no_file_log_or_answer_but_the_one_that_made_it() {
    let mut node = Setup::both().env("SKYCLAW_TOKEN", "secret").env("SKYCLAW_LOG", "debug").start();
    let ci = key(&node, "ci", &["--scope", "submit", "--scope", "deploy"]);
    let user = with(&node, &ci);
    user.until_job_ended(text(&user.submit(&shell("env")), "id"));
    user.get("/v1/state").error(403);
    let wrong = with(&node, &ci.replace("sk_", "sk_x"));
    wrong.get("/v1/state").error(401);
    let failed = Shell::of(&node).with("SKYCLAW_TOKEN", &ci).run(&["keys"]);
    assert_ne!(failed.code, Some(0));
    let secret = ci.rsplit('_').next().expect("it has three parts").to_owned();
    assert!(!failed.said().contains(&secret));
    for target in ["/v1/state", "/v1/jobs", "/v1/principals", "/metrics", "/v1/network"] {
        assert!(!node.api.get(target).text().contains(&secret), "{target}");
    }
    let port = node.api.address().port().to_string();
    let copy = node.folder().join("copy");
    let backup = Command::new(binary("skyclaw-node"))
        .args(["backup", copy.to_str().expect("text")])
        .current_dir(node.cwd())
        .env("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
        .env("SKYCLAW_COORDINATOR_PORT", port)
        .env("SKYCLAW_TOKEN", "secret")
        .output()
        .expect("it runs");
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    node.stop();
    assert!(!node.process.log().contains(&secret) && !node.process.stdout().contains(&secret));
    let database = std::fs::read(node.cwd().join(".skyclaw/coordinator.db")).expect("a database");
    for file in [database, std::fs::read(copy).expect("a backup")] {
        assert!(holds(&file, "key:ci"), "this is where it would be");
        assert!(!holds(&file, &secret));
    }
}

#[test]
fn a_node_with_keys_and_no_token_says_that_it_is_open() {
    let mut node = Setup::coordinator().start();
    let made = node.api.post("/v1/principals", &json!({ "name": "ci", "scopes": ["read"] })).ok();
    let ci = with(&node, text(&made, "key"));
    assert_eq!(ci.post("/v1/jobs", &shell("true")).status, 403);
    node.api.submit_shell("true");
    node.stop();
    node.start_again();
    eventually("it says so", || {
        let log = node.process.log();
        match log.contains("whoever shows no key may do everything") {
            true => Ok(()),
            false => Err(log),
        }
    });
}
