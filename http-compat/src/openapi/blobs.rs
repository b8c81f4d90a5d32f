//! Blobs: bundles of code, and the files of jobs.

use super::operation::{Op, op};
use super::shape::{Shape, any, count, hash, need, object, text, word};

const TAG: &str = "blobs";
const BYTES: &str = "application/octet-stream";

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    let blob = |of: Op| of.id(hash());
    vec![
        of("PUT", "/v1/blobs", "putBlob", "Upload bytes, and get their name")
            .query("hash", hash(), "What they must have.")
            .header("x-skyclaw-hash", hash(), "The same in another place.")
            .bytes(any().binary())
            .bounded()
            .answers(
                200,
                "They are kept.",
                object([need("hash", hash()), need("bytes", count()), need("copies", count())]),
            ),
        blob(of("GET", "/v1/blobs/:id", "getBlob", "The bytes of that hash"))
            .query(
                "outline",
                word(&["0", "1"]),
                "For nodes: with what the bytes can be checked by as they come.",
            )
            .query("from", count(), "For nodes: the group of bytes to begin with.")
            .header("if-none-match", text(), "The `etag` of an answer that the caller has.")
            .answers_as(200, "They.", BYTES, any().binary())
            .answers_as_well(200, "application/x-skyclaw-blob", any().binary())
            .empty(304, "The ones that the caller has.")
            .missing("Nobody who is here has them."),
        blob(of("HEAD", "/v1/blobs/:id", "hasBlob", "Whether this node has them"))
            .empty(200, "It has.")
            .missing("It has not."),
    ]
}

pub(super) const fn shapes() -> Vec<(&'static str, Shape)> {
    Vec::new()
}
