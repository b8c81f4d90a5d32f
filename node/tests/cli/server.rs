//! A coordinator that says what it was told to say, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status and a body.
    Body(u16, String),
    /// The client is sent elsewhere.
    Redirect(String),
    /// The request is read, then the connection closed.
    HangUp,
    /// The beginning of an answer of 200, then the connection is lost.
    Cut(String),
}

/// An answer of 200 with this document.
pub(crate) fn ok(document: Value) -> Reply {
    Reply::Body(200, document.to_string())
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and path, e.g. `GET /v1/jobs`.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

/// Answers with the replies in turn, then with the last one for ever.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn new(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        // The thread ends with the test process.
        std::thread::spawn(move || {
            for (at, stream) in listener.incoming().enumerate() {
                let reply = replies.get(at).or_else(|| replies.last()).expect("a reply");
                serve(stream.expect("a connection"), reply, &log);
            }
        });
        Self { url, seen }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic while held").clone()
    }

    #[track_caller]
    pub(crate) fn only_request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }
}

fn serve(mut stream: TcpStream, reply: &Reply, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    log.lock().expect("no panic while held").push(Request {
        line: lines[0].trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: String::from_utf8(body).expect("text"),
    });
    let (status, location, body) = match reply {
        Reply::Body(status, body) => (*status, String::new(), body.as_str()),
        Reply::Redirect(url) => (307, format!("location: {url}\r\n"), "elsewhere"),
        Reply::HangUp => return,
        Reply::Cut(text) => {
            let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\
                        content-length: 1000000\r\n\r\n";
            drop(stream.write_all(format!("{head}{text}").as_bytes()));
            return;
        }
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{location}\
             content-length: {}\r\n\r\n",
        body.len()
    );
    // A client that has gone is part of some tests.
    drop(stream.write_all(format!("{head}{body}").as_bytes()));
}
