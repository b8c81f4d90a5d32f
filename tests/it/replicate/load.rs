//! How long a large snapshot takes, and what others feel of it meanwhile.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_tests::{Node, Setup};

use super::{SNAPSHOT, a_host, a_job, a_service, now};

/// Takes a snapshot of so many records while claims go on, and once more when all of it is known.
/// How long either took, and the longest claim.
fn merged_under_claims(node: &Node, records: usize) -> (Duration, Duration, Duration) {
    let at = now(&node.api);
    node.api.register("h1", &[], 1_000_000);
    (0..400).for_each(|_| drop(node.api.submit_shell("true")));
    let mut body = format!("{{\"hosts\":[{}],\"services\":[", a_host("h_o", &at));
    for n in 0..records / 100 {
        write!(body, "{},", a_service(&format!("svc_{n:08}"), "http://127.0.0.1:9", &at))
            .expect("memory takes it");
    }
    body.pop();
    body.push_str("],\"jobs\":[");
    let output = "x".repeat(200);
    for n in 0..records - records / 100 - 1 {
        // As the ids of the original: in no order.
        let id = format!("job_{:016x}", (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut job =
            a_job(&id, n as u64 + 1, if n % 10 == 0 { "queued" } else { "completed" }, &at);
        if n % 10 != 0 {
            job["result"] = json!({ "finishedAt": at, "durationMs": 5, "exitCode": 0, "stdout": output, "stderr": "" });
        }
        write!(body, "{job},").expect("memory takes it");
    }
    body.pop();
    body.push_str("]}");
    assert!(body.len() < 64 << 20, "{} bytes", body.len());

    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (api, done) = (node.api.clone(), &done);
        let claims = scope.spawn(move || {
            let mut longest = Duration::ZERO;
            while !done.load(Relaxed) {
                let begun = Instant::now();
                api.claim("h1");
                longest = longest.max(begun.elapsed());
                // As many as some tens of hosts make.
                thread::sleep(Duration::from_millis(5));
            }
            longest
        });
        let push = || {
            let begun = Instant::now();
            let answer = node.api.send("POST", SNAPSHOT, &[], body.as_bytes()).ok();
            (begun.elapsed(), answer["changed"].clone())
        };
        let (first, changed) = push();
        assert_eq!(changed, true);
        let (again, changed) = push();
        assert_eq!(changed, false);
        done.store(true, Relaxed);
        let longest = claims.join().expect("claims are answered");
        let held = node.api.metric("skyclaw_original_records{");
        assert_eq!(held, records as f64);
        (first, again, longest)
    })
}

/// A debug build parses and hashes many times slower, and other tests use the machine.
const SLOW: u32 = if cfg!(debug_assertions) { 10 } else { 3 };

#[test]
fn ten_thousand_records_are_merged_while_claims_go_on() {
    let node = Setup::coordinator().start();
    let (first, again, claim) = merged_under_claims(&node, 10_000);
    println!("merged in {first:.2?}, again in {again:.2?}; longest claim {claim:.2?}");
    assert!(first < SLOW * Duration::from_millis(500), "{first:?}");
    assert!(again < SLOW * Duration::from_millis(500), "{again:?}");
    assert!(claim < SLOW * Duration::from_millis(100), "{claim:?}");
}

#[test]
#[ignore = "measures, on a quiet machine: cargo test --release -p skyclaw-tests --test it \
            hundred_thousand -- --ignored --nocapture"]
fn a_hundred_thousand_records_are_merged_in_five_seconds_and_no_claim_waits_a_tenth() {
    let mut node = Setup::coordinator().start();
    let (first, again, claim) = merged_under_claims(&node, 100_000);
    println!("merged in {first:.2?}, again in {again:.2?}; longest claim {claim:.2?}");
    assert!(first < Duration::from_secs(5), "{first:?}");
    assert!(again < Duration::from_secs(2), "{again:?}");
    assert!(claim < Duration::from_millis(100), "{claim:?}");
    // What it costs to start with them, and to be told that nothing is new.
    node.stop();
    let begun = Instant::now();
    node.start_again();
    println!("started again in {:.2?}", begun.elapsed());
    let begun = Instant::now();
    let state = node.api.get("/v1/state");
    println!("state of {} bytes in {:.2?}", state.body.len(), begun.elapsed());
    let begun = Instant::now();
    node.api.get("/v1/jobs?limit=100&order=newest").ok();
    println!("a page in {:.2?}", begun.elapsed());
    let resident = skyclaw_tests::resident_kib(node.process.pid());
    println!("{} MiB resident", resident >> 10);
}
