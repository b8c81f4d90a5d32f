//! What a user sees of jobs that are tried again, or not any more.

use serde_json::json;
use skyclaw_tests::{Setup, eventually, shell};

use crate::{number, text};

/// A job that its hosts die of ends with its reason, and the queue goes on behind it.
#[test]
fn a_poison_job_ends_as_failed_with_its_reason_while_others_run() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 200).start();
    let mut body = shell("true");
    body["maxAttempts"] = json!(3);
    let poison = text(&node.api.submit(&body), "id").to_owned();
    node.api.register("h1", &[], 2);
    for attempt in 1..=3 {
        eventually("it is granted once it has rested", || {
            let job = node.api.claim("h1");
            if job["id"] == poison.as_str() { Ok(()) } else { Err(job.to_string()) }
        });
        node.api.heartbeat("h1", &json!({ "activeLeases": 1 }));
        eventually("the lease is over", || {
            let job = node.api.job(&poison);
            if job["status"] == "leased" { Err(job.to_string()) } else { Ok(()) }
        });
        let other = node.api.submit_shell(&format!(": {attempt}"));
        if attempt == 2 {
            assert_eq!(text(&node.api.claim("h1"), "id"), other, "the other one rests");
            node.api.complete(&other, "h1").ok();
        } else {
            node.api.post(&format!("/v1/jobs/{other}/cancel"), &json!({})).ok();
        }
    }
    let job = node.api.job(&poison);
    assert_eq!((text(&job, "status"), number(&job, "attempts")), ("failed", 3));
    let error = text(&job, "error");
    assert!(error.starts_with("gave up after 3 lost attempts, the last on host h1: "), "{error}");
    assert!(error.contains("submit it again"), "it says what to do: {error}");
}

/// A command that fails runs again as often as its job asks for, and no more.
#[test]
fn a_failed_command_runs_again_only_if_its_job_says_so() {
    let node = Setup::both().start();
    node.api.until_hosts(1);
    let mark = node.folder().join("runs");
    let script = |ends: &str| format!("echo x >> {}; {ends}", mark.display());
    let runs = || std::fs::read_to_string(&mark).map_or(0, |text| text.lines().count());

    let plain = node.api.submit_shell(&script("exit 7"));
    let job = node.api.until_job_ended(&plain);
    assert_eq!((text(&job, "status"), number(&job, "attempts"), runs()), ("failed", 1, 1));
    assert!(job.get("retry").is_none(), "{job}");

    let mut body = shell(&script(&format!("test $(wc -l < {}) -ge 3", mark.display())));
    body["retry"] = json!(5);
    let id = text(&node.api.submit(&body), "id").to_owned();
    let job = node.api.until_job_ended(&id);
    assert_eq!((text(&job, "status"), number(&job, "attempts"), runs()), ("completed", 2, 3));
    assert_eq!(job["retry"], 5);

    let mut body = shell("echo $((1 + 1)); exit 9");
    body["retry"] = json!(1);
    let id = text(&node.api.submit(&body), "id").to_owned();
    let job = node.api.until_job_ended(&id);
    assert_eq!((text(&job, "status"), number(&job, "attempts")), ("failed", 2));
    assert_eq!((&job["result"]["exitCode"], text(&job["result"], "stdout")), (&json!(9), "2\n"));
}
