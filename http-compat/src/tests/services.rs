//! Services.

use serde_json::json;
use skyclaw_protocol::Command;

use super::rig::rig;

#[tokio::test]
async fn s1_a_service_has_its_members_and_defaults() {
    let rig = rig();
    let body = json!({ "name": " web ", "command": " node ", "serviceId": " s1 " });
    let service = rig.post("/v1/services", body).await.ok()["service"].clone();
    let names: Vec<_> = service.as_object().unwrap().keys().map(String::as_str).collect();
    let want = "id name command args replicas requiredCapabilities status createdAt updatedAt \
                updatedBy version assignments";
    assert_eq!(names, want.split_whitespace().collect::<Vec<_>>());
    assert_eq!((&service["id"], &service["name"]), (&json!("s1"), &json!("web")));
    assert_eq!((&service["command"], &service["replicas"]), (&json!("node"), &json!(1)));
    assert_eq!(service["requiredCapabilities"], json!(["service-host"]));
    assert_eq!((&service["args"], &service["assignments"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn s2_what_was_given_is_kept_in_order() {
    let rig = rig();
    let body = r#"{"name":"w","command":"c","args":["b","a"],"cwd":"/x","env":{"Z":"1","A":"2"},
                   "replicas":3,"requiredCapabilities":[]}"#;
    let service = rig.post("/v1/services", body).await.ok()["service"].clone();
    // Its values can be written and not read, but by who is to run it.
    assert_eq!(service["env"].to_string(), r#"{"Z":"***","A":"***"}"#);
    let read = rig.get("/v1/services").await.ok();
    assert_eq!(read["services"][0]["env"], service["env"]);
    assert_eq!(rig.get("/v1/state").await.ok()["services"][0]["env"], service["env"]);
    rig.host("h").await;
    let claimed = rig.post("/v1/hosts/h/services/claim", "").await.ok();
    assert_eq!(claimed["service"]["env"].to_string(), r#"{"Z":"1","A":"2"}"#);
    assert_eq!((&service["cwd"], &service["replicas"]), (&json!("/x"), &json!(3)));
    assert_eq!(
        (&service["args"], &service["requiredCapabilities"]),
        (&json!(["b", "a"]), &json!([]))
    );
}

#[tokio::test]
async fn s3_name_then_command_are_required() {
    let rig = rig();
    rig.post("/v1/services", "{}").await.refused(400, "name is required");
    let only = json!({ "name": "w", "command": " " });
    rig.post("/v1/services", only).await.refused(400, "command is required");
}

/// S4 S5.
#[tokio::test]
async fn s4_f28_fields_are_checked() {
    let rig = rig();
    for (extra, text) in [
        (json!({ "replicas": 1.5 }), "replicas must be a whole number, not 1.5"),
        (json!({ "replicas": "2" }), "replicas must be a number, not a string"),
        (json!({ "replicas": 1001 }), "replicas must be at most 1000"),
        (json!({ "args": [1] }), "args[0] must be a string, not a number"),
        (json!({ "env": { "A": null } }), "env.A must be a string, not null"),
        (json!({ "cwd": [] }), "cwd must be a string, not an array"),
        (json!({ "args": ["\0"] }), "args must not hold NUL characters"),
        (json!({ "serviceId": 1 }), "serviceId must be a string, not a number"),
        (
            json!({ "serviceId": "a\nb" }),
            "serviceId is not usable: an id must not hold control \
                                          characters",
        ),
    ] {
        let mut body = json!({ "name": "w", "command": "c" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        rig.post("/v1/services", body).await.refused(400, text);
    }
    let large = json!({ "name": "w", "command": "c", "args": ["x".repeat(65536)] });
    rig.post("/v1/services", large).await.refused(
        413,
        "the service (command, args, cwd and env) must not be larger than 65536 bytes",
    );
    for replicas in [0, -7] {
        let body = json!({ "name": "w", "command": "c", "replicas": replicas });
        assert_eq!(rig.post("/v1/services", body).await.ok()["service"]["replicas"], 1);
    }
}

#[tokio::test]
async fn s6_services_can_be_listed_read_and_f35_removed() {
    let rig = rig();
    rig.post("/v1/services", json!({ "name": "w", "command": "c", "serviceId": "s1" })).await.ok();
    assert_eq!(rig.get("/v1/services").await.ok()["services"][0]["id"], "s1");
    assert_eq!(rig.get("/v1/services/s1").await.ok()["service"]["id"], "s1");
    rig.get("/v1/services/s2").await.refused(404, "service not found");
    assert_eq!(rig.call("DELETE", "/v1/services/s1", &[], "").await.ok(), json!({ "ok": true }));
    rig.call("DELETE", "/v1/services/s1", &[], "").await.refused(404, "unknown service: s1");
}

/// S13 S14.
#[tokio::test]
async fn s13_a_report_shows_in_the_assignment() {
    let rig = rig();
    rig.host("h1").await;
    rig.post("/v1/services", json!({ "name": "w", "command": "c", "serviceId": "s1" })).await.ok();
    let claimed = rig.post("/v1/hosts/h1/services/claim", "{}").await.ok()["service"].clone();
    let part = claimed["assignments"][0].as_object().unwrap().clone();
    assert_eq!(part.keys().collect::<Vec<_>>(), ["hostId", "status", "updatedAt"]);
    let body = json!({ "hostId": "h1", "status": "running", "endpoint": "http://h:1" });
    let part =
        rig.post("/v1/services/s1/report", body).await.ok()["service"]["assignments"][0].clone();
    assert_eq!((&part["status"], &part["endpoint"]), (&json!("running"), &json!("http://h:1")));
    assert!(part["startedAt"].is_string() && part.get("error").is_none());
}

#[tokio::test]
async fn s15_refused_reports_say_why() {
    let rig = rig();
    rig.post("/v1/services", json!({ "name": "w", "command": "c", "serviceId": "s1" })).await.ok();
    let run = json!({ "status": "running" });
    rig.post("/v1/services/s2/report", &run).await.refused(404, "unknown service: s2");
    rig.post("/v1/services/s1/report", &run)
        .await
        .refused(409, "service s1 is not assigned to host undefined");
    rig.post("/v1/services/s1/report", json!({ "status": "running", "hostId": "h9" }))
        .await
        .refused(409, "service s1 is not assigned to host h9");
}

#[tokio::test]
async fn f28_only_known_statuses_are_reported() {
    let rig = rig();
    for status in [json!("banana"), json!("Running"), json!(null)] {
        rig.post("/v1/services/s1/report", json!({ "hostId": "h1", "status": status }))
            .await
            .refused(400, "status must be one of pending, running, failed");
    }
    let long = json!({ "hostId": "h", "status": "failed", "error": "e".repeat(9000) });
    rig.post("/v1/services/s1/report", long).await.refused(404, "unknown service: s1");
    let Command::ReportService(report) = rig.fake.last() else { panic!() };
    assert_eq!(report.error.unwrap().len(), 4096);
}
