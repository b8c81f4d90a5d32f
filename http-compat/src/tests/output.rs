//! What jobs write, as events.

use serde_json::json;
use skyclaw_protocol::{HostId, JobStatus};

use super::rig::{public_rig, rig};
use crate::backend::{JobOutput, OutputPlace, OutputQuery, OutputStream};

fn pieces() -> Vec<JobOutput> {
    let text = |stream, offset, text: &str| JobOutput::Text { stream, offset, text: text.into() };
    vec![
        JobOutput::Attempt { attempt: 2, host: HostId::new("h").ok() },
        text(OutputStream::Stdout, 7, "a \"é\"\u{1b}\n"),
        text(OutputStream::Stderr, 0, "x"),
        JobOutput::Note("h is away".into()),
        JobOutput::Attempt { attempt: 3, host: None },
        text(OutputStream::Stdout, 0, "b"),
        JobOutput::Ended(JobStatus::Completed),
    ]
}

const SHOWN: &str = concat!(
    ": output\n\n",
    "event: attempt\ndata: {\"attempt\":2,\"host\":\"h\"}\n\n",
    "id: 2.15.0\n",
    r#"data: {"stream":"stdout","offset":7,"text":"a \"é\"\u001b\n"}"#,
    "\n\nid: 2.15.1\n",
    r#"data: {"stream":"stderr","offset":0,"text":"x"}"#,
    "\n\nevent: note\ndata: {\"message\":\"h is away\"}\n\n",
    "event: attempt\ndata: {\"attempt\":3,\"host\":null}\n\n",
    "id: 3.1.0\n",
    r#"data: {"stream":"stdout","offset":0,"text":"b"}"#,
    "\n\nevent: end\ndata: {\"status\":\"completed\"}\n\n",
);

#[tokio::test]
async fn each_piece_is_an_event_whose_id_says_where_the_reader_is_then() {
    let rig = rig();
    rig.get("/v1/jobs/none/logs").await.refused(404, "job not found");
    rig.host("h").await;
    let id = rig.claimed("h").await;
    rig.fake.state().output = pieces();
    let path = format!("/v1/jobs/{id}/logs");
    let asked = format!("{path}?follow=1&attempt=2&stdout=7");
    let reply = rig.get(&asked).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!((reply.status, reply.text.as_str()), (200, SHOWN));
    let at = |attempt, stdout, stderr| OutputPlace { attempt, stdout, stderr };
    let query = |from, follow| Some(OutputQuery { from, follow });
    assert_eq!(rig.fake.state().output_query, query(at(2, 7, 0), true));
    rig.call("GET", &path, &[("last-event-id", "3.1.0")], "").await.text.clear();
    assert_eq!(rig.fake.state().output_query, query(at(3, 1, 0), false));
    rig.get(&format!("{path}?stdout=x")).await.refused(400, "stdout must be a whole number");
}

#[tokio::test]
async fn customers_read_and_cancel_what_is_their_labels() {
    let rig = public_rig("k1:acme:shell:shell, k2:acme, k3:zeta");
    let body = json!({ "payload": { "kind": "shell", "command": "true" } }).to_string();
    let made = rig.call("POST", "/v1/public/jobs", &[("x-api-key", "k1")], body).await.ok();
    let id = made["job"]["id"].as_str().unwrap().to_owned();
    rig.fake.state().output = pieces();
    let ask = async |method: &str, key: &str, what: &str| {
        let path = format!("/v1/public/jobs/{id}/{what}");
        rig.call(method, &path, &[("x-api-key", key)], "").await
    };
    for (method, what) in [("GET", "logs"), ("POST", "cancel")] {
        ask(method, "k3", what).await.refused(404, "job not found");
        ask(method, "k4", what).await.refused(401, "invalid api key");
    }
    assert_eq!(ask("GET", "k2", "logs").await.text, SHOWN);
    let cancelled = ask("POST", "k2", "cancel").await.ok()["job"].clone();
    assert_eq!((&cancelled["id"], cancelled.get("submittedBy")), (&json!(id), None));
}
