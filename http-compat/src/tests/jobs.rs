//! Submission and completion.

use serde_json::{Value, json};
use skyclaw_protocol::{Command, Milli};

use super::rig::{Rig, rig};

async fn submit(rig: &Rig, body: Value) -> super::rig::Reply {
    rig.post("/v1/jobs", body).await
}

fn shell(extra: Value) -> Value {
    let mut payload = json!({ "kind": "shell", "command": "true" });
    payload.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({ "payload": payload })
}

#[tokio::test]
async fn j1_a_new_job_has_exactly_its_members() {
    let rig = rig();
    let answer = submit(&rig, shell(json!({}))).await.ok();
    let names: Vec<_> = answer["job"].as_object().unwrap().keys().map(String::as_str).collect();
    let want = "id createdAt updatedAt updatedBy version status attempts requirement payload";
    assert_eq!(names, want.split(' ').collect::<Vec<_>>());
    assert_eq!(answer["job"]["status"], "queued");
    assert_eq!(answer["job"]["attempts"], 0);
    assert_eq!(answer["job"]["requirement"], json!({ "requiredCapabilities": [] }));
}

#[tokio::test]
async fn j2_a_payload_with_a_kind_is_required() {
    let rig = rig();
    let kinds = [json!(null), json!(""), json!(0), json!(false), json!(-0.0)];
    let payloads = [json!(null), json!(0), json!("shell"), json!([]), json!({}), json!(true)];
    let kinds = kinds.map(|kind| json!({ "kind": kind }));
    for payload in payloads.into_iter().chain(kinds) {
        submit(&rig, json!({ "payload": payload })).await.refused(400, "payload is required");
    }
    for body in ["", "{}", "[]", "3", "\"x\"", " \n\u{feff}"] {
        rig.post("/v1/jobs", body).await.refused(400, "payload is required");
    }
}

#[tokio::test]
async fn f15_only_known_kinds_are_taken() {
    let rig = rig();
    for (kind, text) in [
        (json!("Shell"), r#"unknown job kind "Shell": use shell, openclaw-agent or openclaw-run"#),
        (
            json!("openclaw"),
            r#"unknown job kind "openclaw": use shell, openclaw-agent or openclaw-run"#,
        ),
        (
            json!(["shell"]),
            r#"unknown job kind ["shell"]: use shell, openclaw-agent or openclaw-run"#,
        ),
        (json!(5), "unknown job kind 5: use shell, openclaw-agent or openclaw-run"),
    ] {
        let body = json!({ "payload": { "kind": kind, "command": "x" } });
        submit(&rig, body).await.refused(400, text);
    }
    let long = json!({ "payload": { "kind": "ü".repeat(9000) } });
    assert!(submit(&rig, long).await.text.len() < 300);
}

#[tokio::test]
async fn j3_the_payload_is_kept_verbatim() {
    let rig = rig();
    let text = r#"{"zeta":{"b":1,"a":[null,1.5,"ü\u0001"]},"kind":"openclaw-run","args":["x"]}"#;
    let answer = rig.post("/v1/jobs", format!(r#"{{"payload":{text}}}"#)).await.ok();
    let Command::Submit(job) = rig.fake.last() else { panic!() };
    assert_eq!(String::from_utf8(job.payload).unwrap(), text);
    assert_eq!(answer["job"]["payload"].to_string(), text, "order of keys included");
}

#[tokio::test]
async fn b4_of_a_repeated_key_the_last_counts() {
    let rig = rig();
    let body = r#"{"payload":{"kind":"Shell","kind":"shell","command":"a","command":"b"}}"#;
    assert_eq!(rig.post("/v1/jobs", body).await.ok()["job"]["payload"]["command"], "b");
}

#[tokio::test]
async fn f19_what_would_choke_a_host_is_refused() {
    let rig = rig();
    for (extra, text) in [
        (json!({ "command": 5 }), "payload.command must be a string, not a number"),
        (json!({ "command": "" }), "payload.command is required"),
        (json!({ "command": null }), "payload.command is required"),
        (json!({ "command": "a\0b" }), "payload.command must not hold NUL characters"),
        (json!({ "args": "a" }), "payload.args must be an array of strings, not a string"),
        (json!({ "args": ["a", null] }), "payload.args[1] must be a string, not null"),
        (json!({ "args": ["\0"] }), "payload.args must not hold NUL characters"),
        (json!({ "cwd": 1 }), "payload.cwd must be a string, not a number"),
        (json!({ "env": [] }), "payload.env must be an object, not an array"),
        (json!({ "env": { "A": 1 } }), "payload.env.A must be a string, not a number"),
        (json!({ "env": { "A": "\0" } }), "payload.env must not hold NUL characters"),
    ] {
        submit(&rig, shell(extra)).await.refused(400, text);
    }
    let run = json!({ "payload": { "kind": "openclaw-run", "openclawDir": {} } });
    submit(&rig, run).await.refused(400, "payload.openclawDir must be a string, not an object");
    assert_eq!(rig.fake.asked(), 0);
    // What hosts read has the job around it, and they read 128 levels.
    let nested = |levels: usize| {
        let x: Value = serde_json::from_str(&("[".repeat(levels) + &"]".repeat(levels))).unwrap();
        json!({ "payload": { "kind": "openclaw-run", "x": x } })
    };
    submit(&rig, nested(100)).await.refused(400, "payload must not be nested more than 100 deep");
    assert_eq!(rig.fake.asked(), 0);
    submit(&rig, nested(99)).await.ok();
    let nulls = json!({ "args": null, "env": null, "cwd": null, "timeoutMs": null });
    submit(&rig, shell(nulls)).await.ok();
}

#[tokio::test]
async fn f18_timeouts_are_within_bounds() {
    let rig = rig();
    let bound = "payload.timeoutMs must be from 0 to 8640000000";
    for (sent, text) in [
        (json!("abc"), "payload.timeoutMs must be a number, not a string"),
        (json!("0"), "payload.timeoutMs must be a number, not a string"),
        (json!(-1), bound),
        (json!(-0.5), bound),
        (json!(8_640_000_001_u64), bound),
        (json!(1e300), bound),
    ] {
        submit(&rig, shell(json!({ "timeoutMs": sent }))).await.refused(400, text);
    }
    for (sent, kept) in [
        (json!(3_000_000_000_u64), Some(3_000_000_000)),
        (json!(0.5), Some(1)),
        // The default of the host, as if it were not there.
        (json!(0), None),
        (json!(-0.0), None),
    ] {
        submit(&rig, shell(json!({ "timeoutMs": sent }))).await.ok();
        let Command::Submit(job) = rig.fake.last() else { panic!() };
        assert_eq!(job.timeout_ms, kept);
    }
}

/// J4-J6.
#[tokio::test]
async fn j5_requirements_are_normalised_and_other_keys_dropped() {
    let rig = rig();
    let mut body = shell(json!({}));
    body["requirement"] = json!({ "requiredCapabilities": [" b", "a", "b", ""], "x": 1 });
    let job = submit(&rig, body.clone()).await.ok()["job"].clone();
    assert_eq!(job["requirement"], json!({ "requiredCapabilities": ["a", "b"] }));
    for (sent, text) in [
        (json!("a"), "requirement must be an object, not a string"),
        (
            json!({ "requiredCapabilities": "a" }),
            "requirement.requiredCapabilities must be an array of strings, not a string",
        ),
        (
            json!({ "requiredCapabilities": [[]] }),
            "requirement.requiredCapabilities[0] must be a string, not an array",
        ),
    ] {
        body["requirement"] = sent;
        submit(&rig, body.clone()).await.refused(400, text);
    }
}

/// J7 J8.
#[tokio::test]
async fn j7_the_submitter_is_trimmed_and_dropped_if_blank() {
    let rig = rig();
    for (sent, want) in [(json!(" me "), json!("me")), (json!("  "), json!(null))] {
        let mut body = shell(json!({}));
        body["submittedBy"] = sent;
        assert_eq!(submit(&rig, body).await.ok()["job"]["submittedBy"], want);
    }
    let mut body = shell(json!({}));
    body["submittedBy"] = json!("x".repeat(4097));
    let text = "submittedBy must not be longer than 4096 bytes";
    submit(&rig, body).await.refused(400, text);
}

#[tokio::test]
async fn retry_and_queue_timeout_are_shown_only_if_asked_for() {
    let rig = rig();
    let plain = submit(&rig, shell(json!({}))).await.ok();
    let mut body = shell(json!({}));
    (body["retry"], body["queueTimeoutMs"]) = (json!(0), json!(60_000));
    let shown = submit(&rig, body).await.ok();
    for (name, value) in [("retry", 0), ("queueTimeoutMs", 60_000)] {
        assert_eq!(shown["job"][name], value);
        assert!(plain["job"].get(name).is_none(), "{name} was not asked for");
    }
    for (name, sent, text) in [
        ("retry", json!(101), "retry must be from 0 to 100"),
        ("retry", json!(-1), "retry must be from 0 to 100"),
        ("retry", json!("1"), "retry must be a number, not a string"),
        ("queueTimeoutMs", json!(0), "queueTimeoutMs must be from 1 to 8640000000"),
        ("queueTimeoutMs", json!(8.64e9 + 1.0), "queueTimeoutMs must be from 1 to 8640000000"),
    ] {
        let mut body = shell(json!({}));
        body[name] = sent;
        submit(&rig, body).await.refused(400, text);
    }
}

#[tokio::test]
async fn max_attempts_is_shown_only_if_asked_for() {
    let rig = rig();
    let mut body = shell(json!({}));
    body["maxAttempts"] = json!(3.0);
    assert_eq!(submit(&rig, body.clone()).await.ok()["job"]["maxAttempts"], 3);
    for (sent, text) in [
        (json!(0), "maxAttempts must be from 1 to 100"),
        (json!(101), "maxAttempts must be from 1 to 100"),
        (json!(1.5), "maxAttempts must be a whole number, not 1.5"),
        (json!("3"), "maxAttempts must be a number, not a string"),
    ] {
        body["maxAttempts"] = sent;
        submit(&rig, body.clone()).await.refused(400, text);
    }
}

#[tokio::test]
async fn l11_a_completion_shows_what_the_host_sent_and_nothing_else() {
    let rig = rig();
    rig.host("h1").await;
    let path = format!("/v1/jobs/{}/complete", rig.claimed("h1").await);
    let body = json!({ "hostId": "h1", "success": true, "durationMs": 1.5, "exitCode": 0,
                       "stdout": "ü", "stderr": null });
    let job = rig.post(&path, body).await.ok()["job"].clone();
    let result = json!({ "finishedAt": job["result"]["finishedAt"], "durationMs": 1.5,
                         "exitCode": 0, "stdout": "ü" });
    assert_eq!(job["result"], result);
    assert_eq!(job["status"], "completed");
    assert_eq!(job["assignedHostId"], "h1");
    assert!(job.get("leaseExpiresAt").is_none() && job.get("error").is_none());
}

#[tokio::test]
async fn l12_a_failure_carries_its_error_and_missing_success_is_failure() {
    let rig = rig();
    rig.host("h1").await;
    for body in [
        json!({ "hostId": "h1", "error": "e" }),
        json!({ "hostId": "h1", "error": "e",
        "success": null }),
    ] {
        let path = format!("/v1/jobs/{}/complete", rig.claimed("h1").await);
        let job = rig.post(&path, body).await.ok()["job"].clone();
        assert_eq!((&job["status"], &job["error"]), (&json!("failed"), &json!("e")));
        assert_eq!(job["result"].as_object().unwrap().len(), 1);
    }
}

/// L13-L19.
#[tokio::test]
async fn l14_refused_completions_say_why_in_order() {
    let rig = rig();
    let id = "job_x";
    let path = format!("/v1/jobs/{id}/complete");
    rig.post(&path, "{}").await.refused(404, "unknown host: undefined");
    rig.post(&path, json!({ "hostId": "h1" })).await.refused(404, "unknown host: h1");
    rig.host("h1").await;
    rig.host("h2").await;
    rig.post(&path, json!({ "hostId": "h1" })).await.refused(404, "unknown job: job_x");
    let job = rig.claimed("h1").await;
    let path = format!("/v1/jobs/{job}/complete");
    rig.post(&path, json!({ "hostId": "h2" }))
        .await
        .refused(409, &format!("job {job} is assigned to h1"));
    rig.post(&path, json!({ "hostId": "h1", "success": true })).await.ok();
    rig.post(&path, json!({ "hostId": "h1", "success": true }))
        .await
        .refused(409, &format!("job {job} is not leased"));
}

#[tokio::test]
async fn f28_completions_are_checked() {
    let rig = rig();
    let path = "/v1/jobs/j/complete";
    for (extra, text) in [
        (json!({ "hostId": 5 }), "hostId must be a string, not a number"),
        (json!({ "success": "no" }), "success must be true or false, not a string"),
        (json!({ "stdout": {} }), "stdout must be a string, not an object"),
        (json!({ "stderr": 1 }), "stderr must be a string, not a number"),
        (json!({ "error": [] }), "error must be a string, not an array"),
        (json!({ "durationMs": -1 }), "durationMs must not be negative"),
        (json!({ "durationMs": "1" }), "durationMs must be a number, not a string"),
        (json!({ "exitCode": 1.5 }), "exitCode must be a whole number, not 1.5"),
        (json!({ "exitCode": true }), "exitCode must be a number, not a boolean"),
    ] {
        rig.post(path, extra).await.refused(400, text);
    }
    let large = json!({ "hostId": "h1", "stdout": "x".repeat((2 << 20) + 1) });
    rig.post(path, large).await.refused(413, "stdout must not be larger than 2097152 bytes");
    assert_eq!(rig.fake.asked(), 0);
}

#[tokio::test]
async fn a_long_error_text_is_cut_not_refused() {
    let rig = rig();
    let body = json!({ "hostId": "h1", "error": "ü".repeat(4000), "durationMs": 7 });
    rig.post("/v1/jobs/j/complete", body).await.refused(404, "unknown host: h1");
    let Command::Complete(done) = rig.fake.last() else { panic!() };
    assert_eq!(done.error.map(|text| text.len()), Some(4096));
    assert_eq!(done.duration, Some(Milli::whole(7)));
}

#[tokio::test]
async fn f35_jobs_can_be_read_and_cancelled_once() {
    let rig = rig();
    let id = submit(&rig, shell(json!({}))).await.ok()["job"]["id"].as_str().unwrap().to_owned();
    assert_eq!(rig.get(&format!("/v1/jobs/{id}")).await.ok()["job"]["id"], id.as_str());
    rig.get("/v1/jobs/none").await.refused(404, "job not found");
    let cancel = format!("/v1/jobs/{id}/cancel");
    assert_eq!(rig.post(&cancel, "").await.ok()["job"]["status"], "failed");
    let text = format!("job {id} has already ended as failed");
    rig.post(&cancel, "").await.refused(409, &text);
    rig.post("/v1/jobs/none/cancel", "").await.refused(404, "unknown job: none");
}
