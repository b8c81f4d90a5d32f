//! HTTP/1.1 on one kept connection: a coordinator's API, and plain pages.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Client, Op, Step, job, words};

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: String,
}

impl Connection {
    async fn open(address: &str, token: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(words)?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_owned(), token: token.to_owned() })
    }

    /// The body of an answer that is 2xx.
    async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", "application/json");
        let request = if self.token.is_empty() {
            request
        } else {
            request.header("x-skyclaw-token", &self.token)
        };
        let request = request.body(Full::new(body)).map_err(words)?;
        self.sender.ready().await.map_err(words)?;
        let answer = self.sender.send_request(request).await.map_err(words)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(words)?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)))
    }
}

/// A coordinator's API, as a website and a host in one.
pub(crate) struct Coordinator {
    connection: Connection,
    job: Bytes,
    host: String,
}

impl Coordinator {
    /// Connects, and registers a host of its own.
    pub(crate) async fn connect(address: &str, token: &str, n: usize) -> Result<Self, String> {
        let mut connection = Connection::open(address, token).await?;
        let host = format!("bench-{n}");
        let body = json!({
            "hostId": host, "name": host, "capabilities": ["shell"], "maxParallel": 64,
        });
        connection.call(Method::POST, "/v1/hosts/register", body.to_string().into()).await?;
        Ok(Self { connection, job: job().into(), host })
    }

    async fn put(&mut self) -> Result<(), String> {
        self.connection.call(Method::POST, "/v1/jobs", self.job.clone()).await.map(drop)
    }

    async fn take(&mut self) -> Result<Step, String> {
        let path = format!("/v1/hosts/{}/claim", self.host);
        let answer = self.connection.call(Method::POST, &path, Bytes::from_static(b"{}")).await?;
        let answer: Value = serde_json::from_slice(&answer).map_err(words)?;
        let Some(id) = answer["job"]["id"].as_str() else { return Ok(Step::Nothing) };
        let report = json!({
            "hostId": self.host, "success": true, "durationMs": 3,
            "exitCode": 0, "stdout": "ok\n", "stderr": "",
        });
        let path = format!("/v1/jobs/{id}/complete");
        self.connection.call(Method::POST, &path, report.to_string().into()).await?;
        Ok(Step::Done)
    }

    /// Submits a job and asks until it has ended well.
    pub(crate) async fn submit_and_wait(&mut self, job: &Value) -> Result<(), String> {
        let answer = self.connection.call(Method::POST, "/v1/jobs", job.to_string().into()).await?;
        let answer: Value = serde_json::from_slice(&answer).map_err(words)?;
        let id = answer["job"]["id"].as_str().ok_or("the answer has no id")?.to_owned();
        let path = format!("/v1/jobs/{id}");
        loop {
            let answer = self.connection.call(Method::GET, &path, Bytes::new()).await?;
            let answer: Value = serde_json::from_slice(&answer).map_err(words)?;
            match answer["job"]["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("queued" | "leased") => {
                    tokio::time::sleep(std::time::Duration::from_micros(300)).await;
                }
                _ => return Err(answer.to_string()),
            }
        }
    }
}

impl Client for Coordinator {
    async fn step(&mut self, op: Op) -> Result<Step, String> {
        self.put().await?;
        if op == Op::Cycle { self.take().await } else { Ok(Step::Done) }
    }
}

/// One page again and again.
pub(crate) struct Get {
    connection: Connection,
    path: String,
    bytes: usize,
}

impl Get {
    /// Connects; each answer must have so many bytes.
    pub(crate) async fn connect(address: &str, path: &str, bytes: usize) -> Result<Self, String> {
        Ok(Self { connection: Connection::open(address, "").await?, path: path.to_owned(), bytes })
    }
}

impl Client for Get {
    async fn step(&mut self, _: Op) -> Result<Step, String> {
        let body = self.connection.call(Method::GET, &self.path, Bytes::new()).await?;
        if body.len() == self.bytes { Ok(Step::Done) } else { Err(format!("{} bytes", body.len())) }
    }
}
