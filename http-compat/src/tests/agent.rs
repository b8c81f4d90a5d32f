//! Jobs of kind `openclaw-agent`, and how their runs are told of.

use serde_json::{Value, json};
use skyclaw_protocol::Command;
use skyclaw_protocol::limits::{MAX_AGENT_BYTES, MAX_AGENT_DEPTH};

use super::rig::{Rig, rig};

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
