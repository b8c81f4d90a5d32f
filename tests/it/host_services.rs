//! Services that hosts run: inside a coordinator, over HTTP, and for an original coordinator
//! (F10-F14, F26, F45).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use skyclaw_tests::{Api, Need, Node, Original, Setup, can, eventually, processes_with};

use crate::text;

/// A server in JavaScript that answers with an expression, under a name that finds its processes.
fn server(id: &str, answer: &str) -> Value {
    let script = format!(
        "require('http').createServer((q, a) => a.end(String({answer})))\
         .listen(process.env.PORT, process.env.HOST)"
    );
    json!({ "serviceId": id, "name": id, "command": "node", "args": ["-e", script] })
}

fn runs_services(setup: Setup, base_port: u16) -> Setup {
    setup
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh,node,no-such-program")
        .env("SKYCLAW_SERVICE_BASE_PORT", base_port)
        .env("SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL", "http://127.0.0.1/")
        .env("SKYCLAW_POLL_MS", 100)
}

fn deploy(api: &Api, body: &Value) {
    api.post("/v1/services", body).ok();
}

/// Waits until the service is of that status, and answers its only assignment.
#[track_caller]
fn until(api: &Api, id: &str, status: &str) -> Value {
    eventually("the service has its status", || {
        let service = api.get(&format!("/v1/services/{id}")).ok()["service"].clone();
        match service["assignments"].as_array().map(Vec::as_slice) {
            Some([part]) if part["status"] == status => Ok(part.clone()),
            _ => Err(service.to_string()),
        }
    })
}

fn fetch(endpoint: &str) -> String {
    let address = endpoint.strip_prefix("http://").expect("an http url");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn is_gone(word: &str) {
    eventually("its processes are gone", || {
        let left = processes_with(word);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

fn embedded(base_port: u16) -> Node {
    let node = runs_services(Setup::both(), base_port).start();
    node.api.until_hosts(1);
    node
}

#[test]
fn a_service_runs_in_a_coordinators_own_host_and_goes_with_it() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let mut node = embedded(24_100);
    let word = format!("mark-{}-embedded", std::process::id());
    deploy(&node.api, &server("a", &format!("'{word} ' + process.env.PORT")));
    let part = until(&node.api, "a", "running");
    let endpoint = text(&part, "endpoint").to_owned();
    let port = endpoint.rsplit(':').next().expect("a port").to_owned();
    assert_eq!(fetch(&endpoint), format!("{word} {port}"));
    assert!(part["startedAt"].is_string(), "{part}");
    node.stop();
    assert_eq!(processes_with(&word), Vec::<u32>::new(), "F26: nothing is left");
    // It is the host's still, and comes back with it.
    node.start_again();
    let part = until(&node.api, "a", "running");
    assert!(fetch(text(&part, "endpoint")).starts_with(&word));
}

#[test]
fn f26_nothing_is_left_of_a_service_after_kill_9() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let mut node = embedded(24_140);
    let word = format!("mark-{}-killed", std::process::id());
    let script = format!(
        ": {word}; setsid sh -c ': {word}; trap \"\" TERM; while :; do sleep 1; done' & \
         node -e 'require(\"http\").createServer((q, a) => a.end()).listen(process.env.PORT)' {word}"
    );
    let body = json!({ "serviceId": "a", "name": "a", "command": "sh", "args": ["-c", script] });
    deploy(&node.api, &body);
    until(&node.api, "a", "running");
    assert!(processes_with(&word).len() >= 3);
    node.kill();
    is_gone(&word);
}

#[test]
fn f13_f14_f45_what_cannot_run_fails_in_words_and_the_node_goes_on() {
    let node = embedded(24_180);
    for (id, command, args, error) in [
        ("missing", "no-such-program", json!([]), "spawn no-such-program ENOENT"),
        ("refused", "touch", json!(["/tmp/x"]), "command not allowed: touch"),
    ] {
        let body = json!({ "serviceId": id, "name": id, "command": command, "args": args });
        deploy(&node.api, &body);
        assert_eq!(text(&until(&node.api, id, "failed"), "error"), error);
    }
    // Instant exits are down at once, and failed after some.
    let body = json!({
        "serviceId": "instant", "name": "i", "command": "sh",
        "args": ["-c", "echo no config >&2; exit 3"],
    });
    deploy(&node.api, &body);
    let part = eventually("its end is told", || {
        let service = node.api.get("/v1/services/instant").ok()["service"].clone();
        let part = service["assignments"][0].clone();
        if part["error"].is_string() { Ok(part) } else { Err(service.to_string()) }
    });
    assert_eq!(text(&part, "error"), "service process exited with code 3: no config");
    assert_ne!(part["status"], "running");
    let id = node.api.submit_shell("echo fine");
    assert_eq!(text(&node.api.until_job_is(&id, "completed")["result"], "stdout"), "fine\n");
}

#[test]
fn a_host_over_http_runs_what_it_is_ordered_and_stops_what_is_over() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let coordinator = Setup::coordinator().start();
    let setup = Setup::host(&[&coordinator.url()]).env("SKYCLAW_HOST_ID", "h");
    let _host = runs_services(setup, 24_220).start();
    let api = &coordinator.api;
    api.until_hosts(1);
    let words: Vec<String> =
        (0..3).map(|n| format!("mark-{}-http{n}", std::process::id())).collect();
    // F11: all of them run.
    for (n, word) in words.iter().enumerate() {
        deploy(api, &server(&format!("s{n}"), &format!("'{word}'")));
    }
    for (n, word) in words.iter().enumerate() {
        let part = until(api, &format!("s{n}"), "running");
        assert_eq!(fetch(text(&part, "endpoint")), *word);
    }
    api.delete("/v1/services/s1").ok();
    is_gone(&words[1]);
    let part = until(api, "s0", "running");
    assert_eq!(fetch(text(&part, "endpoint")), words[0]);
}

#[test]
fn one_service_of_a_host_over_http_runs_and_goes_when_it_is_removed() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let coordinator = Setup::coordinator().start();
    let setup = Setup::host(&[&coordinator.url()]).env("SKYCLAW_HOST_ID", "h");
    let mut host = runs_services(setup, 24_260).start();
    let api = &coordinator.api;
    api.until_hosts(1);
    let word = format!("mark-{}-one", std::process::id());
    let mut body = server("a", &format!("'{word}' + (process.env.GREETING ?? '')"));
    body["env"] = json!({ "GREETING": "!", "SKYCLAW_TOKEN": "x" });
    deploy(api, &body);
    let part = until(api, "a", "running");
    assert_eq!(fetch(text(&part, "endpoint")), format!("{word}!"));
    api.delete("/v1/services/a").ok();
    is_gone(&word);
    // Its directory went too.
    let left = || {
        let tmp = host.folder().join("tmp");
        let roots = fs::read_dir(tmp).expect("its folder").flatten();
        let inside =
            roots.flat_map(|root| fs::read_dir(root.path()).into_iter().flatten().flatten());
        inside.filter(|entry| entry.path().is_dir()).count()
    };
    eventually("its directory is removed", || {
        if left() == 0 { Ok(()) } else { Err(left().to_string()) }
    });
    host.stop();
}

/// D25 D26 D46: a host of an original coordinator runs what it is given, and says how it does in its words.
#[test]
fn an_original_coordinator_has_its_services_run_restarted_and_replaced() {
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let original = Original::default();
    let setup = Setup::host(&[&original.url()]).env("SKYCLAW_HOST_ID", "h");
    let _host = runs_services(setup, 24_300).start();
    let word = format!("mark-{}-original", std::process::id());
    original.deploy("a", "2026-01-02T03:04:05.678Z", &server("a", &format!("'{word}1'")));
    let reported = |status: &str, count: usize| {
        eventually("it is reported", || {
            let reports = original.reports();
            let of_status = reports.iter().filter(|report| report["status"] == status);
            let found: Vec<Value> = of_status.cloned().collect();
            if found.len() >= count {
                Ok(found[count - 1].clone())
            } else {
                Err(format!("{reports:?}"))
            }
        })
    };
    let report = reported("running", 1);
    assert!(report.get("epoch").is_none() && report.get("error").is_none(), "{report}");
    assert_eq!(text(&report, "hostId"), "h");
    let endpoint = text(&report, "endpoint").to_owned();
    assert_eq!(fetch(&endpoint), format!("{word}1"));
    // Deployed again it has another creation: the old one goes, the new one comes.
    original.deploy("a", "2026-01-02T03:04:06.000Z", &server("a", &format!("'{word}2'")));
    let report = reported("running", 2);
    assert_eq!(fetch(text(&report, "endpoint")), format!("{word}2"));
    is_gone(&format!("{word}1"));
    // F45: an instant exit is told.
    let exits =
        json!({ "command": "sh", "args": ["-c", "exit 5"], "restart": { "backoffMs": 10 } });
    original.deploy("b", "2026-01-02T03:04:07.000Z", &exits);
    original.unassign("a");
    let report = reported("failed", 1);
    assert!(text(&report, "error").contains("service process exited with code 5"), "{report}");
}
