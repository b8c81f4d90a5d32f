//! What followers of a node are told.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use skyclaw_protocol::batch::Shown;
use skyclaw_protocol::principal::Scope;
use skyclaw_protocol::{HostId, JobId, ServiceId};
use tower::ServiceExt;

use super::principals::key;
use super::rig::{Rig, rig};
use crate::backend::Change;
use crate::followers::FOLLOWERS;

fn job(id: &str) -> Change {
    Change::Of(Shown::Job(JobId::new(id).unwrap()))
}

fn host(id: &str) -> Change {
    Change::Of(Shown::Host(HostId::new(id).unwrap()))
}

fn service(id: &str) -> Change {
    Change::Of(Shown::Service(ServiceId::new(id).unwrap()))
}

async fn submit(rig: &Rig, headers: &[(&str, &str)], command: &str) -> String {
    let body = json!({ "payload": { "kind": "shell", "command": command, "args": ["a b"] } });
    let made = rig.call("POST", "/v1/jobs", headers, body.to_string()).await.ok();
    made["job"]["id"].as_str().unwrap().to_owned()
}

/// Name and data of each event.
fn events(text: &str) -> Vec<(String, Value)> {
    let events = text.split("\n\n").filter_map(|event| {
        let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    });
    events.collect()
}

#[tokio::test]
async fn each_record_that_changed_is_told_once_as_it_stands() {
    let rig = rig();
    let id = submit(&rig, &[], "echo").await;
    rig.host("h").await;
    let def = json!({ "name": "w", "command": "c", "serviceId": "s1", "env": { "KEY": "canary" } });
    rig.post("/v1/services", def).await.ok();
    rig.fake.state().changes =
        vec![job(&id), job(&id), service("s1"), host("h"), job("zzz"), host("h")];
    let reply = rig.get("/v1/events").await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let told = events(&reply.text);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["hello", "job", "gone", "service", "host"]);
    let brief = &told[1].1;
    assert_eq!((&brief["id"], &brief["status"]), (&json!(id), &json!("queued")));
    assert_eq!((&brief["title"], &brief["payload"]), (&json!("echo a b"), &Value::Null));
    assert_eq!(told[2].1, json!({ "kind": "job", "id": "zzz" }));
    assert!(!reply.text.contains("canary"), "values of environments are told to nobody");
}

#[tokio::test]
async fn a_follower_hears_of_the_kinds_it_asked_for() {
    let rig = rig();
    let id = submit(&rig, &[], "echo").await;
    rig.host("h").await;
    rig.fake.state().changes = vec![job(&id), host("h")];
    let told = events(&rig.get("/v1/events?kinds=host").await.text);
    assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["hello", "host"]);
    let text = "kinds must be some of job, service, host, with commas between";
    rig.get("/v1/events?kinds=jobs").await.refused(400, text);
}

#[tokio::test]
async fn who_cannot_be_told_all_is_told_to_read_again() {
    let rig = rig();
    let id = submit(&rig, &[], "echo").await;
    rig.fake.state().changes = vec![job(&id), Change::Missed];
    let told = events(&rig.get("/v1/events").await.text);
    assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["hello", "missed"]);
    rig.fake.state().changes = (0..600).map(|n| job(&format!("job_{n}"))).collect();
    let told = events(&rig.get("/v1/events").await.text);
    assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["hello", "missed"]);
}

#[tokio::test]
async fn principals_are_told_of_what_they_may_see() {
    let rig = rig();
    let theirs = submit(&rig, &[], "secret").await;
    let key = key(&rig, "ci", &[Scope::Submit]);
    let headers = [("x-skyclaw-token", key.as_str())];
    let own = submit(&rig, &headers, "echo").await;
    rig.host("h").await;
    rig.fake.state().changes = vec![job(&theirs), job(&own), job("zzz"), host("h")];
    let reply = rig.call("GET", "/v1/events", &headers, "").await;
    let told = events(&reply.text);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].1["id"], json!(own));
}

#[tokio::test]
async fn followers_beyond_the_bound_are_refused_until_one_goes() {
    let rig = rig();
    let follow = async || {
        let request = Request::get("/v1/events").body(Body::empty()).unwrap();
        rig.router.clone().oneshot(request).await.unwrap()
    };
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        let mut response = follow().await;
        let hello = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(hello.starts_with(b"event: hello\n"));
        followers.push(response);
    }
    assert_eq!(follow().await.status(), 503);
    followers.pop();
    assert_eq!(follow().await.status(), 200);
}
