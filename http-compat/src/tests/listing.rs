//! Lists of jobs, and the whole state.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::rig::rig;

fn ids(list: &Value) -> Vec<&str> {
    list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn jobs_in_brief_are_without_what_may_be_long() {
    let rig = rig();
    let long = "x".repeat(1000);
    let payload = serde_json::json!({ "kind": "shell", "command": "echo", "args": ["hi", long] });
    rig.post("/v1/jobs", serde_json::json!({ "payload": payload })).await.ok();
    let job = rig.get("/v1/jobs?view=brief").await.ok()["jobs"][0].clone();
    let title = job["title"].as_str().unwrap();
    assert!(title.starts_with("echo hi xxx") && title.chars().count() == 161, "{title}");
    assert_eq!((&job["kind"], &job["payload"]), (&"shell".into(), &serde_json::Value::Null));
    assert!(rig.get("/v1/jobs?view=whole").await.ok()["jobs"][0]["payload"].is_object());
    rig.get("/v1/jobs?view=x").await.refused(400, "view must be brief or whole");
}

#[tokio::test]
async fn f35_pages_of_jobs_join_up() {
    let rig = rig();
    rig.fake.state().add_jobs(25);
    let all = rig.get("/v1/jobs").await.ok();
    assert_eq!(ids(&all).len(), 25);
    assert!(all.get("next").is_none());
    let mut seen = Vec::new();
    let mut path = "/v1/jobs?limit=10".to_owned();
    loop {
        let page = rig.get(&path).await.ok();
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/jobs?limit=10&cursor={next}");
    }
    assert_eq!(seen, ids(&all));
}

#[tokio::test]
async fn a_page_holds_a_hundred_jobs_unless_asked_otherwise() {
    let rig = rig();
    rig.fake.state().add_jobs(1001);
    assert_eq!(ids(&rig.get("/v1/jobs").await.ok()).len(), 100);
    assert_eq!(ids(&rig.get("/v1/jobs?limit=1000").await.ok()).len(), 1000);
}

#[tokio::test]
async fn jobs_are_listed_by_status() {
    let rig = rig();
    rig.host("h1").await;
    let job = rig.claimed("h1").await;
    rig.fake.state().add_jobs(2);
    assert_eq!(ids(&rig.get("/v1/jobs?status=leased").await.ok()), [job]);
    assert_eq!(ids(&rig.get("/v1/jobs?status=queued&x=y").await.ok()).len(), 2);
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let rig = rig();
    let limit = "limit must be a whole number from 1 to 1000";
    let cursor = "cursor must be the `next` of an earlier answer";
    let status = "status must be one of queued, leased, completed, failed";
    for (query, text) in [
        ("limit=0", limit),
        ("limit=1001", limit),
        ("limit=x", limit),
        ("limit=", limit),
        ("status=Queued", status),
        ("status=", status),
        ("cursor=", cursor),
        ("cursor=zz", cursor),
        ("cursor=0000000000000000", cursor),
        ("cursor=0000000000000000ff", cursor),
        ("cursor=00000000000000006", cursor),
        ("cursor=%C3%BC000000000000000", cursor),
    ] {
        rig.get(&format!("/v1/jobs?{query}")).await.refused(400, text);
    }
}

#[tokio::test]
async fn j9_the_state_holds_everything_and_ignores_queries() {
    let rig = rig();
    rig.host("h2").await;
    rig.host("h1").await;
    rig.fake.state().add_jobs(2);
    rig.post("/v1/services", json!({ "name": "w", "command": "c", "serviceId": "s1" })).await.ok();
    let state = rig.get("/v1/state?limit=1").await.ok();
    let names: Vec<_> = state.as_object().unwrap().keys().collect();
    assert_eq!(names, ["nodeId", "hosts", "jobs", "services"]);
    assert_eq!((&state["hosts"][0]["id"], &state["hosts"][1]["id"]), (&json!("h2"), &json!("h1")));
    assert_eq!((ids(&state).len(), &state["services"][0]["id"]), (2, &json!("s1")));
}

#[tokio::test]
async fn a_state_of_ten_thousand_jobs_is_no_problem() {
    let rig = rig();
    rig.fake.state().add_jobs(10_000);
    let started = Instant::now();
    let state = rig.get("/v1/state").await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(ids(&state.ok()).len(), 10_000);
}
