//! Idempotency keys against the real engine (I).

use std::collections::BTreeSet;
use std::thread;

use serde_json::{Value, json};
use skyclaw_tests::{Setup, shell};

use crate::text;

/// I1 I10: a repeat is answered with the same bytes and does nothing.
#[test]
fn a_repeat_gets_the_first_answer_and_does_nothing() {
    let node = Setup::coordinator().start();
    let first = node.api.post_once("/v1/jobs", " k ", &shell("true"));
    node.api.register("h1", &[], 1);
    node.api.claim("h1");
    let again = node.api.post_once("/v1/jobs", "k", &shell("true"));
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    let jobs = node.api.get("/v1/jobs").ok();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1));
}

/// I3 I4 I7: what counts is the content; another content is refused.
#[test]
fn another_request_under_the_same_key_is_refused() {
    let node = Setup::coordinator().start();
    let id = |answer: Value| text(&answer["job"], "id").to_owned();
    let send = |body: &[u8]| node.api.send("POST", "/v1/jobs", &[("x-idempotency-key", "k")], body);
    let body = br#"{"payload":{"kind":"shell","command":"sh"},"x":[1,2]}"#;
    let reordered = br#" { "x" : [1, 2], "payload" : {"command":"sh","kind":"shell"} } "#;
    let swapped = br#"{"payload":{"kind":"shell","command":"sh"},"x":[2,1]}"#;
    assert_eq!(id(send(body).ok()), id(send(reordered).ok()));
    let conflict = "idempotency key reuse conflict for route /v1/jobs";
    assert_eq!(send(swapped).error(409), conflict);
}

/// I2 I6, F27: a key belongs to one route with its decoded id; claims of jobs and of services
/// never meet.
#[test]
fn a_key_counts_within_its_route_alone() {
    let node = Setup::coordinator().start();
    node.api.register("x", &[], 5);
    node.api.register("x/services", &[], 5);
    let job = node.api.submit_shell("true");
    assert_eq!(
        node.api.post_once("/v1/hosts/x/services/claim", "k", &json!({})).ok(),
        json!({ "service": null })
    );
    let claimed = node.api.post_once("/v1/hosts/x%2Fservices/claim", "k", &json!({})).ok();
    assert_eq!(text(&claimed["job"], "id"), job);
    // Two spellings of one route share it.
    let again = node.api.post_once("/v1/hosts/%78%2fservices/claim", "k", &json!({})).ok();
    assert_eq!(claimed, again);
}

/// I8 I11: an empty claim is remembered, a refusal is not.
#[test]
fn an_empty_claim_is_remembered_and_a_refusal_is_not() {
    let node = Setup::coordinator().start();
    let path = "/v1/hosts/h1/claim";
    assert_eq!(node.api.post_once(path, "k", &json!({})).status, 404);
    node.api.register("h1", &[], 1);
    assert_eq!(node.api.post_once(path, "k", &json!({})).ok(), json!({ "job": null }));
    let job = node.api.submit_shell("true");
    assert_eq!(node.api.post_once(path, "k", &json!({})).ok(), json!({ "job": null }));
    let other = node.api.post_once(path, "k2", &json!({})).ok();
    assert_eq!(text(&other["job"], "id"), job);
    let replayed = node.api.post_once(path, "k2", &json!({})).ok();
    assert_eq!(other, replayed);
}

/// I5: a key is remembered for completions, cancels and heartbeats too.
#[test]
fn all_changes_honour_keys() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 3);
    let id = node.api.submit_shell("true");
    node.api.claim("h1");
    let done = json!({ "hostId": "h1", "success": true });
    let path = format!("/v1/jobs/{id}/complete");
    let first = node.api.post_once(&path, "k", &done);
    assert_eq!(first.ok(), node.api.post_once(&path, "k", &done).ok());
    assert_eq!(node.api.post(&path, &done).status, 409);

    let id = node.api.submit_shell(": two");
    let cancel = format!("/v1/jobs/{id}/cancel");
    let first = node.api.post_once(&cancel, "k", &json!({}));
    assert_eq!(first.ok(), node.api.post_once(&cancel, "k", &json!({})).ok());

    let beat = "/v1/hosts/h1/heartbeat";
    let first = node.api.post_once(beat, "k", &json!({ "activeLeases": 1 })).ok();
    assert_eq!(first, node.api.post_once(beat, "k", &json!({ "activeLeases": 1 })).ok());
    let service = json!({ "name": "s", "command": "sh" });
    let first = node.api.post_once("/v1/services", "k", &service).ok();
    assert_eq!(first, node.api.post_once("/v1/services", "k", &service).ok());
    let host = json!({ "name": "fresh" });
    let first = node.api.post_once("/v1/hosts/register", "k", &host).ok();
    assert_eq!(first, node.api.post_once("/v1/hosts/register", "k", &host).ok());
}

/// F06: of concurrent requests with one key, one is carried out and all get its answer.
#[test]
fn concurrent_requests_with_one_key_make_one_job() {
    let node = Setup::coordinator().start();
    for round in 0..5 {
        let key = format!("k{round}");
        let ids: BTreeSet<String> = thread::scope(|scope| {
            let senders: Vec<_> = (0..12)
                .map(|_| {
                    let (api, key) = (node.api.clone(), key.as_str());
                    scope.spawn(move || {
                        let job = api.post_once("/v1/jobs", key, &shell("true")).ok();
                        text(&job["job"], "id").to_owned()
                    })
                })
                .collect();
            senders.into_iter().map(|sender| sender.join().expect("no panic")).collect()
        });
        assert_eq!(ids.len(), 1, "round {round}");
    }
    assert_eq!(node.api.metric("skyclaw_jobs_queued"), 5.0);
}

/// I14: the answer outlives the process.
#[test]
fn keys_survive_a_kill() {
    let mut node = Setup::coordinator().start();
    node.api.register("h1", &[], 1);
    let first = node.api.post_once("/v1/jobs", "k", &shell("true")).ok();
    let claim = node.api.post_once("/v1/hosts/h1/claim", "k", &json!({})).ok();
    assert_eq!(first["job"]["id"], claim["job"]["id"]);
    node.kill();
    node.start_again();
    assert_eq!(node.api.post_once("/v1/jobs", "k", &shell("true")).ok(), first);
    assert_eq!(node.api.post_once("/v1/hosts/h1/claim", "k", &json!({})).ok(), claim);
    let conflict = node.api.post_once("/v1/jobs", "k", &shell("false"));
    assert_eq!(conflict.status, 409);
}

/// F29: a key is forgotten when its time is over, whether or not a sweep has run.
#[test]
fn a_key_is_forgotten_after_its_time() {
    let node = Setup::coordinator().env("SKYCLAW_IDEMPOTENCY_TTL_MS", 250).start();
    let id = || {
        let answer = node.api.post_once("/v1/jobs", "k", &shell("true")).ok();
        text(&answer["job"], "id").to_owned()
    };
    let first = id();
    skyclaw_tests::eventually("the key is new again", || {
        let now = id();
        if now == first { Err(now) } else { Ok(()) }
    });
}

/// I13: blank is no key; an overlong one is refused.
#[test]
fn blank_keys_count_as_none() {
    let node = Setup::coordinator().start();
    for _ in 0..2 {
        assert_eq!(node.api.post_once("/v1/jobs", "  ", &shell("true")).status, 200);
    }
    assert_eq!(node.api.metric("skyclaw_jobs_queued"), 2.0);
    let error = node.api.post_once("/v1/jobs", &"k".repeat(600), &shell("true")).error(400);
    assert!(error.contains("x-idempotency-key"), "{error}");
}

/// A claim repeated while the first still waits gets the same job, which is granted once.
#[test]
fn a_repeated_parked_claim_gets_the_same_job() {
    let node = Setup::coordinator().start();
    node.api.register("h1", &[], 5);
    let headers = [("x-skyclaw-claim-wait-ms", "25000"), ("x-idempotency-key", "k")];
    let claim = || node.api.clone().post_with("/v1/hosts/h1/claim", &headers, &json!({})).ok();
    thread::scope(|scope| {
        let waiting = [scope.spawn(claim), scope.spawn(claim)];
        skyclaw_tests::eventually("the claim is parked", || {
            let parked = node.api.metric("skyclaw_claims_parked");
            if parked == 1.0 { Ok(()) } else { Err(parked.to_string()) }
        });
        let id = node.api.submit_shell("true");
        for claim in waiting {
            let job = claim.join().expect("no panic")["job"].clone();
            assert_eq!((text(&job, "id"), &job["attempts"]), (id.as_str(), &json!(1)));
        }
    });
}
