//! A malicious submitter, with a key of the public API.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Api, Node, Setup, raw, shell};

use super::scene::counted;
use crate::text;

const COUNTED: &str = "skyclaw_http_refusals_total";

fn node() -> Node {
    Setup::both()
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_PUBLIC_API_KEYS", "good:acme:shell:shell, evil:mallory:shell:shell")
        .start()
}

#[track_caller]
fn submit(api: &Api, key: &str, once: &str, body: &Value) -> Value {
    let headers = [("x-api-key", key), ("x-idempotency-key", once)];
    api.post_with("/v1/public/jobs", &headers, body).ok()["job"].clone()
}

/// Another one's job, by its id, its key, its path, or with words that are no words.
#[test]
fn a_submitter_sees_no_jobs_of_others_and_reaches_no_private_route() {
    let node = node();
    let api = Api::new(node.api.address(), None);
    let theirs = submit(&api, "good", "same", &shell("echo private"));
    let id = text(&theirs, "id").to_owned();
    let ours = submit(&api, "evil", "same", &shell("echo mine"));
    assert_ne!(ours["id"], theirs["id"], "keys of others lead to nothing of theirs");

    let targets = [
        format!("/v1/public/jobs/{id}"),
        format!("/v1/public/jobs/{id}?label=acme"),
        format!("/v1/public/jobs/{id}/"),
        format!("/v1/public/jobs/{id}/cancel"),
        format!("/v1/public/jobs/{id}%00"),
        format!("/v1/public/jobs/x/../{id}"),
        format!("/v1/public/../jobs/{id}"),
        format!("/v1/public/%2e%2e/jobs/{id}"),
        format!("/v1/public/jobs/..%2f..%2fjobs%2f{id}"),
        format!("/v1/public//jobs/{id}"),
        format!("//v1/jobs/{id}"),
        format!("/v1/jobs/{id}"),
        format!("/V1/JOBS/{id}"),
        "/v1/public/jobs/../../state".to_owned(),
        "/v1/public/jobs/%2e%2e/%2e%2e/state".to_owned(),
        "/v1/public/jobs;/../state".to_owned(),
        "/v1/state#/v1/public/jobs".to_owned(),
        format!("http://{}/v1/state", node.api.address()),
    ];
    for target in &targets {
        for method in ["GET", "POST", "DELETE"] {
            let headers = [
                ("x-api-key", "evil"),
                ("x-http-method-override", "GET"),
                ("x-rewrite-url", "/v1/state"),
            ];
            let send = || api.send(method, target, &headers, b"{}");
            let answer = counted(&node, target, COUNTED, send);
            assert!(matches!(answer.status, 400..=499), "{method} {target}: {}", answer.text());
            assert!(!answer.text().contains("private"), "{method} {target}: {}", answer.text());
        }
    }
    // Words that would reach hosts and rights that the key has not.
    for (name, change) in [
        ("a capability", json!({ "requirement": { "requiredCapabilities": ["gpu"] } })),
        (
            "no capability at all and more",
            json!({ "requirement": { "requiredCapabilities": ["shell", "gpu"] } }),
        ),
    ] {
        let mut body = shell("true");
        body["requirement"] = change["requirement"].clone();
        let headers = [("x-api-key", "evil")];
        let answer =
            counted(&node, name, COUNTED, || api.post_with("/v1/public/jobs", &headers, &body));
        assert_eq!(answer.status, 403, "{name}: {}", answer.text());
    }
    let mut body = shell("echo mine");
    body["submittedBy"] = json!("public:acme");
    let job = submit(&api, "evil", "other", &body);
    let shown = node.api.job(text(&job, "id"));
    assert_eq!(text(&shown, "submittedBy"), "public:mallory", "{shown}");
    for id in [&id, text(&job, "id")] {
        node.api.until_job_is(id, "completed");
    }
}

/// Two lengths, two hosts, folded lines: one reading of a request or none.
#[test]
fn a_smuggled_request_is_carried_out_by_nobody() {
    let node = node();
    let inner = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nx-skyclaw-token: wrong\r\n\
                 content-length: 2\r\n\r\n{}";
    let heads = [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "content-length: 0\r\ncontent-length: 90\r\n",
        "content-length: +0\r\n",
        "content-length: 0x10\r\n",
        "content-length: 0\r\n x-folded: 1\r\n",
        "host: y\r\n",
    ];
    for head in heads {
        let bytes = format!(
            "POST /v1/public/jobs HTTP/1.1\r\nhost: x\r\nx-api-key: evil\r\n{head}\r\n0\r\n\r\n{inner}"
        );
        let answers =
            String::from_utf8_lossy(&raw(node.api.address(), bytes.as_bytes())).into_owned();
        // Whatever it was read as, the first answer refuses it and nothing more is read as a request
        // that this one does not frame.
        let statuses: Vec<&str> =
            answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
        assert!(!statuses.is_empty(), "{head:?}");
        assert!(statuses.iter().all(|status| status.starts_with('4')), "{head:?}: {answers}");
    }
    assert_eq!(node.api.get("/v1/jobs").ok()["jobs"], json!([]), "something was carried out");
    assert_eq!(node.api.get("/health").status, 200);
}

/// Hundreds that send a byte now and then keep nobody from being served.
#[test]
fn slow_bodies_hold_up_nobody() {
    let node = node();
    let slow: Vec<TcpStream> = (0..200)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(node.api.address()).ok()?;
            let head = "POST /v1/public/jobs HTTP/1.1\r\nhost: x\r\nx-api-key: evil\r\n\
                        content-length: 8000000\r\n\r\n{\"payload\":";
            stream.write_all(head.as_bytes()).ok()?;
            Some(stream)
        })
        .collect();
    assert!(slow.len() > 100, "{} are open", slow.len());
    let begun = Instant::now();
    let id = node.api.submit_shell("echo fresh");
    assert_eq!(text(&node.api.until_job_ended(&id)["result"], "stdout"), "fresh\n");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for mut stream in slow {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
        let _ = stream.read(&mut [0; 64]);
    }
}
