//! NATS JetStream: a work queue in a file; pulls of one, acknowledged so that the server confirms it.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::wire::Wire;
use super::{Client, Op, Step, job, words};

const NEXT: &str = "$JS.API.CONSUMER.MSG.NEXT.bench.workers";
const JOBS: &str = "bench.jobs";

pub(crate) struct Nats {
    wire: Wire,
    inbox: String,
    job: Vec<u8>,
}

/// A message for this connection.
struct Delivery {
    /// Where an answer to it goes.
    reply: String,
    /// The first line of its headers.
    status: String,
    payload: BytesMut,
}

impl Nats {
    pub(crate) async fn connect(address: &str, n: usize) -> Result<Self, String> {
        let mut wire = Wire::open(address).await?;
        wire.line().await?;
        let inbox = format!("_INBOX.bench{n}");
        let hello = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "name": "bench", "lang": "rust", "version": "0",
        });
        wire.send(format!("CONNECT {hello}\r\nSUB {inbox} 1\r\nPING\r\n").as_bytes()).await?;
        loop {
            match wire.line().await? {
                line if line == "PONG" => return Ok(Self { wire, inbox, job: job() }),
                line if line.starts_with("-ERR") => return Err(line),
                _ => {}
            }
        }
    }

    /// Makes the stream and its consumer.
    pub(crate) async fn prepare(&mut self) -> Result<(), String> {
        let stream = json!({
            "name": "bench", "subjects": [JOBS], "retention": "workqueue", "storage": "file",
            "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "discard": "old",
        });
        self.made("$JS.API.STREAM.CREATE.bench", &stream).await?;
        let consumer = json!({ "stream_name": "bench", "config": {
            "durable_name": "workers", "ack_policy": "explicit", "ack_wait": 60_000_000_000_u64,
            "deliver_policy": "all", "replay_policy": "instant",
            "max_ack_pending": 20_000, "max_waiting": 2048,
        } });
        self.made("$JS.API.CONSUMER.DURABLE.CREATE.bench.workers", &consumer).await
    }

    async fn made(&mut self, subject: &str, what: &Value) -> Result<(), String> {
        self.publish(subject, what.to_string().as_bytes()).await?;
        let payload = self.delivery().await?.payload;
        let answer: Value = serde_json::from_slice(&payload).map_err(words)?;
        if answer["error"].is_null() { Ok(()) } else { Err(answer["error"].to_string()) }
    }

    async fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<(), String> {
        let mut bytes = format!("PUB {subject} {} {}\r\n", self.inbox, payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.wire.send(&bytes).await
    }

    async fn delivery(&mut self) -> Result<Delivery, String> {
        loop {
            let line = self.wire.line().await?;
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields[..] {
                ["PING"] => self.wire.send(b"PONG\r\n").await?,
                ["MSG", _, _, ref rest @ .., bytes] => {
                    let reply = rest.first().copied().unwrap_or_default().to_owned();
                    let payload = self.wire.bytes(bytes.parse().map_err(words)?).await?;
                    return Ok(Delivery { reply, status: String::new(), payload });
                }
                ["HMSG", _, _, ref rest @ .., head, bytes] => {
                    let reply = rest.first().copied().unwrap_or_default().to_owned();
                    let mut payload = self.wire.bytes(bytes.parse().map_err(words)?).await?;
                    let head = payload.split_to(head.parse().map_err(words)?);
                    let head = String::from_utf8_lossy(&head);
                    let status = head.lines().next().unwrap_or_default().to_owned();
                    return Ok(Delivery { reply, status, payload });
                }
                ["-ERR", ..] => return Err(line),
                _ => {}
            }
        }
    }

    async fn put(&mut self) -> Result<(), String> {
        let job = std::mem::take(&mut self.job);
        let sent = self.publish(JOBS, &job).await;
        self.job = job;
        sent?;
        let Delivery { status, payload, .. } = self.delivery().await?;
        let stored = payload.windows(5).any(|part| part == b"\"seq\"");
        if stored { Ok(()) } else { Err(format!("{status} {}", String::from_utf8_lossy(&payload))) }
    }

    async fn take(&mut self) -> Result<Step, String> {
        self.publish(NEXT, br#"{"batch":1,"no_wait":true}"#).await?;
        let job = self.delivery().await?;
        if job.reply.is_empty() {
            let none = job.status.contains("404") || job.status.contains("408");
            return if none { Ok(Step::Nothing) } else { Err(job.status) };
        }
        self.publish(&job.reply, b"+ACK").await?;
        self.delivery().await?;
        Ok(Step::Done)
    }
}

impl Client for Nats {
    async fn step(&mut self, op: Op) -> Result<Step, String> {
        self.put().await?;
        if op == Op::Cycle { self.take().await } else { Ok(Step::Done) }
    }
}
