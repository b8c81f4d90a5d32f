//! What hosts are told to run.

use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_protocol::egress::NetworkAsk;
use skyclaw_protocol::orders::{Order, Orders, Over};
use skyclaw_protocol::{
    Command, Hash, HealthCheck, OnPartition, ServiceDef, ServiceId, ServiceStatus,
};

use super::rig::rig;

const ROUTE: &str = "/v1/hosts/h/services/orders";

fn id(text: &str) -> ServiceId {
    ServiceId::new(text).unwrap()
}

fn orders() -> Orders {
    let def = ServiceDef {
        name: "api".into(),
        command: "node".into(),
        args: vec!["server.js".into()],
        cwd: Some("app".into()),
        env: Some(vec![("Z".into(), "1".into()), ("A".into(), "2".into())]),
        replicas: 2,
        required: vec!["service-host".into()],
        bundle: Some(Hash([0xab; 32])),
        health: Some(HealthCheck { path: "/health".into(), interval_ms: 500 }),
        backoff_ms: Some(250),
        on_partition: OnPartition::Stop,
        network: Some(NetworkAsk::Any),
    };
    Orders {
        orders: vec![Order { id: id("s1"), ver: 7, slot: 1, epoch: 4, generation: 3, def }],
        over: vec![Over { id: id("s2"), ver: 9 }],
    }
}

#[tokio::test]
async fn a_host_is_told_its_instances_what_is_over_and_the_mark_of_the_answer() {
    let rig = rig();
    rig.host("h").await;
    rig.fake.state().orders = orders();
    let told = rig.post(ROUTE, json!({})).await.ok();
    let want = json!({
        "serviceId": "s1", "ver": 7, "slot": 1, "epoch": 4, "generation": 3,
        "name": "api", "command": "node", "args": ["server.js"], "cwd": "app",
        "env": { "Z": "1", "A": "2" }, "replicas": 2, "requiredCapabilities": ["service-host"],
        "bundle": "ab".repeat(32), "health": { "path": "/health", "intervalMs": 500 },
        "restart": { "backoffMs": 250 }, "onPartition": "stop", "network": "any",
    });
    assert_eq!(told["orders"], json!([want]));
    assert_eq!(told["orders"][0]["env"].to_string(), r#"{"Z":"1","A":"2"}"#);
    assert_eq!(told["over"], json!([{ "id": "s2", "ver": 9 }]));
    let mark = told["mark"].as_str().unwrap().to_owned();
    assert_eq!(mark.len(), 64);
    let asked = json!({ "running": ["s1", "s2"], "mark": mark, "waitMs": 900_000 });
    rig.post(ROUTE, asked).await.ok();
    let state = rig.fake.state();
    let (host, running, mark, wait) = state.questions.last().unwrap();
    assert_eq!((host.as_str(), running), ("h", &vec![id("s1"), id("s2")]));
    // No question is held longer than a claim is.
    assert_eq!((*mark, *wait), (Some(orders().mark()), Duration::from_secs(30)));
}

#[tokio::test]
async fn a_question_is_checked_and_a_host_that_is_unknown_is_told_so() {
    let rig = rig();
    rig.post(ROUTE, json!({})).await.refused(404, "unknown host: h");
    rig.host("h").await;
    for (body, text) in [
        (json!({ "mark": "ab" }), "mark must be 64 hexadecimal digits"),
        (json!({ "running": ["\n"] }), "running holds an id that is not usable"),
        (json!({ "running": vec!["s"; 1025] }), "running must not name more than 1024 services"),
        (json!({ "waitMs": "1" }), "waitMs must be a number, not a string"),
    ] {
        let reply = rig.post(ROUTE, body).await;
        let said = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(reply.status == 400 && said.starts_with(text), "{said}");
    }
}

#[tokio::test]
async fn a_report_names_its_instance_or_none() {
    let rig = rig();
    let service = json!({ "name": "w", "command": "c", "serviceId": "s1" });
    rig.post("/v1/services", service).await.ok();
    rig.host("h").await;
    rig.post("/v1/hosts/h/services/claim", json!({})).await.ok();
    for (epoch, want) in [(json!(12), Some(12)), (Value::Null, None)] {
        let report = json!({ "hostId": "h", "status": "running", "epoch": epoch });
        rig.post("/v1/services/s1/report", report).await.ok();
        let Command::ReportService(report) = rig.fake.last() else { panic!("no report") };
        assert_eq!((report.epoch, report.status), (want, ServiceStatus::Running));
    }
    for (epoch, text) in [
        (json!(-1), "epoch must not be negative"),
        (json!(1.5), "epoch must be a whole number, not 1.5"),
    ] {
        let report = json!({ "hostId": "h", "status": "running", "epoch": epoch });
        rig.post("/v1/services/s1/report", report).await.refused(400, text);
    }
}
