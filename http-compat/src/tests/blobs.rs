//! Blobs: content in pieces, both ways.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use futures::StreamExt;
use skyclaw_protocol::limits::MAX_BLOB_BYTES;
use skyclaw_protocol::{Hash, Refusal};

use super::rig::{rig, rig_with};
use crate::{ApiConfig, Secret};

#[tokio::test]
async fn what_is_put_is_given_back() {
    let rig = rig();
    let answer = rig.call("PUT", "/v1/blobs", &[], "some content").await.ok();
    let hash = Hash::of(b"some content").hex();
    assert_eq!(answer, serde_json::json!({ "hash": hash, "bytes": 12, "copies": 1 }));
    let path = format!("/v1/blobs/{hash}");
    let reply = rig.get(&path).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "some content"));
    let tag = format!("\"{hash}\"");
    assert_eq!(reply.header("etag"), Some(tag.as_str()));
    assert_eq!(reply.header("content-length"), Some("12"));
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let head = rig.call("HEAD", &path, &[], "").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("12")));
    assert!(head.text.is_empty());
    let known = rig.call("GET", &path, &[("if-none-match", &tag)], "").await;
    assert_eq!((known.status, known.text.as_str()), (304, ""));
}

#[tokio::test]
async fn nodes_get_the_head_first_and_begin_where_they_want() {
    let rig = rig();
    let hash = Hash::of(b"content").hex();
    rig.call("PUT", "/v1/blobs", &[], "content").await.ok();
    let reply = rig.get(&format!("/v1/blobs/{hash}?outline=1&from=3")).await;
    // The fake's groups are of one byte.
    assert_eq!((reply.status, reply.text.as_str()), (200, "headtent"));
    assert_eq!(reply.header("content-length"), Some("8"));
    assert_eq!(reply.header("content-type"), Some("application/x-skyclaw-blob"));
    rig.get(&format!("/v1/blobs/{hash}?outline=1&from=x"))
        .await
        .refused(400, "from must be the number of a group");
}

#[tokio::test]
async fn other_content_than_announced_is_refused() {
    let rig = rig();
    let (hash, other) = (Hash::of(b"a").hex(), Hash::of(b"b").hex());
    let target = format!("/v1/blobs?hash={hash}");
    rig.call("PUT", &target, &[], "a").await.ok();
    let text = format!("the content has the hash {other}, not the one announced");
    rig.call("PUT", &target, &[], "b").await.refused(400, &text);
    rig.call("PUT", "/v1/blobs", &[("x-skyclaw-hash", &hash)], "b").await.refused(400, &text);
    for wrong in ["hash=1", "hash=", &format!("hash={}", hash.to_uppercase())] {
        let reply = rig.call("PUT", &format!("/v1/blobs?{wrong}"), &[], "a").await;
        reply.refused(400, "a hash is 64 hexadecimal digits");
    }
}

#[tokio::test]
async fn unknown_and_unnamed_blobs_are_told_apart() {
    let rig = rig();
    let path = format!("/v1/blobs/{}", Hash([7; 32]).hex());
    rig.get(&path).await.refused(404, "blob not found");
    assert_eq!(rig.call("HEAD", &path, &[], "").await.status, 404);
    rig.get("/v1/blobs/x").await.refused(400, "a hash is 64 hexadecimal digits");
    rig.get("/v1/blobs").await.refused(404, "not found");
}

#[tokio::test]
async fn blobs_are_behind_the_token() {
    let rig = rig_with(ApiConfig { token: Secret::new("t"), ..ApiConfig::default() });
    let path = format!("/v1/blobs/{}", Hash::of(b"a").hex());
    for (method, path) in [("PUT", "/v1/blobs"), ("GET", &path), ("HEAD", &path)] {
        assert_eq!(rig.call(method, path, &[], "").await.status, 401);
    }
    rig.call("PUT", "/v1/blobs", &[("x-skyclaw-token", "t")], "a").await.ok();
}

/// Larger than other bodies may be, in pieces of which one is there at a time.
#[tokio::test]
async fn bodies_are_handed_on_as_they_come() {
    let rig = rig_with(ApiConfig { max_body_bytes: 10, ..ApiConfig::default() });
    let pieces =
        futures::stream::iter(0..100).map(|n| Ok::<_, std::io::Error>(Bytes::from(vec![n; 1000])));
    let request = Request::put("/v1/blobs").body(Body::from_stream(pieces)).unwrap();
    let answer = rig.send(request).await.ok();
    assert_eq!(answer["bytes"], 100_000);
    assert_eq!(rig.fake.state().pieces, 100);
}

#[tokio::test]
async fn what_declares_to_be_too_large_is_refused_unread() {
    let rig = rig();
    let length = (MAX_BLOB_BYTES + 1).to_string();
    let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    let body =
        http_body_util::StreamBody::new(never.map(|piece| piece.map(hyper::body::Frame::data)));
    let sized = Sized { body, length: MAX_BLOB_BYTES + 1 };
    let request = Request::put("/v1/blobs").header("content-length", length);
    let reply = rig.send(request.body(Body::new(sized)).unwrap()).await;
    assert_eq!(reply.status, 413);
}

/// A body that says how long it is.
struct Sized<B> {
    body: B,
    length: u64,
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for Sized<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<B::Data>, B::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.length)
    }
}

#[tokio::test]
async fn bodies_that_break_off_or_stand_still_are_refused() {
    let rig = rig();
    let broken =
        futures::stream::iter([Ok(Bytes::from("half")), Err(std::io::Error::other("gone"))]);
    let request = Request::put("/v1/blobs").body(Body::from_stream(broken)).unwrap();
    let reply = rig.send(request).await;
    assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
    assert!(reply.text.contains("could not be read"), "{}", reply.text);

    let body_timeout = Duration::from_millis(50);
    let rig = rig_with(ApiConfig { body_timeout, ..ApiConfig::default() });
    let still = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from("half"))]);
    let still = still.chain(futures::stream::pending());
    let request = Request::put("/v1/blobs").body(Body::from_stream(still)).unwrap();
    let reply = rig.send(request).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
}

#[tokio::test]
async fn a_node_without_room_says_so() {
    let rig = rig();
    rig.fake.state().refuse.push(Refusal::LowSpace("the disk is full".into()));
    rig.call("PUT", "/v1/blobs", &[], "a").await.refused(503, "the disk is full");
}

#[tokio::test]
async fn jobs_name_blobs_they_take_in_and_results_those_they_left() {
    let rig = rig();
    rig.host("h1").await;
    let hash = Hash::of(b"a").hex();
    let payload = |inputs: &str, outputs: &str| {
        format!(
            r#"{{"payload":{{"kind":"shell","command":"true","inputs":{inputs},"outputs":{outputs}}}}}"#
        )
    };
    let good = format!(r#"[{{"hash":"{hash}","path":"a","unpack":false}}]"#);
    rig.post("/v1/jobs", payload(&good, r#"["out/**"]"#)).await.ok();
    for (inputs, outputs, text) in [
        ("1", "[]", "payload.inputs must be an array"),
        ("[1]", "[]", "payload.inputs must hold objects"),
        (r#"[{"hash":"1"}]"#, "[]", "payload.inputs must name a hash of 64 hexadecimal digits"),
        ("[]", "[1]", "payload.outputs must hold globs"),
    ] {
        rig.post("/v1/jobs", payload(inputs, outputs)).await.refused(400, text);
    }
    let job = rig.post("/v1/hosts/h1/claim", "").await.ok()["job"].clone();
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["payload"]["inputs"][0]["hash"], hash);
    let outputs = serde_json::json!([{ "path": "out/a", "hash": hash, "bytes": 1 }]);
    let done = serde_json::json!({ "hostId": "h1", "success": true, "outputs": outputs });
    rig.post(&format!("/v1/jobs/{id}/complete"), done).await.ok();
    let skyclaw_protocol::Command::Complete(done) = rig.fake.last() else { panic!("no report") };
    assert_eq!(done.outputs[0].hash, Hash::of(b"a"));
    rig.fake.state().jobs[0].result.as_mut().unwrap().outputs = done.outputs;
    assert_eq!(rig.get(&format!("/v1/jobs/{id}")).await.ok()["job"]["result"]["outputs"], outputs);
}
