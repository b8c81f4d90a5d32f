//! Logs of services as events.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use http_body_util::BodyExt;
use serde_json::json;
use skyclaw_protocol::clock::Wall;

use super::fake::START;
use super::rig::rig;
use crate::backend::{LogLine, LogPiece, LogQuery};

fn line(text: &str) -> LogPiece {
    LogPiece::Line(LogLine {
        at: Wall(START),
        stream: "stderr".into(),
        line: text.into(),
        replica: 1,
        host: "h".into(),
        epoch: 7,
        number: Some(41),
    })
}

#[tokio::test]
async fn lines_are_events_and_what_else_is_to_be_known_is_a_note() {
    let rig = rig();
    rig.get("/v1/services/s1/logs").await.refused(404, "service not found");
    let service = json!({ "name": "w", "command": "c", "serviceId": "s1" });
    rig.post("/v1/services", service).await.ok();
    rig.fake.state().log = vec![line("a \"b\"\u{1b}"), LogPiece::Note("h2 is away".into())];
    let reply = rig.get("/v1/services/s1/logs?tail=5&replica=1&follow=0").await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let want = concat!(
        ": log\n\n",
        r#"data: {"at":"2026-01-02T03:04:05.678Z","stream":"stderr","line":"a \"b\"\u001b","#,
        r#""replica":1,"host":"h","epoch":7,"number":41}"#,
        "\n\nevent: note\ndata: {\"message\":\"h2 is away\"}\n\n",
    );
    assert_eq!(reply.text, want);
    let asked = |tail, follow, replica| LogQuery { tail, follow, replica };
    assert_eq!(rig.fake.state().log_query, Some(asked(5, false, Some(1))));
    rig.get("/v1/services/s1/logs").await;
    assert_eq!(rig.fake.state().log_query, Some(asked(100, false, None)));
    for (query, text) in [
        ("tail=x", "tail must be a whole number"),
        ("replica=-1", "replica must be a whole number"),
        ("follow=maybe", "follow must be 1 or 0"),
    ] {
        rig.get(&format!("/v1/services/s1/logs?{query}")).await.refused(400, text);
    }
}

#[tokio::test]
async fn a_silent_log_shows_that_the_node_is_there() {
    let (speak, spoken) = tokio::sync::oneshot::channel();
    let pieces = stream::once(async { spoken.await.unwrap() });
    let mut body = crate::routes::logs::body(pieces.boxed(), Duration::from_millis(10));
    let mut next = async || {
        let frame = body.frame().await?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    };
    for sign in [": log\n\n", ": quiet\n\n", ": quiet\n\n"] {
        assert_eq!(next().await.unwrap(), sign);
    }
    speak.send(line("late")).unwrap();
    while !next().await.unwrap().contains("late") {}
    assert_eq!(next().await, None);
}
