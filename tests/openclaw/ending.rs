//! How turns of real agents end early, and what is left of them then.

use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw_tests::{Openclaw, eventually, processes_with, within};

use crate::network::{Network, TURN, started_by};

/// A text that no other process has.
fn mark() -> String {
    format!("skyclaw-mark-{}", uuid::Uuid::new_v4().simple())
}

/// (e) The agent's own deadline, with start-up outside of it.
#[test]
fn an_agent_that_takes_too_long_ends_with_a_timeout() {
    let Some(openclaw) = Openclaw::here() else { return };
    let mut network =
        Network::start(&(&openclaw).into(), 1, &json!({ "security": "deny" }), |host| host);
    let id = network.submit("SLEEP:100 zzz", &json!({ "timeoutSeconds": 3 }));
    let job = network.until_ended(&id, Duration::from_secs(75));
    assert_eq!(job["status"], "failed", "{job:#}");
    assert_eq!(job["result"]["agent"]["status"], "timeout", "{job:#}");
    assert_eq!(job["attempts"], 1, "{job:#}");
    network.until_clean();
    network.model.release();
}

/// (f) A cancelled agent ends with all that its tools started.
#[test]
fn a_cancelled_agent_leaves_no_process_and_no_folder() {
    let Some(openclaw) = Openclaw::here() else { return };
    let mut network =
        Network::start(&(&openclaw).into(), 1, &json!({ "security": "full" }), |host| host);
    let mark = mark();
    let command = format!("TOOL:MARK={mark} setsid sleep 1000 & MARK={mark} sleep 1001");
    let id = network.submit(&command, &json!({ "toolPolicy": "full" }));
    within(TURN, "the tool runs", || match processes_with(&mark).len() {
        n if n >= 2 => Ok(()),
        n => Err(format!("{n} processes; {}", network.shows(&id))),
    });
    let answer = network.coordinators[1].api.post(&format!("/v1/jobs/{id}/cancel"), &json!({}));
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    let cancelled = Instant::now();
    let job = network.until_ended(&id, TURN);
    assert_eq!(job["status"], "failed", "{job:#}");
    assert!(job["error"].as_str().is_some_and(|error| error.contains("cancelled")), "{job:#}");
    eventually("all of it has ended", || {
        let left = processes_with(&mark);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    // TERM, ten seconds, KILL; a second or two where the machine is busy.
    assert!(cancelled.elapsed() < Duration::from_secs(20), "{:?}", cancelled.elapsed());
    network.until_clean();
    // Its tool ends with it, which it may tell the model while it ends.
    let calls = network.model.calls_about(&mark);
    let begun = calls.iter().filter(|call| !call.after_tool).count();
    assert!(begun == 1 && calls.len() <= 2, "it was not asked again: {begun} of {}", calls.len());
}

/// (g) What a host that died had begun is not begun again elsewhere.
#[test]
fn an_agent_whose_host_is_killed_is_not_run_again() {
    let Some(openclaw) = Openclaw::here() else { return };
    let mut network =
        Network::start(&(&openclaw).into(), 2, &json!({ "security": "deny" }), |host| host);
    let mark = mark();
    let id = network.submit(&format!("HOLD {mark}"), &json!({}));
    within(TURN, "the model is asked", || match network.model.calls_about(&mark).len() {
        1 => Ok(()),
        n => Err(format!("{n} calls; {}", network.shows(&id))),
    });
    let busy = network.hosts.iter().position(|host| !started_by(host).is_empty());
    let mut host = network.hosts.remove(busy.expect("one of them runs it"));
    host.kill();
    eventually("its agent has ended with it", || {
        let left = started_by(&host);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let job = network.until_ended(&id, TURN);
    assert_eq!((&job["status"], &job["attempts"]), (&json!("failed"), &json!(1)), "{job:#}");
    let error = job["error"].as_str().unwrap_or_default();
    assert!(error.contains("idempotent"), "it says what to do: {job:#}");
    // The other host is free, and takes the next one.
    let next = network.submit("after it", &json!({}));
    assert_eq!(network.until_ended(&next, TURN)["status"], "completed");
    assert_eq!(network.model.calls_about(&mark).len(), 1, "the first one was not run again");
    network.until_clean();
}
