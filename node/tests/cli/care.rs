//! `skyclaw doctor` and `skyclaw why`, against coordinators that follow a script.

use serde_json::{Value, json};

use super::server::{Reply, Server, ok};
use super::{NOBODY, at, document, run, text};

fn host(name: &str, capabilities: &[&str]) -> Value {
    json!({ "id": format!("host_{name}"), "name": name, "capabilities": capabilities,
        "maxParallel": 1, "activeLeases": 0, "lastSeenAt": jiff::Timestamp::now().to_string() })
}

fn waiting(needs: &[&str]) -> Value {
    json!({ "id": "job_1", "status": "queued", "attempts": 0,
        "requirement": { "requiredCapabilities": needs } })
}

/// A coordinator as doctor asks it.
fn network(hosts: &[Value], queued: &[Value]) -> Server {
    let peers = json!({ "peerId": "p", "peers": [{ "label": "b", "connected": true }],
        "refused": [{ "peerId": "x", "address": "/ip4/1", "why": "another token", "by": "us" }] });
    Server::new(vec![
        ok(json!({ "ok": true })),
        ok(json!({ "ok": true })),
        ok(json!({ "ok": true, "nodeId": "n" })),
        ok(peers),
        ok(json!({ "hosts": hosts })),
        ok(json!({ "jobs": queued })),
    ])
}

/// All but what is said of the machine that the tests run on.
fn findings(document: &Value) -> Vec<(String, String)> {
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap_or("-").to_owned();
    let all = document["findings"].as_array().expect("a list");
    let all = all.iter().map(|finding| (word(finding, "name"), word(finding, "level")));
    all.filter(|(name, _)| name != "sandbox-here").collect()
}

fn pairs(want: &[(&str, &str)]) -> Vec<(String, String)> {
    want.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect()
}

#[test]
fn a_network_that_is_well_is_said_to_be() {
    let mut good = host("good", &["shell", "openclaw.exec"]);
    good["openclaw"] = json!({ "version": "2026.9.6", "gateway": false });
    let server = network(&[good], &[waiting(&["shell"])]);
    let output = at(&server, &["doctor", "--json"]);
    let told = document(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(told["ok"], true);
    let want = [
        ("coordinator", "ok"),
        // The one that answers here lets in who shows none.
        ("token", "warn"),
        ("peers", "ok"),
        ("peers", "warn"),
        ("hosts", "ok"),
        ("sandbox", "warn"),
        ("openclaw", "ok"),
        ("jobs", "ok"),
    ];
    assert_eq!(findings(&told), pairs(&want), "{told}");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let mut sick = host("sick", &["shell"]);
    sick["openclaw"] = json!({ "gateway": false, "trouble": "Node 20 is too old" });
    let server = network(&[sick], &[waiting(&["openclaw.exec"])]);
    let output = at(&server, &["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    for said in [
        "warn openclaw      sick: unusable: Node 20 is too old",
        "fail jobs          1 job waits for nobody: no host has openclaw.exec (job_1)",
        "-> put the openclaw of sick right: Node 20 is too old",
        "another token",
    ] {
        assert!(stdout.contains(said), "{said:?} in {stdout}");
    }
}

#[test]
fn a_coordinator_that_is_not_there_or_refuses_is_told() {
    let output = run(&[("SKYCLAW_COORDINATOR_URL", NOBODY)], &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(findings(&document(&output)), pairs(&[("coordinator", "fail")]));

    let reasons = json!({ "ok": false, "error": "not ready: full", "reasons": ["disk full"] });
    let server = Server::new(vec![
        ok(json!({ "ok": true })),
        Reply::Body(503, reasons.to_string()),
        Reply::Body(401, "{}".to_owned()),
    ]);
    // The first one of the list is gone, which is no failure while another one answers.
    let urls = format!("{NOBODY},{}", server.url);
    let output = run(&[("SKYCLAW_COORDINATOR_URLS", &urls)], &["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    for said in ["warn coordinator", "is not ready: disk full", "fail token", "SKYCLAW_TOKEN"] {
        assert!(stdout.contains(said), "{said:?} in {stdout}");
    }
    assert_eq!(server.requests().len(), 3, "who refuses is asked nothing more");
}

#[test]
fn what_is_no_coordinator_is_not_said_to_be_well() {
    let not_found = || Reply::Body(404, r#"{"error":"not found"}"#.to_owned());
    let gateway = ok(json!({ "ok": true, "services": ["api"] }));
    for (replies, said) in [
        (vec![ok(json!({ "ok": true })), not_found(), gateway], "is a gateway, not a coordinator"),
        // Any web server, and one that is fond of JSON.
        (vec![Reply::Body(404, "<html>".to_owned())], "answers (404) as no coordinator does"),
        (vec![ok(json!({ "ok": true }))], "answers (200) as no coordinator does"),
        (vec![ok(json!([]))], "answers (200) as no coordinator does"),
    ] {
        let server = Server::new(replies);
        let output = at(&server, &["doctor"]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains("fail coordinator") && stdout.contains(said), "{stdout}");
        assert!(!stdout.contains("lets everybody in"), "{stdout}");
        assert_eq!(server.requests().len(), 3, "it is asked nothing more");
    }
    // An original has the last of the three routes alone.
    let original = ok(json!({ "ok": true, "nodeId": "n" }));
    let server = Server::new(vec![not_found(), not_found(), original, not_found()]);
    let output = at(&server, &["doctor"]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("answers, as an original does"), "{stdout}");
}

/// A key that may deploy sees services and no jobs.
#[test]
fn why_without_a_kind_looks_further_where_jobs_are_forbidden() {
    let refused = |what: &str| {
        Reply::Body(403, json!({ "error": format!("may not see {what}") }).to_string())
    };
    let web = ok(json!({ "service": { "id": "web" } }));
    let reason = json!({ "id": "web", "because": "no host has gpu" });
    let server = Server::new(vec![refused("jobs"), web, ok(json!({ "why": reason }))]);
    let output = at(&server, &["why", "web", "--json"]);
    assert_eq!(document(&output), reason, "{}", text(&output.stderr));
    let lines: Vec<String> = server.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines[1..], ["GET /v1/services/web?details=1", "GET /v1/services/web/why"]);

    let server = Server::new(vec![refused("jobs"), refused("services"), refused("hosts")]);
    let output = at(&server, &["why", "web"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("may not see jobs (403)"), "{}", text(&output.stderr));
}

#[test]
fn why_names_the_rule_that_rejects_each_host() {
    let hosts = ok(json!({ "hosts": [host("far", &["shell"])] }));
    let server = Server::new(vec![ok(json!({ "job": waiting(&["gpu", "shell"]) })), hosts]);
    let output = at(&server, &["why", "job_1"]);
    assert_eq!(
        text(&output.stdout),
        "job_1 is queued: no host has gpu\n  far: has no gpu\nfar is nearest: if it can do that, \
         add gpu to its SKYCLAW_CAPABILITIES; or submit without that\n"
    );
    let lines: Vec<String> = server.requests().into_iter().map(|r| r.line).collect();
    // One that knows nothing of voters is as good.
    assert_eq!(lines, ["GET /v1/jobs/job_1", "GET /v1/hosts", "GET /v1/jobs/job_1/why"]);

    let hosts = ok(json!({ "hosts": [host("far", &["shell"])] }));
    let server = Server::new(vec![ok(json!({ "job": waiting(&["gpu"]) })), hosts]);
    let told = document(&at(&server, &["why", "job_1", "--json"]));
    assert_eq!(told["hosts"][0]["missing"], json!(["gpu"]));
    assert_eq!(told["because"], "no host has gpu");
}
