//! Registration, heartbeats, claims.

use serde_json::{Value, json};
use skyclaw_protocol::limits::MAX_TEXT_BYTES;
use skyclaw_protocol::{Command, JobId, Milli};

use super::rig::rig;

#[tokio::test]
async fn h1_a_host_has_its_nine_members() {
    let rig = rig();
    let answer = rig.post("/v1/hosts/register", json!({ "name": " n ", "hostId": "h1" })).await;
    let host = &answer.ok()["host"];
    let names: Vec<_> = host.as_object().unwrap().keys().map(String::as_str).collect();
    let want = "id name capabilities maxParallel activeLeases lastSeenAt registeredAt updatedBy \
                version";
    assert_eq!(names, want.split_whitespace().collect::<Vec<_>>());
    assert_eq!(host["name"], "n");
    assert_eq!(host["maxParallel"], 1);
    assert_eq!(host["registeredAt"], "2026-01-02T03:04:05.678Z");
    assert!(answer.text.contains("\"maxParallel\": 1,"), "{}", answer.text);
}

#[tokio::test]
async fn h2_the_name_is_required_and_trimmed() {
    let rig = rig();
    for body in [json!({}), json!({ "name": "  " }), json!({ "name": null }), json!([]), json!(7)] {
        rig.post("/v1/hosts/register", body).await.refused(400, "name is required");
    }
    rig.post("/v1/hosts/register", json!({ "name": 7 }))
        .await
        .refused(400, "name must be a string, not a number");
    assert_eq!(rig.fake.asked(), 0);
}

#[tokio::test]
async fn h3_capabilities_are_trimmed_unique_and_sorted_by_code_unit() {
    let rig = rig();
    let sent = ["b", " a ", "", "b", "\u{ff5e}", "\u{1f600}", "B", " \u{feff}"];
    rig.post("/v1/hosts/register", json!({ "name": "n", "capabilities": sent })).await.ok();
    let Command::RegisterHost { capabilities, id, .. } = rig.fake.last() else { panic!() };
    // As UTF-8 the emoji would come last.
    assert_eq!(capabilities, ["B", "a", "b", "\u{1f600}", "\u{ff5e}"]);
    assert_eq!(id, None);
}

#[tokio::test]
async fn h4_a_blank_host_id_is_none_any_other_text_is_kept() {
    let rig = rig();
    for (sent, kept) in [(" ", None), (" a/ü b ", Some("a/ü b"))] {
        rig.post("/v1/hosts/register", json!({ "name": "n", "hostId": sent })).await.ok();
        let Command::RegisterHost { id, .. } = rig.fake.last() else { panic!() };
        assert_eq!(id.as_ref().map(|id| id.as_str()), kept);
    }
    let long = json!({ "name": "n", "hostId": "x".repeat(257) });
    let text = "hostId is not usable: an id must not be longer than 256 bytes";
    rig.post("/v1/hosts/register", long).await.refused(400, text);
}

/// H5-H8.
#[tokio::test]
async fn h5_f28_max_parallel_is_a_number_of_at_least_one() {
    let rig = rig();
    let cases = [(json!(null), 1000), (json!(0), 1000), (json!(-3), 1000), (json!(2.5), 2500)];
    for (sent, kept) in cases {
        rig.post("/v1/hosts/register", json!({ "name": "n", "maxParallel": sent })).await.ok();
        let Command::RegisterHost { max_parallel, .. } = rig.fake.last() else { panic!() };
        assert_eq!(max_parallel, Milli(kept));
    }
    let answer = rig.post("/v1/hosts/register", json!({ "name": "n", "maxParallel": 2.5 })).await;
    assert_eq!(answer.ok()["host"]["maxParallel"], 2.5);
    for (sent, text) in [
        (json!("x"), "maxParallel must be a number, not a string"),
        (json!([1]), "maxParallel must be a number, not an array"),
        (json!(1e9), "maxParallel must be at most 1000000"),
    ] {
        rig.post("/v1/hosts/register", json!({ "name": "n", "maxParallel": sent }))
            .await
            .refused(400, text);
    }
}

#[tokio::test]
async fn h6_capabilities_of_other_types_or_sizes_are_refused() {
    let rig = rig();
    let many: Vec<_> = (0..65).map(|n| n.to_string()).collect();
    for (sent, text) in [
        (json!("shell"), "capabilities must be an array of strings, not a string"),
        (json!(["a", 1]), "capabilities[1] must be a string, not a number"),
        (json!(many), "capabilities must not name more than 64 capabilities"),
        (json!(["x".repeat(257)]), "capabilities must not hold texts longer than 256 bytes"),
    ] {
        rig.post("/v1/hosts/register", json!({ "name": "n", "capabilities": sent }))
            .await
            .refused(400, text);
    }
}

/// H9-H11.
#[tokio::test]
async fn h9_a_heartbeat_takes_a_count_and_ignores_what_is_none() {
    let rig = rig();
    rig.host("h1").await;
    let cases = [
        (json!({ "activeLeases": 2 }), Some(Milli::whole(2))),
        (json!({ "activeLeases": 0.5 }), Some(Milli(500))),
        (json!({ "activeLeases": -1 }), None),
        (json!({ "activeLeases": "2" }), None),
        (json!({ "activeLeases": null }), None),
        (json!([]), None),
    ];
    for (body, want) in cases {
        rig.post("/v1/hosts/h1/heartbeat", body).await.ok();
        let Command::Heartbeat { active, running, .. } = rig.fake.last() else { panic!() };
        assert_eq!((active, running), (want, None));
    }
    rig.post("/v1/hosts/h1/heartbeat", "").await.ok();
}

#[tokio::test]
async fn a_heartbeat_may_name_the_jobs_it_runs() {
    let rig = rig();
    rig.host("h1").await;
    let job = JobId::new("job_1").unwrap();
    let cases = [
        (json!(["job_1"]), Some(vec![job])),
        (json!([]), Some(Vec::new())),
        (json!("job_1"), None),
        (json!(["job_1", 2]), None),
    ];
    for (leases, want) in cases {
        rig.post("/v1/hosts/h1/heartbeat", json!({ "leases": leases })).await.ok();
        let Command::Heartbeat { running, .. } = rig.fake.last() else { panic!() };
        assert_eq!(running, want);
    }
}

#[tokio::test]
async fn h12_an_unknown_host_is_named() {
    let rig = rig();
    for route in ["heartbeat", "claim", "services/claim"] {
        rig.post(&format!("/v1/hosts/no%20host/{route}"), "")
            .await
            .refused(404, "unknown host: no host");
    }
    assert_eq!(rig.metrics.refusals("unknown_host"), 3);
}

#[tokio::test]
async fn h13_ids_are_percent_decoded_or_refused() {
    let rig = rig();
    rig.host("a/ü b").await;
    rig.post("/v1/hosts/a%2F%C3%BC%20b/heartbeat", "").await.ok();
    for bad in ["%zz", "%", "%4", "%ff", "%C3", "a%C3%28"] {
        rig.post(&format!("/v1/hosts/{bad}/heartbeat"), "").await.refused(400, "URI malformed");
    }
    rig.post("/v1/hosts//heartbeat", "").await.refused(404, "not found");
    let text = "the host id in the path is not usable: an id must not hold control characters";
    rig.post("/v1/hosts/a%0Ab/heartbeat", "").await.refused(400, text);
}

/// L1 L8 L9.
#[tokio::test]
async fn l1_a_claim_ignores_its_body_and_answers_null_when_there_is_nothing() {
    let rig = rig();
    rig.host("h1").await;
    for body in ["", "{}", "[1]", "null", "no json"] {
        let answer = rig.post("/v1/hosts/h1/claim", body).await;
        assert_eq!(answer.ok(), json!({ "job": null }));
        assert_eq!(answer.header("x-skyclaw-claim-wait"), Some("1"));
    }
    assert_eq!(rig.post("/v1/hosts/h1/services/claim", "").await.ok(), json!({ "service": null }));
}

#[tokio::test]
async fn l2_a_claimed_job_shows_host_and_lease() {
    let rig = rig();
    rig.host("h1").await;
    rig.claimed("h1").await;
    let job = rig.get("/v1/jobs").await.ok()["jobs"][0].clone();
    assert_eq!((&job["status"], &job["attempts"]), (&json!("leased"), &json!(1)));
    assert_eq!(job["assignedHostId"], "h1");
    assert_eq!(job["leaseExpiresAt"].as_str().map(str::len), Some(24));
}

#[tokio::test]
async fn a_claim_says_how_long_it_may_be_parked() {
    let rig = rig();
    for (sent, want) in [
        (None, 0),
        (Some("abc"), 0),
        (Some("-5"), 0),
        (Some("1.5"), 0),
        (Some(""), 0),
        (Some(" 250 "), 250),
        (Some("999999"), 30_000),
        (Some("99999999999999999999"), 30_000),
    ] {
        let header: Vec<_> = sent.map(|ms| ("x-skyclaw-claim-wait-ms", ms)).into_iter().collect();
        let answer = rig.call("POST", "/v1/hosts/h1/claim", &header, "").await;
        assert_eq!(answer.header("x-skyclaw-claim-wait"), Some("1"), "also when refused");
        let Command::Claim { wait_ms, .. } = rig.fake.last() else { panic!() };
        assert_eq!(wait_ms, want, "{sent:?}");
    }
}

#[tokio::test]
async fn a_claim_names_what_its_host_has_no_room_for() {
    let rig = rig();
    rig.host("h1").await;
    let claim = "/v1/hosts/h1/claim";
    // The original looked at no body.
    for body in ["", "{}", "[]", "no json", "null", r#"{"without":null}"#] {
        rig.post(claim, body).await.ok();
        let Command::Claim { without, .. } = rig.fake.last() else { panic!() };
        assert!(without.is_empty(), "{body}");
    }
    rig.post(claim, json!({ "without": ["b", " a", "b", ""] })).await.ok();
    let Command::Claim { without, .. } = rig.fake.last() else { panic!() };
    assert_eq!(without, ["a", "b"]);
    for (sent, text) in [
        (json!("a"), "without must be an array of strings, not a string"),
        (json!([1]), "without[0] must be a string, not a number"),
    ] {
        rig.post(claim, json!({ "without": sent })).await.refused(400, text);
    }
}

#[tokio::test]
async fn what_a_host_says_of_its_openclaw_is_shown_as_far_as_it_is_usable() {
    let rig = rig();
    let cases = [
        (json!({ "version": "2026.9.6", "node": "24.21.0", "gateway": true }), true),
        (json!({ "gateway": false, "trouble": "its Node is too old" }), true),
        (json!({ "version": 7, "gateway": "yes" }), false),
        (json!({ "version": " " }), false),
        (json!([]), false),
        (json!("2026.9.6"), false),
        (json!(null), false),
    ];
    for (said, shown) in cases {
        let host = json!({ "name": "n", "hostId": "h1", "openclaw": said });
        let answer = rig.post("/v1/hosts/register", host).await.ok();
        assert_eq!(answer["host"].get("openclaw"), shown.then_some(&said), "{said}");
        let listed = rig.get("/v1/hosts/h1").await.ok();
        assert_eq!(listed["host"], answer["host"]);
    }
    let long = json!({ "trouble": "ü".repeat(4096), "more": 1 });
    let host = json!({ "name": "n", "openclaw": long });
    rig.post("/v1/hosts/register", host).await.ok();
    let Command::RegisterHost { openclaw: Some(install), .. } = rig.fake.last() else { panic!() };
    assert!(install.holds() && install.trouble.unwrap().len() == MAX_TEXT_BYTES);
}

#[tokio::test]
async fn f35_hosts_can_be_listed_read_and_removed() {
    let rig = rig();
    rig.host("h1").await;
    rig.host("h2").await;
    let ids = |list: &Value| -> Vec<String> {
        let list = list["hosts"].as_array().unwrap();
        list.iter().map(|host| host["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&rig.get("/v1/hosts").await.ok()), ["h1", "h2"]);
    assert_eq!(rig.get("/v1/hosts/h2").await.ok()["host"]["id"], "h2");
    assert_eq!(rig.call("DELETE", "/v1/hosts/h1", &[], "").await.ok(), json!({ "ok": true }));
    rig.get("/v1/hosts/h1").await.refused(404, "host not found");
    rig.call("DELETE", "/v1/hosts/h1", &[], "").await.refused(404, "unknown host: h1");
    assert_eq!(ids(&rig.get("/v1/hosts").await.ok()), ["h2"]);
}
