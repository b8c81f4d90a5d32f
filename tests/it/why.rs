//! Why things stand where they do, as real nodes say it to people and programs.

use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{
    Api, Node, PATIENCE, Reply, Server, Setup, Shell, capabilities, eventually, shell, within,
};

use crate::cluster::{self, nodes, until_status};
use crate::text;

/// `skyclaw` at a node, with the token of a cluster.
fn skyclaw(node: &Node) -> Shell {
    Shell::of(node).with("SKYCLAW_TOKEN", "secret")
}

fn why(api: &Api, path: &str) -> Value {
    api.get(&format!("/v1/{path}/why")).ok()["why"].clone()
}

fn lends(setup: Setup) -> Setup {
    setup
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_HOST_NAME", "box")
        .env("SKYCLAW_POLL_MS", 100)
}

fn deploy(node: &Node, script: &str, more: &Value) {
    let mut body =
        json!({ "serviceId": "svc-1", "name": "web", "command": "sh", "args": ["-c", script] });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name.as_str()] = value.clone();
    }
    node.api.post("/v1/services", &body).ok();
}

#[test]
fn a_service_that_no_host_may_run_says_which_rule_rejects_each_and_the_nearest_change() {
    let node = lends(Setup::both()).start();
    node.api.until_hosts(1);
    deploy(&node, "sleep 60", &json!({ "requiredCapabilities": ["service-host", "gpu"] }));
    let told = eventually("the host is judged by what it has", || {
        let told = why(&node.api, "services/svc-1");
        let rule = told["hosts"][0]["rule"].as_str();
        if rule == Some("capabilities") { Ok(told) } else { Err(told.to_string()) }
    });
    assert_eq!(told["because"], "0 of 1 wanted instances run; no host has gpu");
    assert!(text(&told, "then").starts_with("box is nearest"), "{told}");
    let rejects = |rule: &str| {
        let all = told["rules"].as_array().into_iter().flatten();
        all.clone().find(|one| one["rule"] == rule).map(|one| one["rejects"].clone())
    };
    assert_eq!(rejects("capabilities"), Some(json!(["box"])));
    assert_eq!(rejects("silent"), Some(json!([])));

    // By its name, without a word about what it is; and the way to it.
    let shell = skyclaw(&node);
    let shown = shell.ok(&["why", "web"]);
    assert!(shown.starts_with("service web is down: 0 of 1 wanted instances run; no host has gpu"));
    assert!(shown.contains("  box: has no gpu\n"), "{shown}");
    let shown = shell.ok(&["why", "route", "web"]);
    assert!(shown.starts_with("route web is closed: no instance runs: gateways answer 503"));
    // The host, for its part, says what waits for others.
    let shown = shell.ok(&["why", "box"]);
    assert!(shown.starts_with("host box is idle: no job waits"), "{shown}");
    assert!(shown.contains("  service web: has no gpu\n"), "{shown}");
    let nothing = shell.run(&["why", "nobody"]).stderr;
    assert!(nothing.contains("no job, service or host nobody"), "{nothing}");
}

#[test]
fn a_service_that_fails_says_where_and_what_its_host_said() {
    let node = lends(Setup::both()).start();
    node.api.until_hosts(1);
    deploy(&node, "true", &json!({ "command": "node" }));
    let told = eventually("the failure is told, and remembered", || {
        let told = why(&node.api, "services/svc-1");
        // In between it may be about to be tried again.
        let failed = text(&told, "because").contains("on box it failed: command not allowed");
        let remembered = told["hosts"][0]["rule"] == "failed";
        if failed && remembered { Ok(told) } else { Err(told.to_string()) }
    });
    assert!(text(&told, "then").contains("SKYCLAW_ALLOWED_COMMANDS"), "{told}");
    assert!(text(&told["instances"][0], "words").contains("command not allowed"), "{told}");
}

#[test]
fn a_host_says_for_each_kind_of_job_what_keeps_it_from_it() {
    let node = Setup::both().env("SKYCLAW_HOST_NAME", "box").start();
    let host = text(&node.api.until_hosts(1)[0], "id").to_owned();
    assert_eq!(why(&node.api, &format!("hosts/{host}"))["status"], "idle");
    for _ in 0..2 {
        node.api.submit(&capabilities(shell("true"), &["gpu"]));
    }
    let told = why(&node.api, &format!("hosts/{host}"));
    assert_eq!((&told["kind"], &told["status"]), (&json!("host"), &json!("idle")));
    assert!(text(&told, "because").starts_with("2 jobs wait, and it may run none"), "{told}");
    assert_eq!(told["waiting"][0]["words"], "has no gpu", "{told}");
    assert_eq!(
        (&told["waiting"][0]["jobs"], &told["waiting"][0]["rule"]),
        (&json!(2), &json!("capabilities"))
    );
    assert!(text(&told, "then").contains("add gpu to its SKYCLAW_CAPABILITIES"), "{told}");
    let listed = node.api.get("/v1/status?hosts=1").ok()["hosts"].clone();
    assert_eq!((&listed[0]["id"], &listed[0]["because"]), (&json!(host), &told["because"]));
    assert_eq!(node.api.get("/v1/hosts/none/why").error(404), "host not found");
    assert_eq!(node.api.get("/v1/services/none/why").error(404), "service not found");
}

/// Of each list a bounded number of hosts is told, the nearest, and how many there are beside them.
#[test]
fn of_more_hosts_than_are_listed_it_is_said_how_many_are_left_out() {
    let node = Setup::coordinator().env("SKYCLAW_HOST_TTL_MS", 600_000).start();
    let all = 510;
    for n in 0..all - 1 {
        node.api.register(&format!("h{n}"), &["shell"], 1);
    }
    node.api.register("near", &["shell", "gpu"], 1);
    let job = node.api.submit_shell_for(&["gpu", "big"], "true");
    deploy(&node, "true", &json!({ "requiredCapabilities": ["gpu"] }));
    for path in [format!("jobs/{job}"), "services/svc-1".to_owned()] {
        let told = why(&node.api, &path);
        let listed = told["hosts"].as_array().map(Vec::len);
        assert_eq!((listed, &told["moreHosts"]), (Some(100), &json!(all - 100)), "{path}");
    }
    let told = why(&node.api, &format!("jobs/{job}"));
    assert_eq!(
        (text(&told["hosts"][0], "name"), text(&told, "because")),
        ("near", "no host has big")
    );
    let status = node.api.get("/v1/status?hosts=1").ok();
    let listed = status["hosts"].as_array().map(Vec::len);
    assert_eq!((listed, &status["moreHosts"]), (Some(500), &json!(all - 500)));
    assert_eq!(node.api.get("/v1/status").ok().get("moreHosts"), None);
    for name in [job.as_str(), "web"] {
        let shown = skyclaw(&node).ok(&["why", name]);
        assert!(shown.contains(&format!("\n  and {} hosts more\n", all - 100)), "{shown}");
    }
}

/// What only the leader of a service knows is said by it, and others name it.
#[test]
fn each_coordinator_explains_a_service_and_names_the_one_that_decides() {
    let nodes = nodes(2, 2);
    nodes[0]
        .api
        .post("/v1/services", &json!({ "serviceId": "s", "name": "s", "command": "sh" }))
        .ok();
    eventually("both know it", || match nodes[1].api.get("/v1/services/s").status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    let told: Vec<Value> = nodes.iter().map(|node| why(&node.api, "services/s")).collect();
    assert!(
        told.iter().all(|told| text(told, "because").contains("there are no hosts")),
        "{told:?}"
    );
    assert_eq!(told.iter().filter(|told| told["decidedBy"].is_string()).count(), 1, "{told:?}");
}

#[test]
fn while_a_voter_is_away_whoever_waits_hears_which_one_and_how_many_are_needed() {
    let mut nodes = nodes(2, 2);
    nodes[0].api.register("h", &["shell"], 1);
    let id = nodes[0].api.submit_shell("true");
    assert_eq!(nodes[0].api.claim("h")["id"], *id);
    until_status(&nodes[1], &id, "leased");
    // Of a key that sees no nodes.
    let body = json!({ "name": "ci", "scopes": ["submit"] });
    let key = text(&nodes[0].api.post("/v1/principals", &body).ok(), "key").to_owned();
    let ci = Api::new(nodes[0].api.address(), Some(key.clone()));
    let its = ci.submit_shell_for(&["gpu"], "true");
    until_status(&nodes[1], &its, "queued");
    // Its program says so as well, without the hosts.
    let words = Shell::of(&nodes[0]).with("SKYCLAW_TOKEN", &key).ok(&["why", &its]);
    assert!(words.contains("gpu"), "{words}");
    nodes[1].kill();
    let told = eventually("the voter is missed", || {
        // A host that says nothing loses the job, and what is told is another story.
        nodes[0].api.heartbeat("h", &json!({ "activeLeases": 1 }));
        let told = why(&nodes[0].api, &format!("jobs/{id}"));
        if told["undecided"].is_object() { Ok(told) } else { Err(told.to_string()) }
    });
    let sentence = "nothing can be decided: coordinator n1 (a voter of this job) is not connected; \
                    2 of 2 voters are needed";
    assert!(text(&told, "because").contains(sentence), "{told}");
    assert_eq!(told["undecided"], json!({ "away": ["n1"], "needed": 2, "voters": 2 }));
    let shell = skyclaw(&nodes[0]);
    assert!(shell.ok(&["why", &id]).contains(sentence));
    let told = why(&ci, &format!("jobs/{its}"));
    assert_eq!(told["undecided"], json!({ "away": 1, "needed": 2, "voters": 2 }));
    assert!(text(&told, "because").contains("1 voter of this job is not connected"), "{told}");
    assert!(!told.to_string().contains("n1"), "{told}");

    // Whoever waits is told too, and that it goes on once the voter is back.
    let mut waits = shell.start(&["job", &id, "--wait", "--timeout", "60"]);
    eventually("it says what it waits for", || {
        nodes[0].api.heartbeat("h", &json!({ "activeLeases": 1 }));
        let heard = waits.log();
        if heard.contains(sentence) { Ok(()) } else { Err(heard) }
    });
    nodes[1].start_again();
    eventually("the job can be ended again", || {
        nodes[0].api.heartbeat("h", &json!({ "activeLeases": 1 }));
        let answer = nodes[0].api.complete(&id, "h");
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    assert_eq!(waits.wait(PATIENCE * 3).code, Some(0));
}

/// Longest a host may be silent before it counts as that, and some time for a machine that is busy.
const SILENT: Duration = Duration::from_secs(60);

/// A host over libp2p, which any coordinator hears.
fn attached(to: &Node, name: &str) -> Node {
    Setup::new("host")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_HOST_NAME", name)
        .env("SKYCLAW_BOOTSTRAP", cluster::address(to))
        .env("SKYCLAW_ALLOWED_COMMANDS", "sleep")
        .start()
}

/// At the coordinator that leads it and at another one, which knows only when the host was heard of.
#[test]
fn a_job_whose_host_fell_silent_says_when_its_lease_ends_and_what_happens_then() {
    // Longer than a host may be silent before it counts as that.
    let lease = |setup: Setup| setup.env("SKYCLAW_P2P_LEASE_MS", 90_000);
    let first = lease(cluster::node("n0", 2)).start();
    let second = lease(cluster::node("n1", 2)).env("SKYCLAW_BOOTSTRAP", cluster::address(&first));
    let nodes = [second.start(), first];
    cluster::until_peers(&nodes[1], 1);
    let mut lost = attached(&nodes[1], "lost");
    let payload = json!({ "kind": "shell", "command": "sleep", "args": ["600"] });
    let needs = json!({ "requiredCapabilities": ["shell"] });
    let job = json!({ "payload": payload, "requirement": needs });
    let id = text(&nodes[1].api.submit(&job), "id").to_owned();
    for node in &nodes {
        until_status(node, &id, "leased");
        eventually("it says where it runs", || {
            let told = why(&node.api, &format!("jobs/{id}"));
            let runs = text(&told, "because").starts_with("it runs on lost, which holds it");
            if runs { Ok(()) } else { Err(told.to_string()) }
        });
    }
    let _spare = attached(&nodes[1], "spare");
    for node in &nodes {
        node.api.until_hosts(2);
        // Who never heard of it cannot say since when it is silent.
        eventually("it was heard of", || {
            let hosts = node.api.get("/v1/hosts").ok();
            let mut all = hosts["hosts"].as_array().into_iter().flatten();
            // Registering is no word of its own to those it did not register with.
            let later = |host: &Value| {
                let at = |name: &str| host[name].as_str().map(|at| at[..19].to_owned());
                at("lastSeenAt") > at("registeredAt")
            };
            let heard = all.any(|host| host["name"] == "lost" && later(host));
            if heard { Ok(()) } else { Err(hosts.to_string()) }
        });
    }
    lost.kill();
    // When the spare one was heard of, the leader alone tells.
    let thens = ["it waits for another host", "another host runs it"];
    for (node, then) in nodes.iter().zip(thens) {
        let told = within(SILENT, "its host is missed", || {
            let told = why(&node.api, &format!("jobs/{id}"));
            let silent = text(&told, "because").starts_with("its host lost is silent since ");
            if silent { Ok(told) } else { Err(told.to_string()) }
        });
        assert!(text(&told, "because").contains(" s; its lease ends within about "), "{told}");
        let then = format!("if lost stays silent, then {then}");
        assert_eq!(told["then"], then, "{told}");
        let shown = skyclaw(node).ok(&["why", &id]);
        assert!(shown.contains("its host lost is silent since "), "{shown}");
        assert!(shown.ends_with(&format!("\n{then}\n")), "{shown}");
    }
}

/// A host that talks HTTP is heard by the coordinator that it talks to alone: others do not call it silent.
#[test]
fn a_coordinator_that_does_not_hear_a_host_does_not_say_that_it_is_silent() {
    let nodes = nodes(2, 2);
    nodes[0].api.register("h", &["shell"], 1);
    let id = nodes[0].api.submit_shell("true");
    assert_eq!(nodes[0].api.claim("h")["id"], *id);
    until_status(&nodes[1], &id, "leased");
    let silent = |node: &Node| {
        let told = why(&node.api, &format!("jobs/{id}"));
        text(&told, "because").starts_with("its host h is silent since ")
    };
    within(SILENT, "its own coordinator misses it", || {
        if silent(&nodes[0]) { Ok(()) } else { Err(String::new()) }
    });
    assert!(!silent(&nodes[1]));
}

/// A service of instances that these hosts say they run at these addresses.
fn runs(nodes: &[Node], at: &[(&str, String)]) {
    let node = &nodes[0];
    let body = json!({ "serviceId": "s", "name": "web", "command": "sh", "replicas": at.len() });
    for (host, _) in at {
        node.api.register(host, &["service-host"], 1);
    }
    for node in nodes {
        // Whichever of them leads the service must know them.
        node.api.until_hosts(at.len());
    }
    node.api.post("/v1/services", &body).ok();
    for (host, url) in at {
        eventually("it gets an instance", || {
            let path = format!("/v1/hosts/{host}/services/claim");
            let claimed = node.api.post(&path, &json!({})).ok();
            if claimed["service"].is_object() { Ok(()) } else { Err(claimed.to_string()) }
        });
        let running = json!({ "hostId": host, "status": "running", "endpoint": url });
        node.api.post("/v1/services/s/report", &running).ok();
    }
}

#[test]
fn a_route_says_what_a_gateway_passes_over_and_why_at_any_coordinator() {
    let nodes = nodes(2, 2);
    let gateway = Setup::new("gateway")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", cluster::address(&nodes[0]))
        .start();
    let [good, bad] = [(); 2].map(|()| Server::start(|_| Reply::json(200, json!({}))));
    runs(&nodes, &[("good", good.url()), ("bad", bad.url())]);
    let calls = Api::new(gateway.gateway(), None);
    let well = |told: &Value| {
        let line = &told["gateways"][0];
        line["knows"] == 2 && line["passesOver"] == json!([]) && line["tableAgeSeconds"].is_u64()
    };
    let path = "services/s/routes";
    for node in &nodes {
        eventually("the gateway knows both", || {
            let answer = node.api.get(&format!("/v1/{path}/why"));
            let knows = answer.status == 200 && well(&answer.json()["why"]);
            if knows { Ok(()) } else { Err(answer.text()) }
        });
    }
    bad.stop();
    for node in &nodes {
        let told = eventually("the one that is gone is passed over", || {
            assert_eq!(calls.get("/v1/gateway/web/").status, 200, "the other one answers");
            let told = why(&node.api, path);
            let gone = told["gateways"][0]["passesOver"][0].clone();
            if gone["hostId"] == "bad" { Ok(told) } else { Err(told.to_string()) }
        });
        let gone = &told["gateways"][0]["passesOver"];
        assert_eq!(gone.as_array().map(Vec::len), Some(1), "{told}");
        assert!(["connect", "probe"].contains(&text(&gone[0], "reason")), "{told}");
        assert!(gone[0]["seconds"].as_u64() <= Some(10), "{told}");
        let because = text(&told, "because");
        assert!(because.starts_with("2 instances are reached; but gateway "), "{told}");
        assert!(because.contains(" passes over 1 of 2: slot ") && because.contains(" on bad, "));
        assert!(text(&told, "then").starts_with("`skyclaw logs web` shows what it writes: see"));
    }
    let shown = skyclaw(&nodes[1]).ok(&["why", "route", "web"]);
    assert!(shown.contains("; knows 2 instances, as of "), "{shown}");
    assert!(shown.contains("; passes over slot "), "{shown}");
    bad.start_again();
    eventually("it is called again", || {
        let told = why(&nodes[1].api, path);
        if well(&told) { Ok(()) } else { Err(told.to_string()) }
    });
}

#[test]
fn a_node_that_is_a_gateway_itself_tells_from_its_own_table() {
    let node = Setup::new("coordinator,gateway").env("SKYCLAW_TOKEN", "secret").start();
    let server = Server::start(|_| Reply::json(500, json!({})));
    runs(std::slice::from_ref(&node), &[("h", server.url())]);
    let calls = Api::new(node.gateway(), None);
    let told = eventually("its only instance is passed over", || {
        calls.get("/v1/gateway/web/");
        let told = why(&node.api, "services/s/routes");
        if told["status"] == "closed" { Ok(told) } else { Err(told.to_string()) }
    });
    let because = "1 instance is reached, but every gateway that is known passes over all that it knows, as \
                   they failed lately: slot 0 on h, ";
    assert!(text(&told, "because").starts_with(because), "{told}");
    assert!(text(&told, "because").contains("a status of 500 or more"), "{told}");
    assert!(text(&told, "then").contains("once it answers with less than 500"), "{told}");
    let line = &told["gateways"][0];
    assert_eq!(line["name"], "this node");
    assert!(line["tableAgeSeconds"].as_u64() < Some(60), "{line}");
}
