//! What a submitter asks of how a run is kept apart.

use serde_json::{Value, json};
use skyclaw_protocol::egress::NetworkAsk;
use skyclaw_protocol::{Command, ServiceDef};

use super::rig::{Rig, public_rig, rig};

fn job(network: &Value, sandbox: &Value) -> Value {
    let mut body = json!({ "payload": { "kind": "shell", "command": "sh" } });
    if !network.is_null() {
        body["payload"]["network"] = network.clone();
    }
    if !sandbox.is_null() {
        body["requirement"] = json!({ "sandbox": sandbox, "requiredCapabilities": ["shell"] });
    }
    body
}

fn required(rig: &Rig) -> Vec<String> {
    let Command::Submit(job) = rig.fake.last() else { panic!() };
    job.required
}

#[tokio::test]
async fn what_is_asked_for_is_asked_of_hosts_as_a_capability() {
    let rig = rig();
    let none: [&str; 0] = [];
    for (network, sandbox, wanted) in [
        (Value::Null, Value::Null, &none[..]),
        (json!("any"), Value::Null, &none),
        (json!("none"), Value::Null, &["sandbox:basic"]),
        (json!(["a.org", "*.b.org:8443"]), Value::Null, &["sandbox:isolated"]),
        (Value::Null, json!("landlock"), &["sandbox:landlock", "shell"]),
        (json!("none"), json!("isolated"), &["sandbox:basic", "sandbox:isolated", "shell"]),
        (Value::Null, json!("none"), &["shell"]),
    ] {
        let body = job(&network, &sandbox);
        let answer = rig.post("/v1/jobs", &body).await.ok();
        assert_eq!(required(&rig), wanted, "{body}");
        assert_eq!(answer["job"]["payload"], body["payload"], "kept verbatim");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_told() {
    let rig = rig();
    let words = "must be \"none\", \"any\" or a list of host names";
    let many = vec!["a.org"; 65];
    for (network, sandbox, text) in [
        (json!("all"), Value::Null, format!("payload.network {words}")),
        (json!([]), Value::Null, "payload.network must name a host, or be \"none\"".to_owned()),
        (json!(7), Value::Null, "payload.network must be a word or an array of hosts, not a number".into()),
        (json!(["a.org", 7]), Value::Null, "payload.network[1] must be a string, not a number".into()),
        (
            json!(["http://a.org/"]),
            Value::Null,
            "payload.network names \"http://a.org/\", which cannot be used: a name has letters, digits, - and _ of \
             ASCII between its dots; other scripts are written as xn--..., a scheme or a path does not belong to it"
                .into(),
        ),
        (
            json!(many),
            Value::Null,
            "payload.network must not name more than 64 hosts, or more than 8192 bytes of them".into(),
        ),
        (
            Value::Null,
            json!("steel"),
            "requirement.sandbox must be one of none, basic, landlock, isolated".into(),
        ),
        (Value::Null, json!(3), "requirement.sandbox must be a string, not a number".into()),
    ] {
        rig.post("/v1/jobs", job(&network, &sandbox)).await.refused(400, &text);
    }
    for (kind, why) in [
        (
            "openclaw-run",
            "is for shell jobs: what OpenClaw reaches, the owner of its host alone decides",
        ),
        (
            "openclaw-agent",
            "is not for openclaw-agent jobs: the owner of its host alone decides what agents reach",
        ),
    ] {
        let body = json!({ "payload": { "kind": kind, "message": "m", "network": "any" } });
        rig.post("/v1/jobs", body).await.refused(400, &format!("payload.network {why}"));
    }
}

#[tokio::test]
async fn keys_of_the_public_api_may_ask_for_more_protection() {
    let rig = public_rig("k1:acme:shell:shell");
    let key = [("x-api-key", "k1")];
    let mut body = job(&json!(["a.org"]), &Value::Null);
    rig.call("POST", "/v1/public/jobs", &key, body.to_string()).await.ok();
    assert_eq!(required(&rig), ["sandbox:isolated", "shell"]);
    body = job(&Value::Null, &json!("landlock"));
    rig.call("POST", "/v1/public/jobs", &key, body.to_string()).await.ok();
    assert_eq!(required(&rig), ["sandbox:landlock", "shell"]);
}

#[tokio::test]
async fn services_ask_in_the_same_words() {
    let rig = rig();
    let body = json!({ "serviceId": "s1", "name": "s1", "command": "node",
        "network": "none", "sandbox": "landlock" });
    let service = rig.post("/v1/services", &body).await.ok()["service"].clone();
    assert_eq!(service["network"], "none");
    let def: ServiceDef = rig.fake.state().services.last().expect("one is there").def.clone();
    assert_eq!(def.network, Some(NetworkAsk::None));
    assert_eq!(def.required, ["sandbox:basic", "sandbox:landlock", "service-host"]);
    let change = |body: Value| rig.call("PATCH", "/v1/services/s1", &[], body.to_string());
    let service = change(json!({ "network": "any" })).await.ok()["service"].clone();
    assert_eq!(service["network"], "any");
    let service = change(json!({ "network": null })).await.ok()["service"].clone();
    assert!(service.get("network").is_none(), "{service}");
    let text = "network must be \"none\", \"any\" or a list of host names";
    change(json!({ "network": "web" })).await.refused(400, text);
    let text = "network must be \"none\" or \"any\": a list of hosts is for jobs";
    change(json!({ "network": ["a.org"] })).await.refused(400, text);
    let mut body = body;
    body["sandbox"] = json!("lead");
    let text = "sandbox must be one of none, basic, landlock, isolated";
    rig.post("/v1/services", &body).await.refused(400, text);
}

#[tokio::test]
async fn a_host_is_shown_with_its_level_once_it_says_one() {
    let rig = rig();
    let body = json!({ "hostId": "h1", "name": "h1",
        "capabilities": ["shell", "sandbox:basic", "sandbox:landlock"] });
    let host = rig.post("/v1/hosts/register", body).await.ok()["host"].clone();
    assert_eq!(host["sandbox"], "landlock");
    let body = json!({ "hostId": "h2", "name": "h2", "capabilities": ["shell"] });
    let host = rig.post("/v1/hosts/register", body).await.ok()["host"].clone();
    assert!(host.get("sandbox").is_none(), "{host}");
}
