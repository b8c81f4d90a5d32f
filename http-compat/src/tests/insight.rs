//! Why a job stands where it does, and how the node stands: shape, and who is told what.

use serde_json::{Value, json};
use skyclaw_protocol::principal::Scope;

use super::principals::key;
use super::rig::rig;

#[tokio::test]
async fn the_reason_is_told_in_the_words_of_the_command() {
    let rig = rig();
    rig.host("h").await;
    let body = json!({ "payload": { "kind": "shell", "command": "echo" },
        "requirement": { "requiredCapabilities": ["gpu"] } });
    let made = rig.post("/v1/jobs", body).await.ok();
    let id = made["job"]["id"].as_str().unwrap();
    let why = rig.get(&format!("/v1/jobs/{id}/why")).await.ok()["why"].clone();
    assert_eq!((&why["id"], &why["because"]), (&json!(id), &json!("no host has gpu")));
    assert_eq!(why["hosts"][0]["missing"], json!(["gpu"]));
    assert!(why["hosts"][0]["words"].as_str().unwrap().starts_with("has no gpu"), "{why}");
    assert!(why["then"].is_string());
    assert_eq!(why["history"], Value::Null, "this node knows no more");
    rig.get("/v1/jobs/none/why").await.refused(404, "job not found");
}

#[tokio::test]
async fn whoever_may_not_see_hosts_is_told_the_reason_without_them() {
    let rig = rig();
    rig.host("h").await;
    let key = key(&rig, "ci", &[Scope::Submit]);
    let headers = [("x-skyclaw-token", key.as_str())];
    let body = json!({ "payload": { "kind": "shell", "command": "echo" },
        "requirement": { "requiredCapabilities": ["gpu"] } });
    let made = rig.call("POST", "/v1/jobs", &headers, body.to_string()).await.ok();
    let theirs = rig.post("/v1/jobs", body).await.ok();
    let path = |made: &Value| format!("/v1/jobs/{}/why", made["job"]["id"].as_str().unwrap());
    let why = rig.call("GET", &path(&made), &headers, "").await.ok()["why"].clone();
    assert_eq!(why["because"], "no host has gpu");
    assert_eq!((&why["hosts"], &why["then"]), (&json!([]), &Value::Null));
    rig.call("GET", &path(&theirs), &headers, "").await.refused(404, "job not found");
    assert_eq!(rig.call("GET", "/v1/status", &headers, "").await.status, 403);
}

#[tokio::test]
async fn an_owner_is_told_why_a_service_lacks_instances_and_nobody_else_is() {
    let rig = rig();
    rig.host("h").await;
    let [own, other] = [key(&rig, "ci", &[Scope::Deploy]), key(&rig, "else", &[Scope::Deploy])];
    let body = json!({ "serviceId": "s", "name": "s", "command": "sh" }).to_string();
    rig.call("POST", "/v1/services", &[("x-skyclaw-token", own.as_str())], body).await.ok();
    for path in ["/v1/services/s/why", "/v1/services/s/routes/why"] {
        let told = rig.call("GET", path, &[("x-skyclaw-token", own.as_str())], "").await.ok();
        let why = &told["why"];
        assert!(why["because"].is_string() && why["status"].is_string(), "{told}");
        let kept = [&why["hosts"], &why["rules"], &why["then"], &why["gateways"]];
        assert!(kept.iter().all(|part| part.is_null()), "{told}");
        let headers = [("x-skyclaw-token", other.as_str())];
        rig.call("GET", path, &headers, "").await.refused(404, "service not found");
        assert!(rig.get(path).await.ok()["why"]["instances"].is_array());
    }
    let headers = [("x-skyclaw-token", own.as_str())];
    assert_eq!(rig.call("GET", "/v1/hosts/h/why", &headers, "").await.status, 403);
    let why = rig.get("/v1/hosts/h/why").await.ok()["why"].clone();
    assert_eq!((&why["kind"], &why["id"]), (&json!("host"), &json!("h")));
}

#[tokio::test]
async fn the_status_says_what_hinders_the_node() {
    let rig = rig();
    let status = rig.get("/v1/status").await.ok();
    assert_eq!((&status["ready"], &status["reasons"]), (&json!(true), &json!([])));
    assert_eq!(status["keepers"], Value::Null);
    rig.fake.state().not_ready = vec!["no store".to_owned()];
    let status = rig.get("/v1/status?keepers=1").await.ok();
    assert_eq!((&status["ready"], &status["reasons"]), (&json!(false), &json!(["no store"])));
    assert_eq!(status["keepers"], json!({ "newestJobs": 0, "groups": [] }));
}
