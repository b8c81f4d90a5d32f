//! A tiny HTTP server whose answers are a closure of the test. It can be stopped, as when its
//! process ends, and started again at its address.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wait::eventually;

/// A kept connection that stays silent for so long is closed, as the original's are.
const IDLE: Duration = Duration::from_secs(5);

/// Bodies up to so many bytes stay in the log; of larger ones only their size does.
const LOGGED: usize = 256 << 10;

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
    /// Its body; null if it is no JSON, or in the log if it was large.
    pub body: Value,
    /// The same as it came; in the log empty if it was large.
    pub raw: Arc<[u8]>,
    /// The length of its body.
    pub bytes: usize,
}

impl Received {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn for_the_log(&self) -> Self {
        if self.bytes <= LOGGED {
            return self.clone();
        }
        let (method, target) = (self.method.clone(), self.target.clone());
        let (headers, raw) = (self.headers.clone(), Arc::from([]));
        Self { at: self.at, method, target, headers, body: Value::Null, raw, bytes: self.bytes }
    }
}

#[derive(Clone, Debug)]
enum Body {
    Json(Value),
    Raw(Arc<[u8]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answer,
    HangUp,
    Silence,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    delay: Duration,
    end: End,
}

impl Reply {
    /// A JSON answer.
    #[must_use]
    pub const fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Json(body),
            delay: Duration::ZERO,
            end: End::Answer,
        }
    }

    /// An answer of these bytes, whatever they are.
    #[must_use]
    pub fn raw(status: u16, body: impl Into<Arc<[u8]>>) -> Self {
        Self { body: Body::Raw(body.into()), ..Self::json(status, Value::Null) }
    }

    /// The connection ends without an answer.
    #[must_use]
    pub fn hang_up() -> Self {
        Self { end: End::HangUp, ..Self::json(200, Value::Null) }
    }

    /// Nothing comes, and the connection stays until the caller leaves it.
    #[must_use]
    pub fn silence() -> Self {
        Self { end: End::Silence, ..Self::json(200, Value::Null) }
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

    /// Its status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    fn bytes(&self, head_only: bool) -> Vec<u8> {
        let body: Arc<[u8]> = match &self.body {
            Body::Json(_) if self.status == 204 => Arc::from([]),
            Body::Json(body) => format!("{body:#}").into_bytes().into(),
            Body::Raw(body) => Arc::clone(body),
        };
        let mut head = format!("HTTP/1.1 {} x\r\nkeep-alive: timeout=5\r\n", self.status);
        if self.status != 204 {
            if !self.headers.iter().any(|(name, _)| *name == "content-type") {
                head.push_str("content-type: application/json; charset=utf-8\r\n");
            }
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.extend_from_slice(&body);
        }
        bytes
    }
}

type Script = dyn Fn(&Received) -> Reply + Send + Sync;

/// A server on loopback; it ends when dropped.
pub struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Received>>>,
    script: Arc<Script>,
    running: Mutex<Option<Running>>,
}

/// A server while it listens.
struct Running {
    stop: Arc<AtomicBool>,
    streams: Arc<Mutex<BTreeMap<u64, TcpStream>>>,
    listener: JoinHandle<()>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Answers with `script`, a thread per connection.
    #[must_use]
    pub fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let log = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let running = Running::new(listener, &log, &script);
        Self { address, log, script, running: Mutex::new(Some(running)) }
    }

    /// Ends its connections and listens no more.
    pub fn stop(&self) {
        if let Some(running) = lock(&self.running).take() {
            running.end(self.address);
        }
    }

    /// Listens again at the same address.
    #[track_caller]
    pub fn start_again(&self) {
        let mut running = lock(&self.running);
        assert!(running.is_none(), "stop it first");
        let listener = eventually("the port is free again", || {
            TcpListener::bind(self.address).map_err(|error| error.to_string())
        });
        *running = Some(Running::new(listener, &self.log, &self.script));
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its url.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.log).clone()
    }

    /// Those whose target ends so.
    #[must_use]
    pub fn received_at(&self, end: &str) -> Vec<Received> {
        let log = lock(&self.log);
        log.iter().filter(|request| request.target.ends_with(end)).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn new(listener: TcpListener, log: &Arc<Mutex<Vec<Received>>>, script: &Arc<Script>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(BTreeMap::new()));
        let listening = {
            let (stop, streams) = (Arc::clone(&stop), Arc::clone(&streams));
            let (log, script) = (Arc::clone(log), Arc::clone(script));
            move || {
                for (number, stream) in (0_u64..).zip(listener.incoming()) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    if let Ok(again) = stream.try_clone() {
                        lock(&streams).insert(number, again);
                    }
                    let (stop, streams) = (Arc::clone(&stop), Arc::clone(&streams));
                    let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                    thread::spawn(move || {
                        // A client that goes away in the middle is part of the play.
                        drop(serve(stream, &stop, &log, &*script));
                        if let Some(stream) = lock(&streams).remove(&number) {
                            // It may be closed already.
                            let _ = stream.shutdown(Shutdown::Both);
                        }
                    });
                }
            }
        };
        Self { stop, streams, listener: thread::spawn(listening) }
    }

    fn end(self, address: SocketAddr) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, which then goes.
        drop(TcpStream::connect(address));
        // It does nothing that could panic.
        let _ = self.listener.join();
        for stream in lock(&self.streams).values() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(
    stream: TcpStream,
    stop: &AtomicBool,
    log: &Mutex<Vec<Received>>,
    script: &Script,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        if stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        lock(log).push(request.for_the_log());
        let reply = script(&request);
        thread::sleep(reply.delay);
        if reply.end == End::HangUp || stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        if reply.end == End::Silence {
            reader.get_ref().set_read_timeout(None)?;
            io::copy(&mut reader, &mut io::sink())?;
            return Ok(());
        }
        reader.get_mut().write_all(&reply.bytes(request.method == "HEAD"))?;
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
    let mut headers: Vec<(String, String)> = Vec::new();
    let (mut length, mut chunked) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            _ => {}
        }
        headers.push((name, value));
    }
    let mut raw = Vec::new();
    if chunked {
        read_chunks(reader, &mut raw)?;
    } else {
        raw.resize(length, 0);
        reader.read_exact(&mut raw)?;
    }
    let body = serde_json::from_slice(&raw).unwrap_or_default();
    let (bytes, raw) = (raw.len(), raw.into());
    Ok(Some(Received { at: Instant::now(), method, target, headers, body, raw, bytes }))
}

fn read_chunks(reader: &mut BufReader<TcpStream>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        let came = reader.by_ref().take(size).read_to_end(into)?;
        if came as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end of a chunk; after the last one no trailers come from any client of ours.
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}
