//! A tiny HTTP server whose answers are a closure of the test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body; null if it is no JSON.
    pub body: Value,
}

impl Received {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Value,
    delay: Duration,
    hang_up: bool,
}

impl Reply {
    /// A JSON answer.
    #[must_use]
    pub const fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body, delay: Duration::ZERO, hang_up: false }
    }

    /// The connection ends without an answer.
    #[must_use]
    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::json(200, Value::Null) }
    }

    /// Later.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Script = dyn Fn(&Received) -> Reply + Send + Sync;

/// A server on loopback; it ends when dropped.
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Vec<Received>>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Answers with `script`, a thread per connection.
    #[must_use]
    pub fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let log = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        thread::spawn({
            let (stop, log) = (Arc::clone(&stop), Arc::clone(&log));
            move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (stop, log) = (Arc::clone(&stop), Arc::clone(&log));
                    let script = Arc::clone(&script);
                    // A client that goes away in the middle is part of the play.
                    thread::spawn(move || drop(serve(stream, &stop, &log, &*script)));
                }
            }
        });
        Self { address, stop, log }
    }

    /// Its url.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those whose target ends so.
    #[must_use]
    pub fn received_at(&self, end: &str) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.target.ends_with(end)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, which then goes.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    stream: TcpStream,
    stop: &AtomicBool,
    log: &Mutex<Vec<Received>>,
    script: &Script,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        if stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let reply = script(&request);
        thread::sleep(reply.delay);
        if reply.hang_up || stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        let body = format!("{:#}", reply.body);
        let mut head = format!(
            "HTTP/1.1 {} x\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n",
            reply.status,
            body.len()
        );
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        reader.get_mut().write_all(format!("{head}\r\n{body}").as_bytes())?;
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Received>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(Received { at: Instant::now(), method, target, headers, body }))
}
