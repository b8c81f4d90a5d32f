//! One connection each to a server, and the steps of work that all of them offer.

mod beanstalk;
mod http;
mod nats;
mod redis;
mod wire;

pub(crate) use beanstalk::Beanstalk;
pub(crate) use http::{Coordinator, Get};
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;
use serde_json::json;

/// Bytes of a job, for every queue the same.
const JOB_BYTES: usize = 300;

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Puts a job in.
    Put,
    /// Puts a job in, takes one out, and reports it done.
    Cycle,
    /// Asks for a page.
    Get,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The work was done.
    Done,
    /// There was nothing to take out.
    Nothing,
}

/// A connection. A step is done when the server has said so, durably where it keeps anything.
pub(crate) trait Client {
    /// One piece of work; an error tells what the server said instead.
    async fn step(&mut self, op: Op) -> Result<Step, String>;
}

/// A job as the API takes it; other queues carry the same bytes.
pub(crate) fn job() -> Vec<u8> {
    let padded = |pad: usize| {
        let payload = json!({
            "kind": "shell", "command": "true", "args": ["--label", "bench"],
            "env": { "BENCH_PAD": "x".repeat(pad) }, "timeoutMs": 60_000,
        });
        let needs = json!({ "requiredCapabilities": ["shell"] });
        json!({ "payload": payload, "requirement": needs }).to_string().into_bytes()
    };
    padded(JOB_BYTES.saturating_sub(padded(0).len()))
}

/// Turns what went wrong into words.
pub(crate) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
