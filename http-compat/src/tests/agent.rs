//! Jobs of kind `openclaw-agent`, and how their runs are told of.

use serde_json::{Value, json};
use skyclaw_protocol::limits::{
    MAX_AGENT_BYTES, MAX_AGENT_DEPTH, MAX_AGENT_MESSAGE_BYTES, MAX_CAPABILITIES,
};
use skyclaw_protocol::{Command, JobRequest};

use super::rig::{Rig, public_rig, rig};
use crate::check_payload;

/// Arrays in each other, `levels` of them.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!([]), |inner, _| json!([inner]))
}

async fn complete(rig: &Rig, agent: Value) -> super::rig::Reply {
    let id = rig.claimed("h1").await;
    let done = json!({ "hostId": "h1", "success": true, "agent": agent });
    rig.post(&format!("/v1/jobs/{id}/complete"), done).await
}

#[tokio::test]
async fn how_an_agents_run_went_is_shown_as_the_object_it_was_told_as() {
    let rig = rig();
    rig.host("h1").await;
    let told = json!({ "status": "ok", "ok": true, "usage": { "total": 7 }, "costUsd": 0.25 });
    let shown = complete(&rig, told.clone()).await.ok();
    assert_eq!(shown["job"]["result"]["agent"], told);
    let shown = complete(&rig, Value::Null).await.ok();
    assert!(shown["job"]["result"].get("agent").is_none());
    let deep = json!({ "a": nested(MAX_AGENT_DEPTH - 1) });
    let shown = complete(&rig, deep.clone()).await.ok();
    assert_eq!(shown["job"]["result"]["agent"], deep);
}

#[tokio::test]
async fn an_account_that_is_no_object_too_large_or_too_deep_is_refused_in_words() {
    let rig = rig();
    rig.host("h1").await;
    complete(&rig, json!("ok")).await.refused(400, "agent must be an object, not a string");
    let large = json!({ "a": "x".repeat(MAX_AGENT_BYTES) });
    let bound = format!("agent must not be larger than {MAX_AGENT_BYTES} bytes");
    complete(&rig, large).await.refused(400, &bound);
    let deep = json!({ "a": nested(MAX_AGENT_DEPTH) });
    let bound = format!("agent must not be nested deeper than {MAX_AGENT_DEPTH} levels");
    complete(&rig, deep).await.refused(400, &bound);
}

/// A host attached over libp2p sends text that this crate never saw.
#[tokio::test]
async fn what_not_every_client_could_read_is_not_shown() {
    let rig = rig();
    rig.host("h1").await;
    complete(&rig, json!({ "ok": true })).await.ok();
    let Command::Complete(done) = rig.fake.last() else { panic!("no report") };
    let id = done.job.as_str();
    for text in ["{", "[1]", &json!({ "a": nested(MAX_AGENT_DEPTH) }).to_string()] {
        rig.fake.state().jobs[0].result.as_mut().unwrap().agent = Some(text.to_owned());
        let shown = rig.get(&format!("/v1/jobs/{id}")).await.ok();
        assert!(shown["job"]["result"].get("agent").is_none(), "{text}");
    }
}

fn payload(extra: &Value) -> Value {
    let mut payload = json!({ "kind": "openclaw-agent", "message": "say hello" });
    for (name, value) in extra.as_object().unwrap() {
        payload[name] = value.clone();
    }
    json!({ "payload": payload })
}

fn submitted(rig: &Rig) -> JobRequest {
    let Command::Submit(job) = rig.fake.last() else { panic!("no submission") };
    job
}

#[tokio::test]
async fn an_agent_job_asks_for_hosts_that_can_and_says_how_long_it_may_take() {
    let rig = rig();
    for (extra, required, seconds) in [
        (json!({}), &["openclaw.exec"][..], 600),
        (json!({ "mode": "exec", "timeoutSeconds": 1 }), &["openclaw.exec"], 1),
        (json!({ "mode": "gateway", "sessionKey": "a:b" }), &["openclaw.gateway"], 600),
        (
            json!({ "model": "mock/m-1", "fallbacks": ["x"], "timeoutSeconds": 86_400 }),
            &["model:mock/m-1", "openclaw.exec"],
            86_400,
        ),
    ] {
        let body = payload(&extra);
        let answer = rig.post("/v1/jobs", &body).await.ok();
        assert_eq!(answer["job"]["payload"], body["payload"], "kept verbatim");
        assert_eq!(answer["job"]["requirement"]["requiredCapabilities"], json!(required));
        let job = submitted(&rig);
        assert_eq!(job.required, required);
        assert_eq!(job.timeout_ms, Some((seconds + 70) * 1000));
        assert!(job.once);
    }
    let mut body = payload(&json!({ "thinking": "x-high", "toolPolicy": "full" }));
    body["requirement"] = json!({ "requiredCapabilities": ["zoo", "gpu", "openclaw.exec"] });
    rig.post("/v1/jobs", &body).await.ok();
    assert_eq!(submitted(&rig).required, ["gpu", "openclaw.exec", "zoo"]);
    let many: Vec<String> = (0..MAX_CAPABILITIES).map(|n| format!("c{n}")).collect();
    body["requirement"] = json!({ "requiredCapabilities": many });
    let bound = "a job must not require more than 64 capabilities";
    rig.post("/v1/jobs", &body).await.refused(400, bound);
}

#[tokio::test]
async fn what_an_agent_job_may_say_is_checked() {
    let rig = rig();
    let long = "x".repeat(MAX_AGENT_MESSAGE_BYTES + 1);
    let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    for (extra, text) in [
        (json!({ "message": null }), "payload.message is required"),
        (json!({ "message": " \n" }), "payload.message is required"),
        (json!({ "message": 1 }), "payload.message must be a string, not a number"),
        (json!({ "message": long }), "payload.message must not be longer than 4194304 bytes"),
        (json!({ "mode": "local" }), "payload.mode must be one of exec, gateway"),
        (
            json!({ "agentId": "a" }),
            "payload.agentId needs mode gateway: a run of its own has no session",
        ),
        (json!({ "model": "" }), "payload.model must have from 1 to 250 bytes"),
        (json!({ "model": "--config" }), "payload.model must not begin with -"),
        (
            json!({ "model": "a\nb" }),
            "payload.model must not hold control characters, nor blanks at its ends",
        ),
        (json!({ "message": "a\0b" }), "payload.message must not hold null characters"),
        (json!({ "model": "mock one" }), "payload.model is no model: write provider/model"),
        (json!({ "fallbacks": ["a/b"] }), "payload.fallbacks need a model to follow"),
        (
            json!({ "mode": "gateway", "localModelLean": true }),
            "payload.localModelLean is not for mode gateway: the Gateway has its own",
        ),
        (json!({ "fallbacks": names }), "payload.fallbacks must not name more than 8 models"),
        (json!({ "fallbacks": ["a", "-b"] }), "payload.fallbacks[1] must not begin with -"),
        (
            json!({ "thinking": "High" }),
            "payload.thinking must be a short word of a-z and -, such as low, not High",
        ),
        (json!({ "timeoutSeconds": 0 }), "payload.timeoutSeconds must be from 1 to 86400"),
        (
            json!({ "timeoutSeconds": 1.5 }),
            "payload.timeoutSeconds must be a whole number, not 1.5",
        ),
        (
            json!({ "localModelLean": "yes" }),
            "payload.localModelLean must be true or false, not a string",
        ),
        (json!({ "toolPolicy": "all" }), "payload.toolPolicy must be one of none, allowlist, full"),
        (json!({ "idempotent": 1 }), "payload.idempotent must be true or false, not a number"),
        (json!({ "inputs": [1] }), "payload.inputs must hold objects"),
    ] {
        rig.post("/v1/jobs", payload(&extra)).await.refused(400, text);
    }
    let stranger = rig.post("/v1/jobs", payload(&json!({ "toolpolicy": "none" }))).await;
    assert!(
        stranger.text.contains("payload.toolpolicy is not known here: use "),
        "{}",
        stranger.text
    );
    assert_eq!(rig.fake.asked(), 0);
}

#[tokio::test]
async fn how_openclaw_is_started_is_not_for_submitters() {
    let rig = rig();
    for (name, why) in [
        ("command", "its host alone writes the command line, use message"),
        ("args", "its host alone writes the command line, use message"),
        ("cwd", "each run has a directory of its own, use inputs and outputs"),
        ("env", "its host alone decides what is in the environment"),
        ("openclawDir", "its host alone decides which OpenClaw runs"),
        ("config", "the owner of its host alone decides the configuration"),
        ("stateDir", "the owner of its host alone decides the configuration"),
        ("codeMode", "the owner of its host alone decides the configuration"),
        ("timeoutMs", "use timeoutSeconds"),
    ] {
        let text = format!("payload.{name} is not for openclaw-agent jobs: {why}");
        rig.post("/v1/jobs", payload(&json!({ name: [] }))).await.refused(400, &text);
    }
}

#[tokio::test]
async fn an_agents_work_is_not_repeated_unless_its_submitter_says_that_it_may_be() {
    let rig = rig();
    let run = |args: Value| json!({ "kind": "openclaw-run", "args": args });
    let mut idempotent = run(json!(["agent", "exec"]));
    idempotent["idempotent"] = json!(true);
    for (payload, once) in [
        (json!({ "kind": "openclaw-agent", "message": "x" }), true),
        (json!({ "kind": "openclaw-agent", "message": "x", "idempotent": false }), true),
        (json!({ "kind": "openclaw-agent", "message": "x", "idempotent": true }), false),
        (run(json!(["agent", "exec"])), true),
        (idempotent, false),
        (run(json!(["models", "agent"])), false),
        (run(json!(null)), false),
        (json!({ "kind": "shell", "command": "agent", "args": ["agent"] }), false),
    ] {
        let retried = json!({ "payload": payload, "maxAttempts": 1, "retry": 2 });
        rig.post("/v1/jobs", retried).await.ok();
        assert_eq!(submitted(&rig).once, once, "{payload}");
        let bounded = rig.post("/v1/jobs", json!({ "payload": payload, "maxAttempts": 2 })).await;
        if once {
            let text = "maxAttempts above 1 needs payload.idempotent: true for agent jobs";
            bounded.refused(400, text);
        } else {
            bounded.ok();
        }
    }
}

#[tokio::test]
async fn a_public_key_without_shell_may_submit_agents_without_tools_alone() {
    let rig = public_rig("plain:a:openclaw|gpu,full:b:openclaw:shell,other:c:gpu:shell");
    let path = "/v1/public/jobs";
    let none = payload(&json!({ "toolPolicy": "none" })).to_string();
    let any = payload(&json!({})).to_string();
    // The same under the name it had.
    let run =
        |args: Value| json!({ "payload": { "kind": "openclaw-run", "args": args } }).to_string();
    let (turn, version) = (run(json!(["agent", "exec", "x"])), run(json!(["--version"])));
    let session = payload(&json!({ "mode": "gateway", "sessionKey": "owners" })).to_string();
    let tools =
        "agent jobs with tools are not allowed for this api key: send payload.toolPolicy \"none\"";
    for (key, body, refusal) in [
        ("plain", &none, None),
        ("plain", &any, Some(tools)),
        ("full", &any, None),
        ("plain", &turn, Some(tools)),
        ("plain", &version, None),
        ("full", &turn, None),
        ("full", &session, Some("requested capabilities are not allowed for this api key")),
        ("other", &none, Some("requested capabilities are not allowed for this api key")),
    ] {
        let reply = rig.call("POST", path, &[("x-api-key", key)], body.clone()).await;
        match refusal {
            Some(text) => reply.refused(403, text),
            None => drop(reply.ok()),
        }
    }
    rig.call("POST", path, &[("x-api-key", "plain")], none).await.ok();
    assert_eq!(submitted(&rig).required, ["gpu", "openclaw", "openclaw.exec"]);
}

#[test]
fn a_payload_that_an_original_took_is_read_as_if_it_came_here() {
    let text = br#"{ "kind": "openclaw-agent", "message": "x", "model": "m" }"#;
    let read = check_payload(text).unwrap();
    assert_eq!(read.text, br#"{"kind":"openclaw-agent","message":"x","model":"m"}"#);
    assert_eq!((read.timeout_ms, read.once), (Some(670_000), true));
    assert_eq!(read.implied, ["openclaw.exec", "model:m"]);
    let refused = check_payload(br#"{"kind":"openclaw-agent","message":"x","env":{}}"#);
    assert!(refused.unwrap_err().starts_with("payload.env is not for openclaw-agent jobs"));
}
