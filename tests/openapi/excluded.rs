//! Operations that are not fuzzed, as `schemathesis.toml` says: each is called once here, and its answer is held
//! against the description. One more that is left alone there must be called here too.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{Node, Python, Response, Setup};

use super::{TOKEN, description, fine, own, with_keys};

/// Longest silence of a stream that is followed.
const SILENCE: Duration = Duration::from_secs(30);

fn answer(method: &str, path: &str, got: &Response) -> Value {
    let kind = got.header("content-type").unwrap_or_default();
    // Bytes that are no text are as good as any: no shape says more of them than that.
    let body = if kind.starts_with("application/json") { got.json() } else { json!(got.text()) };
    json!({ "method": method, "path": path, "status": got.status, "type": kind, "body": body })
}

/// The first two events of a stream that does not end: it greets, and tells of a host.
fn events(node: &Node) -> Value {
    let mut stream = TcpStream::connect(node.api.address()).expect("the API listens");
    stream.set_read_timeout(Some(SILENCE)).expect("a socket");
    let ask = format!("GET /v1/events HTTP/1.0\r\nhost: x\r\nx-skyclaw-token: {TOKEN}\r\n\r\n");
    stream.write_all(ask.as_bytes()).expect("it reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("it goes on in time"));
    let status = lines.next().expect("it answers");
    assert!(status.contains(" 200 "), "{status}");
    let mut kind = String::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        if let Some(value) = line.to_lowercase().strip_prefix("content-type: ") {
            value.clone_into(&mut kind);
        }
    }
    // It is followed now, so this is told.
    node.api.register("told", &["shell"], 1);
    let mut told = Vec::new();
    let mut event = serde_json::Map::new();
    for line in lines {
        match line.split_once(": ") {
            Some(("", _)) => {}
            Some((name, value)) => drop(event.insert(name.to_owned(), json!(value))),
            None if event.is_empty() => {}
            None => told.push(Value::Object(std::mem::take(&mut event))),
        }
        if told.len() == 2 {
            break;
        }
    }
    let names: Vec<&Value> = told.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["hello", "host"], "{told:?}");
    let data = |at: usize| -> Value {
        let text = told[at]["data"].as_str().expect("each has data");
        serde_json::from_str(text).expect("which is JSON")
    };
    assert!(data(0)["nodeId"].is_string(), "{told:?}");
    let host = data(1);
    assert_eq!(host["name"], "told", "{told:?}");
    json!({ "method": "GET", "path": "/v1/events", "status": 200, "type": kind, "body": told,
        "shapes": [["Host", host]] })
}

#[test]
fn what_is_not_fuzzed_answers_what_is_described() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::coordinator());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    let record = json!({ "id": "job_1", "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z", "updatedBy": "old", "version": 1, "status": "queued",
        "attempts": 0, "requirement": { "requiredCapabilities": ["none-has-it"] },
        "payload": { "kind": "shell", "command": "true" } });
    let page = json!({ "jobs": [record, 7] });
    let other = json!({ "url": "http://127.0.0.1:9" });
    let post = |path: &str, body: &Value| answer("POST", path, &node.api.post(path, body));
    let all = [
        post("/v1/import", &page),
        post("/v1/network/join", &other),
        post("/v1/network/forget", &other),
        post("/v1/backup", &json!({})),
        events(&node),
    ];
    for one in &all {
        assert_eq!(one["status"], 200, "{one}");
    }
    // Of both kinds there is something to be described.
    let became = &all[0]["body"];
    assert_eq!(became["taken"]["jobs"], 1, "{became}");
    assert_eq!(became["refused"].as_array().map(Vec::len), Some(1), "{became}");
    let file = description(&node, "openapi.json", folder);
    let answers = folder.join("answers.json");
    fs::write(&answers, json!(all).to_string()).expect("the test's folder is writable");
    let args = [own("answers.py"), file, own("schemathesis.toml"), answers].map(Into::into);
    let said = fine(&python, "python", &args, folder);
    assert!(said.contains("5 answers are as described"), "{said}");
}
