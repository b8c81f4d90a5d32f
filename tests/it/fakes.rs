//! The fakes of the original's coordinator, host and clients behave as its contract says, defects
//! included: what other tests show with them rests on that.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{
    Api, LegacyClient, LegacyHost, LegacyHostConfig, Mood, Original, OriginalSetup, Reply,
    eventually, shell,
};

use crate::{members, number, text};

/// Two that know each other and want `copies` of everything; they pull when told.
fn pair(copies: usize) -> [Original; 2] {
    let all = ["a", "b"].map(|name| {
        let setup = OriginalSetup::new(name).peer_sync(Duration::from_hours(1));
        setup.min_replications(copies).start()
    });
    for (one, other) in [(0, 1), (1, 0)] {
        all[one].api().post("/v1/network/join", &json!({ "url": all[other].url() })).ok();
    }
    all
}

/// H1 J1 L2 L11 L20 S1 S13: the members of records, and what changes them.
#[test]
fn an_original_has_the_contracts_records() {
    let original = OriginalSetup::new("o").lease(Duration::from_millis(50)).start();
    let api = original.api();
    let host = api.register("h", &["shell", " gpu ", "shell"], 2);
    let all =
        "id name capabilities maxParallel activeLeases lastSeenAt registeredAt updatedBy version";
    assert_eq!(members(&host), all.split(' ').collect::<Vec<_>>());
    assert_eq!(host["capabilities"], json!(["gpu", "shell"]));
    assert_eq!((text(&host, "updatedBy"), number(&host, "version")), ("o", 1));
    let queued = api.submit(&shell("true"));
    let mut all = members(&queued);
    all.sort_unstable();
    let wanted = "attempts createdAt id payload requirement status updatedAt updatedBy version";
    assert_eq!(all, wanted.split(' ').collect::<Vec<_>>());
    assert_eq!(text(&queued, "createdAt").len(), 24);
    let leased = api.claim("h");
    assert_eq!((text(&leased, "assignedHostId"), number(&leased, "attempts")), ("h", 1));
    assert_eq!(number(&original.record("hosts", "h"), "activeLeases"), 1);
    let id = text(&queued, "id");
    let again = original.until_job_is(id, "queued");
    assert!(again.get("assignedHostId").is_none() && again.get("leaseExpiresAt").is_none());
    assert_eq!(api.complete(id, "h").error(500), format!("job {id} is assigned to nobody"));
    api.claim("h");
    let done = api.complete(id, "h").ok()["job"].clone();
    assert_eq!((text(&done, "status"), number(&done, "attempts")), ("completed", 2));
    assert_eq!(api.complete(id, "h").error(500), format!("job {id} is not leased"));
    assert_eq!(api.complete(id, "x").error(500), "unknown host: x");
    assert_eq!(api.post("/v1/jobs", &json!({})).error(400), "payload is required");

    let body = json!({ "name": "web", "command": "node", "requiredCapabilities": [] });
    let service = api.post("/v1/services", &body).ok()["service"].clone();
    let claim = || api.post("/v1/hosts/h/services/claim", &json!({})).ok()["service"].clone();
    assert_eq!(text(&claim()["assignments"][0], "status"), "pending");
    let report = format!("/v1/services/{}/report", text(&service, "id"));
    let running = json!({ "hostId": "h", "status": "running", "endpoint": "http://x" });
    let running = api.post(&report, &running).ok()["service"].clone();
    assert_eq!((text(&running, "status"), &claim()), ("running", &running));
    let failed = api.post(&report, &json!({ "hostId": "h", "status": "failed" })).ok();
    assert_eq!(text(&failed["service"], "status"), "failed");
    assert!(failed["service"]["assignments"][0].get("endpoint").is_none());
    assert_eq!(claim(), Value::Null, "F10: the failed one keeps its place");
    let state = api.get("/v1/state").ok();
    assert_eq!(members(&state), ["nodeId", "hosts", "jobs", "services"]);
    assert_eq!(state, original.state());
}

/// R8-R12 F03 F04 F24 F38: the quorum rule, and what it does when it is not met.
#[test]
fn an_original_sends_everything_to_all_its_peers_for_every_change() {
    let alone = OriginalSetup::new("o").min_replications(2).start();
    let words = "insufficient peers: requires at least 1 known peers, got 0";
    assert_eq!(alone.api().post("/v1/jobs", &shell("true")).error(503), words);

    let [a, b] = pair(2);
    let id = a.api().submit_shell("true");
    assert_eq!(b.record("jobs", &id), a.record("jobs", &id));
    a.api().register("h", &[], 1);
    b.stores_nothing(true);
    a.api().heartbeat("h", &json!({}));
    b.stores_nothing(false);
    assert_ne!(b.record("hosts", "h"), a.record("hosts", "h"), "F24: acked all the same");
    let pushes = b.pushes();
    let counts: Vec<_> = pushes.iter().map(|push| (push.hosts, push.jobs, push.changed)).collect();
    assert_eq!(counts, [(0, 1, true), (1, 1, true), (1, 1, false)]);
    assert!(pushes.iter().all(|push| push.from == "a" && push.bytes > 100));

    // While a slow change waits for its quorum another host comes; it goes with the slow one.
    let before = a.state();
    b.instead("/snapshot", Reply::silence());
    let slow = std::thread::spawn({
        let api = a.api();
        move || api.post_once("/v1/jobs", "k", &shell("slow"))
    });
    eventually("the slow change was sent", || {
        if b.left() == 0 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let other = a.api().register("other", &[], 1);
    assert_eq!(b.record("hosts", "other"), other);
    b.server.stop();
    let words = "replication target not met: required 1 peer acks, got 0";
    assert_eq!(slow.join().expect("no panic").error(503), words);
    assert_eq!(a.state(), before, "F03");
    // F04: what was refused is at the peer and comes back.
    b.server.start_again();
    a.sync();
    let queued = a.state()["jobs"].as_array().map(Vec::len);
    assert_eq!(queued, Some(2));
}

/// R1-R6 F42: the larger version wins, then the later change, then the larger name; a record is kept
/// as it came.
#[test]
fn an_original_merges_by_version_alone() {
    let original = Original::default();
    let push = |job: Value| {
        let body = json!({ "nodeId": "p", "jobs": [job] });
        original.api().post("/v1/replicate/snapshot", &body).ok()["changed"] == true
    };
    let job = |version: u64, updated: &str, by: &str, status: &str| {
        json!({
            "id": "j", "createdAt": updated, "updatedAt": updated, "updatedBy": by,
            "version": version, "status": status, "attempts": 1, "more": { "z": 1, "a": [2] },
            "requirement": { "requiredCapabilities": [] }, "payload": { "kind": "shell" },
        })
    };
    let (early, late) = ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.679Z");
    assert!(push(job(5, early, "m", "completed")));
    assert!(!push(job(4, late, "z", "queued")) && !push(job(5, early, "m", "queued")));
    assert!(push(job(5, late, "a", "failed")) && push(job(5, late, "b", "completed")));
    assert!(push(job(6, early, "a", "queued")));
    assert_eq!(original.record("jobs", "j"), job(6, early, "a", "queued"));
    // Its own counter goes on from there.
    assert_eq!(number(&original.api().submit(&shell("true")), "version"), 7);
    assert_eq!(original.api().post("/v1/replicate/snapshot", &json!({ "jobs": [{}] })).status, 500);
}

/// F21: what no validation does.
#[test]
fn an_original_is_poisoned_by_records() {
    let original = Original::default();
    let push = |body: &Value| original.api().post("/v1/replicate/snapshot", body);
    original.api().register("h", &[], 1);
    push(&json!({ "hosts": [{ "id": "x", "version": 9_007_199_254_740_991_u64 }] })).ok();
    let frozen = 9_007_199_254_740_992;
    for _ in 0..2 {
        assert_eq!(number(&original.api().heartbeat("h", &json!({})), "version"), frozen);
    }
    push(&json!({ "jobs": [{ "id": "a", "createdAt": "2026", "status": "queued" }] })).ok();
    assert_eq!(original.api().post("/v1/hosts/h/claim", &json!({})).status, 500);
    original.api().submit_shell("true");
    assert_eq!(push(&json!({ "jobs": [{ "id": "b" }] })).status, 500);
    for answer in [original.api().get("/v1/state"), original.api().post("/v1/jobs", &shell("x"))] {
        assert_eq!(answer.status, 500);
    }
    assert_eq!(original.api().get("/health").status, 200);
    original.stop();
    original.start_again();
    original.api().get("/v1/state").ok();
    assert_eq!(original.api().post("/v1/hosts/h/claim", &json!({})).status, 500);
}

/// N1-N7 R13 F23: urls in one form, discovery, joining, pulls; without a public url it learns itself.
#[test]
fn originals_find_each_other_and_pull() {
    let quick = |name: &str| OriginalSetup::new(name).peer_sync(Duration::from_millis(50));
    let a = quick("a").token("t").public().start();
    let b = quick("b").token("t").public().peer(&format!(" {}/?x#y ", a.url())).start();
    let c = quick("c").token("t").peer(&b.url()).start();
    let id = a.api().submit_shell("true");
    c.until_job_is(&id, "queued");
    eventually("a knows b, c knows both", || {
        let (of_a, of_c) = (a.peers(), c.peers());
        if of_a == [b.url()] && of_c == [b.url(), a.url()] {
            Ok(())
        } else {
            Err(format!("{of_a:?} {of_c:?}"))
        }
    });
    let shown = a.api().get("/v1/network/peers").ok();
    assert_eq!(shown, json!({ "nodeId": "a", "self": a.url(), "peers": [b.url()] }));
    let join = |url: &str| a.api().post("/v1/network/join", &json!({ "url": url }));
    assert_eq!(join("  ").error(400), "url is required");
    assert_eq!(join(&a.url()).ok()["peers"], json!([b.url()]), "never its own");
    // b tells c of c's own url, and c has a quorum by itself.
    b.api().post("/v1/network/join", &json!({ "url": c.url() })).ok();
    eventually("c knows itself", || {
        if c.peers().contains(&c.url()) { Ok(()) } else { Err(format!("{:?}", c.peers())) }
    });
    let anonymous = Api::new(a.api().address(), None);
    assert_eq!(anonymous.get("/health").error(401), "unauthorized");
}

/// I1-I8 P: idempotency, and the public API.
#[test]
fn an_original_replays_by_key_and_serves_the_public() {
    let original = OriginalSetup::new("o").public_keys("k:acme:shell:shell, q").start();
    let api = original.api();
    let first = api.post_once("/v1/jobs", "x", &shell("true"));
    assert_eq!(api.post_once("/v1/jobs", "x", &shell("true")).body, first.body);
    let words = "idempotency key reuse conflict for route /v1/jobs";
    assert_eq!(api.post_once("/v1/jobs", "x", &shell("false")).error(409), words);
    let post =
        |key: &str, body: &Value| api.post_with("/v1/public/jobs", &[("x-api-key", key)], body);
    let job = post("k", &shell("true")).ok()["job"].clone();
    assert!(job.get("submittedBy").is_none());
    assert_eq!(text(&original.record("jobs", text(&job, "id")), "submittedBy"), "public:acme");
    assert_eq!(post("q", &shell("true")).error(403), "shell jobs are not allowed for this api key");
    let path = format!("/v1/public/jobs/{}", text(&job, "id"));
    let get =
        |key: &str| api.send("GET", &path, &[("authorization", &format!("Bearer {key}"))], b"");
    assert_eq!(get("k").ok()["job"], job);
    assert_eq!(get("q").error(404), "job not found");
    assert_eq!(get("z").error(401), "invalid api key");
    let preflight = api.send("OPTIONS", &path, &[], b"");
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (204, Some("*"))
    );
}

/// Stopped it listens no more; started again it has what it stored, or nothing.
#[test]
fn an_original_is_stopped_and_started_again() {
    let original = Original::default();
    let api = original.api();
    let id = api.submit_shell("true");
    original.stop();
    assert!(api.try_send("GET", "/health", &[], b"").is_err());
    original.start_again();
    assert_eq!(text(&original.record("jobs", &id), "status"), "queued");
    original.stop();
    original.start_empty();
    assert_eq!(original.state()["jobs"], json!([]));
    assert_eq!(original.api().get("/v1/state").ok()["jobs"], json!([]));
}

/// Answers are replaced, delayed, swallowed, held.
#[test]
fn an_original_does_with_answers_what_the_test_wants() {
    let original = Original::default();
    let (api, hasty) = (original.api(), original.api().with_patience(Duration::from_millis(200)));
    original.mood("/health", Mood::Saying(Reply::raw(200, *b"{\"a\":[[")));
    assert_eq!(api.get("/health").body, b"{\"a\":[[");
    original.mood("/health", Mood::Silent);
    assert!(hasty.try_send("GET", "/health", &[], b"").is_err());
    let begun = Instant::now();
    original.mood("", Mood::Slow(Duration::from_millis(50)));
    api.get("/v1/state").ok();
    assert!(begun.elapsed() >= Duration::from_millis(50));
    original.mood("", Mood::Serving);
    original.mood("/health", Mood::Serving);
    let hold = original.hold("/v1/jobs");
    let answer = std::thread::spawn({
        let api = original.api();
        move || api.submit(&shell("true"))
    });
    eventually("it is stored", || {
        let state = original.state();
        if state["jobs"][0].is_object() { Ok(()) } else { Err(state.to_string()) }
    });
    assert!(!answer.is_finished());
    api.get("/health").ok();
    drop(hold);
    assert_eq!(answer.join().expect("no panic"), original.state()["jobs"][0]);
}

/// D24 D25 D28 D45 F25 C9 G24: hosts and clients of the original try coordinators in order.
#[test]
fn the_originals_host_and_clients_fail_over() {
    let [a, b] = pair(1);
    let both = [a.api(), b.api()];
    let config = LegacyHostConfig {
        endpoint: Some("http://127.0.0.1:1".into()),
        poll: Duration::from_millis(10),
        ..LegacyHostConfig::default()
    };
    let host = LegacyHost::start_at(&both, config);
    let client = LegacyClient::new(&both);
    let first = client.enqueue_shell("true").expect("it is taken");
    a.until_job_is(&first, "completed");
    let service = client.deploy_service("web", "node").expect("it is taken");
    eventually("the service is said to run", || {
        let table = client.gateway_table();
        let table = table.expect("it is told");
        if table.contains_key("web") && table.contains_key(&service) {
            Ok(())
        } else {
            Err(format!("{table:?}"))
        }
    });
    assert_eq!(host.services(), std::slice::from_ref(&service));
    a.stop();
    let second = client.enqueue_shell("true").expect("it is taken elsewhere");
    b.until_job_is(&second, "completed");
    assert_eq!(host.ran(), [first, second]);
    host.exits(&service, 3);
    assert_eq!(text(&b.record("services", &service), "status"), "failed");
    // It goes on asking and never registers again.
    b.forget();
    let claims = || b.server.received_at("/claim").len();
    let before = claims();
    eventually("it goes on asking", || {
        if claims() > before + 5 { Ok(()) } else { Err(claims().to_string()) }
    });
    assert!(!host.errors().is_empty());
    assert_eq!(b.server.received_at("/register").len(), 0);
}
