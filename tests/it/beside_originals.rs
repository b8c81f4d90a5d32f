//! Mixtures that need nobody between: the original's host, command line and gateway at coordinators
//! of ours, and ours at coordinators of the original.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skyclaw_tests::{
    Api, LegacyClient, LegacyHost, LegacyHostConfig, Mood, Node, Original, OriginalSetup, Reply,
    Server, Setup, Shell, eventually, shell,
};

use crate::cluster::{nodes, until_status};
use crate::text;

/// Something that hosts say they run: it tells what it was asked.
fn web(name: &'static str) -> Server {
    Server::start(move |request| {
        let token = request.header("x-skyclaw-token");
        Reply::json(200, json!({ "name": name, "target": request.target, "token": token }))
    })
}

/// A service as an original keeps it once a host reported it.
fn running(id: &str, name: &str, created: &str, endpoint: &str) -> Value {
    let place = json!({
        "hostId": "h", "status": "running", "updatedAt": created, "startedAt": created,
        "endpoint": endpoint,
    });
    json!({
        "id": id, "name": name, "command": "node", "args": [], "replicas": 1,
        "requiredCapabilities": ["service-host"], "status": "running", "createdAt": created,
        "updatedAt": created, "updatedBy": "o", "version": 1, "assignments": [place],
    })
}

fn gateway(originals: &[&Original]) -> Node {
    let urls: Vec<String> = originals.iter().map(|original| original.url()).collect();
    let setup = Setup::new("gateway").env("SKYCLAW_TOKEN", "t");
    setup
        .env("SKYCLAW_COORDINATOR_URLS", urls.join(","))
        .env("SKYCLAW_GATEWAY_REFRESH_MS", 50)
        .start()
}

/// D24 D25 D40 C3 C6 C9 G24: what the original ships works at coordinators of ours, and goes on when
/// the one it talks to dies; no job runs twice.
#[test]
fn the_originals_host_command_line_and_gateway_work_at_ours() {
    let web = web("web");
    let mut nodes = nodes(3, 2);
    let apis: Vec<Api> = nodes.iter().map(|node| node.api.clone()).collect();
    let config = LegacyHostConfig { endpoint: Some(web.url()), ..LegacyHostConfig::default() };
    let host = LegacyHost::start_at(&apis, config);
    let client = LegacyClient::new(&apis);
    let submit = || client.enqueue_shell("true").expect("somebody takes it");
    let mut jobs: Vec<String> = (0..5).map(|_| submit()).collect();
    let service = client.deploy_service("web", "node").expect("somebody takes it");
    let until_listed = || {
        let wanted = BTreeSet::from([web.url()]);
        eventually("its endpoint is told", || match client.gateway_table() {
            Ok(table)
                if table.get("web") == Some(&wanted) && table.get(&service) == Some(&wanted) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}; {:?}", host.errors())),
        });
    };
    until_listed();
    for id in &jobs {
        until_status(&nodes[0], id, "completed");
    }
    nodes[0].kill();
    jobs.extend((0..5).map(|_| submit()));
    for id in &jobs {
        until_status(&nodes[1], id, "completed");
    }
    until_listed();
    let mut ran = host.ran();
    ran.sort_unstable();
    jobs.sort_unstable();
    assert_eq!(ran, jobs);
    // D46: its end is told at whatever coordinator is there. While nobody leads the service a report is
    // refused; then it is started again, and ends again.
    eventually("it is said to have failed", || {
        host.exits(&service, 3);
        let shown = nodes[2].api.get(&format!("/v1/services/{service}")).ok();
        let errors = shown["service"]["assignments"].to_string();
        if errors.contains("exited with code 3") { Ok(()) } else { Err(errors) }
    });
}

/// G1 G24-G28: a gateway of ours has its table before its first caller, from the first original that
/// answers well; it stays with that one, goes on to the next, and keeps what it has when all fail.
#[test]
fn a_gateway_of_ours_gets_its_table_from_originals_in_order() {
    let (first, second) = (web("first"), web("second"));
    let created = "2026-01-02T03:04:05.678Z";
    let [a, b] = ["a", "b"].map(|name| OriginalSetup::new(name).token("t").start());
    a.put("services", running("svc_2", "web", created, &second.url()));
    b.put("services", running("svc_1", "web", created, &first.url()));
    a.mood("/v1/services", Mood::Saying(Reply::json(503, json!({ "error": "full" }))));
    let node = gateway(&[&a, &b]);
    let gateway = Api::new(node.gateway(), None);
    assert_eq!(gateway.get("/health").ok(), json!({ "ok": true, "services": ["svc_1", "web"] }));
    let answer = gateway.get("/v1/gateway/web/x?y=1").ok();
    assert_eq!((text(&answer, "name"), text(&answer, "target")), ("first", "/x?y=1"));
    assert_eq!(answer["token"], Value::Null, "the token is for coordinators");

    // It stays with the one that answered.
    let asked = |original: &Original| original.server.received_at("/v1/services").len();
    let before = asked(&b);
    eventually("it is asked again", || {
        if asked(&b) >= before + 3 { Ok(()) } else { Err(asked(&b).to_string()) }
    });
    assert_eq!(asked(&a), 1);
    b.stop();
    eventually("the failure is told", || {
        let log = node.process.log();
        if log.contains("gateway refresh failed: ") { Ok(()) } else { Err(log) }
    });
    assert_eq!(text(&gateway.get("/v1/gateway/web").ok(), "name"), "first", "the old table stays");
    a.mood("/v1/services", Mood::Serving);
    eventually("the other one's table is used", || {
        let shown = gateway.get("/health").text();
        if shown.contains("svc_2") { Ok(()) } else { Err(shown) }
    });
    assert_eq!(text(&gateway.get("/v1/gateway/web").ok(), "name"), "second");
    assert_eq!(
        gateway.get("/v1/gateway/svc_1").error(503),
        "no healthy endpoints for service svc_1"
    );
}

/// F33 at an original: a later service that takes a name, or another one's id as its name, gets
/// nothing that is meant for the earlier one.
#[test]
fn names_at_an_original_belong_to_the_service_that_was_first() {
    let (own, thief) = (web("own"), web("thief"));
    let original = OriginalSetup::new("o").token("t").start();
    let [early, late] = ["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:06.000Z"];
    original.put("services", running("svc_own", "web", early, &own.url()));
    original.put("services", running("svc_a", "web", late, &thief.url()));
    original.put("services", running("svc_b", "svc_own", late, &thief.url()));
    let node = gateway(&[&original]);
    let gateway = Api::new(node.gateway(), None);
    for (key, name) in [("web", "own"), ("svc_own", "own"), ("svc_a", "thief"), ("svc_b", "thief")]
    {
        let answer = gateway.get(&format!("/v1/gateway/{key}")).ok();
        assert_eq!(text(&answer, "name"), name, "{key}");
    }
}

/// C3-C9 F35: our command line at originals, the commands they never had included; it goes on to the
/// next one, and shows the last failure.
#[test]
fn our_command_line_works_at_originals() {
    let [a, b] = ["a", "b"].map(|name| OriginalSetup::new(name).token("t").start());
    let urls = [a.url(), b.url()].join(",");
    let shell = Shell::bare().with("SKYCLAW_COORDINATOR_URLS", urls).with("SKYCLAW_TOKEN", "t");
    let ok = |args: &[&str]| shell.ok(args).trim().to_owned();
    let id = ok(&["enqueue-shell", "sh", "-c", "true"]);
    let payload = json!({ "kind": "shell", "command": "sh", "args": ["-c", "true"] });
    assert_eq!(a.record("jobs", &id)["payload"], payload);
    let id = ok(&["enqueue-openclaw", "x"]);
    assert_eq!(a.record("jobs", &id)["payload"], json!({ "kind": "openclaw-run", "args": ["x"] }));
    let id = ok(&["deploy-service", "web", "node", "s.js"]);
    assert!(ok(&["list-services"]).contains(&id));
    // What it has no routes for is read from its state.
    let host = json!({ "name": "my-box", "hostId": "h", "capabilities": ["shell"] });
    a.api().post("/v1/hosts/register", &host).ok();
    let job = text(&a.api().claim("h"), "id").to_owned();
    a.api().complete(&job, "h").ok();
    assert!(ok(&["hosts"]).contains("my-box"));
    let listed = shell.json(&["jobs"]);
    let listed = listed["jobs"].as_array().map_or(0, Vec::len);
    assert_eq!(listed, 2);
    assert!(ok(&["jobs", "--status", "completed"]).contains(&job));
    assert!(ok(&["job", &job]).contains("done"));
    assert!(ok(&["job", "--wait", &job]).contains("done"));
    let none = shell.run(&["job", "job_none"]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("job not found"), "{}", none.stderr);
    let cannot = shell.run(&["cancel", &job]);
    assert!(cannot.stderr.contains("perhaps an original"), "{}", cannot.stderr);

    a.mood("", Mood::Saying(Reply::hang_up()));
    let id = ok(&["submit", "--", "sh", "-c", "true"]);
    assert_eq!(text(&b.record("jobs", &id), "status"), "queued");
    b.mood("", Mood::Saying(Reply::json(500, json!({ "error": "database is locked" }))));
    let failed = shell.run(&["enqueue-shell", "true"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.starts_with("[skyclaw] request failed (500): "), "{}", failed.stderr);
}

/// D24 D28 D45 F25: a host of ours goes on at the second original when the first stops, registers there
/// when it is unknown, and comes back when none of them works for a while.
#[test]
fn a_host_of_ours_goes_from_one_original_to_the_next() {
    let [a, b] = ["a", "b"].map(|name| OriginalSetup::new(name).start());
    let host = Setup::host(&[&a.url(), &b.url()])
        .env("SKYCLAW_HOST_ID", "h")
        // A result that the first one took without saying so is kept for it, in a slot of its own.
        .env("SKYCLAW_MAX_PARALLEL", 2)
        .env("SKYCLAW_POLL_MS", 50)
        .env("SKYCLAW_HEARTBEAT_MS", 100)
        .start();
    let first = text(&a.api().submit(&shell("echo one")), "id").to_owned();
    let done = a.until_job_is(&first, "completed");
    assert_eq!(text(&done["result"], "stdout"), "one\n");
    a.stop();
    // b has never heard of the host.
    let second = text(&b.api().submit(&shell("echo two")), "id").to_owned();
    let done = b.until_job_is(&second, "completed");
    assert_eq!((text(&done, "assignedHostId"), text(&done["result"], "stdout")), ("h", "two\n"));
    // D45: what does not work is told, and does not end the host.
    b.mood("", Mood::Saying(Reply::json(500, json!({ "error": "database is locked" }))));
    eventually("it is told", || {
        let log = host.process.log();
        let told = ["worker loop error: ", "heartbeat failed: "];
        if told.iter().all(|words| log.contains(words)) { Ok(()) } else { Err(log) }
    });
    a.start_again();
    let third = text(&a.api().submit(&shell("true")), "id").to_owned();
    a.until_job_is(&third, "completed");
}
