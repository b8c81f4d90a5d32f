//! The HTTP port of the host against scripted servers.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_node::host::http::HttpCoordinator;
use skyclaw_node::host::{Coordinator, HostSpec, PortError, Report};
use skyclaw_protocol::{Completion, HostId, JobId, Milli, OpenclawInstall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// One request as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: Value,
}

impl Seen {
    fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v)
        })
    }
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers every request with this status, body and extra header lines.
    async fn start(status: u16, body: &str, extra: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, body) = (Arc::clone(&seen), body.to_owned());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let request = loop {
                    let mut buffer = [0; 4096];
                    let n = stream.read(&mut buffer).await.unwrap();
                    bytes.extend_from_slice(&buffer[..n]);
                    if let Some(request) = parse(&bytes) {
                        break request;
                    }
                    assert!(n > 0, "a request ended early");
                };
                log.lock().unwrap().push(request);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{extra}\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, seen }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

fn parse(bytes: &[u8]) -> Option<Seen> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let seen = Seen { head: head.into(), body: Value::Null };
    let length: usize = seen.header("content-length")?.parse().unwrap();
    (body.len() == length).then(|| Seen { body: serde_json::from_str(body).unwrap(), ..seen })
}

fn client(urls: &[&str]) -> HttpCoordinator {
    let urls: Vec<String> = urls.iter().map(|url| (*url).into()).collect();
    HttpCoordinator::new(&urls, Some("secret")).unwrap()
}

/// A port nobody listens on.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn host() -> HostId {
    HostId::new("h/1 ä").unwrap()
}

fn job() -> JobId {
    JobId::new("job_1").unwrap()
}

fn report() -> Report {
    Report {
        completion: Completion {
            job: job(),
            host: host(),
            attempt: Some(1),
            success: true,
            duration: Some(Milli::whole(12)),
            exit_code: Some(0),
            stdout: Some("out".into()),
            stderr: Some(String::new()),
            error: None,
            outputs: Vec::new(),
            agent: None,
            receipt: None,
        },
        route: None,
        key: "k".into(),
    }
}

/// An original coordinator ignores them; a report without files reads as its hosts' do.
#[tokio::test]
async fn files_that_were_kept_are_reported() {
    let server = Server::start(200, "{}", "").await;
    let client = client(&[&server.url]);
    client.complete(report()).await.unwrap();
    assert!(server.last().body.get("outputs").is_none());
    let hash = skyclaw_protocol::Hash::of(b"x");
    let file = skyclaw_protocol::OutputFile { path: "out/x".into(), hash, bytes: 1 };
    let completion = Completion { outputs: vec![file], ..report().completion };
    client.complete(Report { completion, ..report() }).await.unwrap();
    let sent = json!([{ "path": "out/x", "hash": hash.hex(), "bytes": 1 }]);
    assert_eq!(server.last().body["outputs"], sent);
}

#[tokio::test]
async fn how_an_agents_run_went_is_reported_as_an_object() {
    let server = Server::start(200, "{}", "").await;
    let client = client(&[&server.url]);
    client.complete(report()).await.unwrap();
    assert!(server.last().body.get("agent").is_none());
    let agent = Some(r#"{"status":"ok","toolFailures":0}"#.to_owned());
    let completion = Completion { agent, ..report().completion };
    client.complete(Report { completion, ..report() }).await.unwrap();
    assert_eq!(server.last().body["agent"], json!({ "status": "ok", "toolFailures": 0 }));
    // One that cannot be read does not cost the result.
    let completion = Completion { agent: Some("{".into()), ..report().completion };
    client.complete(Report { completion, ..report() }).await.unwrap();
    assert!(server.last().body.get("agent").is_none());
}

/// D40 D43 F41.
#[tokio::test]
async fn registering_says_what_the_original_says() {
    let server = Server::start(200, r#"{"host":{"id":"h9"}}"#, "").await;
    // Without a trailing slash the original worked, with one it did not (F41).
    let client = client(&[&format!("{}/", server.url)]);
    let mut spec = HostSpec {
        id: None,
        name: "n".into(),
        capabilities: vec!["b".into(), "a".into()],
        max_parallel: 2,
        openclaw: None,
    };
    assert_eq!(client.register(spec.clone()).await.unwrap().as_str(), "h9");
    let seen = server.last();
    assert_eq!(seen.path(), "/v1/hosts/register");
    assert_eq!(seen.header("x-skyclaw-token"), Some("secret"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.body, json!({"name": "n", "capabilities": ["b", "a"], "maxParallel": 2}));
    spec.id = Some(HostId::new("x").unwrap());
    let version = Some("2026.9.6".to_owned());
    spec.openclaw = Some(OpenclawInstall { version, gateway: true, ..OpenclawInstall::default() });
    client.register(spec).await.unwrap();
    assert_eq!(server.last().body["hostId"], "x");
    let said = json!({"version": "2026.9.6", "gateway": true});
    assert_eq!(server.last().body["openclaw"], said);
}

/// D40.
#[tokio::test]
async fn heartbeats_count_what_runs_and_ids_are_encoded_in_paths() {
    let server = Server::start(200, r#"{"host":{"activeLeases":7}}"#, "").await;
    client(&[&server.url]).heartbeat(host(), vec![(job(), 1)]).await.unwrap();
    let seen = server.last();
    assert_eq!(seen.path(), "/v1/hosts/h%2F1%20%C3%A4/heartbeat");
    assert_eq!(seen.body, json!({"activeLeases": 1, "leases": ["job_1"]}));
}

#[tokio::test]
async fn a_claim_asks_to_be_held_and_knows_whether_it_was() {
    let original = Server::start(200, r#"{"job":null}"#, "").await;
    let claim = client(&[&original.url])
        .claim(host(), 1, Duration::from_secs(20), Vec::new())
        .await
        .unwrap();
    assert!(claim.jobs.is_empty() && !claim.parked);
    assert_eq!(original.last().header("x-skyclaw-claim-wait-ms"), Some("20000"));
    assert_eq!(original.last().body, json!({}));
    let without = vec!["openclaw.exec".to_owned()];
    client(&[&original.url]).claim(host(), 1, Duration::ZERO, without).await.unwrap();
    assert_eq!(original.last().body, json!({ "without": ["openclaw.exec"] }));
    let body = r#"{"job":{"id":"j","attempts":3,"payload":{"kind":"shell","z":1,"a":2}}}"#;
    let ours = Server::start(200, body, "x-skyclaw-claim-wait: 20000\r\n").await;
    let claim =
        client(&[&ours.url]).claim(host(), 1, Duration::from_secs(20), Vec::new()).await.unwrap();
    let job = claim.jobs.into_iter().next().unwrap();
    assert!(claim.parked);
    assert_eq!((job.id.as_str(), job.attempt), ("j", 3));
    assert_eq!(job.payload.to_string(), r#"{"kind":"shell","z":1,"a":2}"#);
}

/// D18.
#[tokio::test]
async fn a_result_is_reported_in_the_originals_fields_under_one_key() {
    let server = Server::start(200, "{}", "").await;
    client(&[&server.url]).complete(report()).await.unwrap();
    let seen = server.last();
    assert_eq!(seen.path(), "/v1/jobs/job_1/complete");
    assert_eq!(seen.header("x-idempotency-key"), Some("k"));
    let body = json!({
        "hostId": "h/1 ä", "success": true, "durationMs": 12, "exitCode": 0,
        "stdout": "out", "stderr": "",
    });
    assert_eq!(seen.body, body);
}

/// D24 D28.
#[tokio::test]
async fn a_dead_or_failing_coordinator_is_passed_over_and_the_good_one_remembered() {
    let failing = Server::start(503, r#"{"error":"no"}"#, "").await;
    let good = Server::start(200, "{}", "").await;
    let client = client(&[&dead().await, &failing.url, &good.url]);
    client.heartbeat(host(), vec![]).await.unwrap();
    client.heartbeat(host(), vec![]).await.unwrap();
    assert_eq!((failing.count(), good.count()), (1, 2));
}

#[tokio::test]
async fn refusals_are_told_from_silence() {
    async fn refused(status: u16, error: &str, beside: Option<&str>) -> PortError {
        let server = Server::start(status, &json!({"error": error}).to_string(), "").await;
        let urls: Vec<&str> = [server.url.as_str()].into_iter().chain(beside).collect();
        client(&urls).complete(report()).await.unwrap_err()
    }
    let is_final = |error| matches!(error, PortError::Refused { unanimous: true, .. });
    for text in ["unknown job: job_1", "job job_1 is assigned to x", "job job_1 is not leased"] {
        assert!(is_final(refused(500, text, None).await), "{text}");
    }
    assert!(is_final(refused(404, "no", None).await));
    assert!(is_final(refused(413, "no", None).await));
    for status in [500, 503, 429, 408] {
        let error = refused(status, "replication target not met", None).await;
        assert!(matches!(error, PortError::Unavailable(_)), "{status}");
    }
    let error = refused(500, "unknown host: h", None).await;
    assert!(matches!(error, PortError::UnknownHost(_)));
    let gone = dead().await;
    let error = refused(500, "unknown job: job_1", Some(&gone)).await;
    assert!(matches!(error, PortError::Refused { unanimous: false, .. }));
    assert_eq!(error.to_string(), r#"request failed (500): {"error":"unknown job: job_1"}"#);
}

#[tokio::test]
async fn without_any_coordinator_the_text_says_so() {
    let error = client(&[]).heartbeat(host(), vec![]).await.unwrap_err();
    assert_eq!(error.to_string(), "all coordinators unavailable");
    let gone = dead().await;
    let error = client(&[&gone]).heartbeat(host(), vec![]).await.unwrap_err().to_string();
    assert!(error.starts_with("fetch failed: ") && error.contains(&gone), "{error}");
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    for body in ["", "[]", r#"{"job":{"id":5}}"#, r#"{"job":{"id":""}}"#] {
        let server = Server::start(200, body, "").await;
        let claim = client(&[&server.url]).claim(host(), 1, Duration::ZERO, Vec::new()).await;
        let nonsense = body != "[]";
        assert_eq!(claim.is_err(), nonsense, "{body}");
    }
    assert!(HttpCoordinator::new(&[], Some("a\nb")).is_err());
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let direct = Server::start(200, r#"{"host":{"id":"h"}}"#, "").await;
    let proxy = Server::start(200, r#"{"host":{"id":"h"}}"#, "").await;
    let folder = tempfile::tempdir().unwrap();
    let mut host = tokio::process::Command::new(env!("CARGO_BIN_EXE_skyclaw-node"));
    host.env_clear().current_dir(folder.path()).kill_on_drop(true);
    host.env("SKYCLAW_ROLE", "host").env("SKYCLAW_COORDINATOR_URLS", &direct.url);
    host.env("SKYCLAW_TOKEN", "secret").env("SKYCLAW_WORK_DIR", folder.path());
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        host.env(name, &proxy.url);
    }
    let host = host.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let asked = async {
        while direct.count() + proxy.count() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    assert_eq!(proxy.count(), 0, "the token went to the proxy");
    assert_eq!(direct.seen.lock().unwrap()[0].header("x-skyclaw-token"), Some("secret"));
    drop(host);
}

#[tokio::test]
async fn no_password_of_a_url_is_in_an_error() {
    for url in [dead().await, Server::start(200, "no json", "").await.url] {
        let url = url.replace("://", "://user:p4ss@");
        let error = client(&[&url]).heartbeat(host(), vec![]).await.unwrap_err().to_string();
        assert!(error.contains("***@127.0.0.1") && !error.contains("p4ss"), "{error}");
        let client = skyclaw_node::client::Client::new(&[url], None).unwrap();
        let error = format!("{:?}", client.post("/", &json!({})).await.unwrap_err());
        assert!(error.contains("***@127.0.0.1") && !error.contains("p4ss"), "{error}");
    }
}
