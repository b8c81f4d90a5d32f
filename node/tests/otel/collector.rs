//! A small collector: takes spans by OTLP over HTTP, or keeps whoever sends them waiting.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;

/// The kind of a span that answers a request.
pub(crate) const SERVER: i32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    /// Reads and never answers.
    Hangs,
}

/// A span, as far as tests look at it. Ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    /// Trace and span of each.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) attributes: Vec<(String, String)>,
    /// What its status says.
    pub(crate) status: String,
    pub(crate) service: String,
    /// Which instance of it.
    pub(crate) node: String,
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    authorization: Option<String>,
    calls: usize,
}

pub(crate) struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Collector {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let taken = Arc::<Mutex<Taken>>::default();
        let shared = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, manner, &shared));
            }
        });
        Self { address, taken }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.with(|taken| taken.spans.clone())
    }

    pub(crate) fn authorization(&self) -> Option<String> {
        self.with(|taken| taken.authorization.clone())
    }

    pub(crate) fn calls(&self) -> usize {
        self.with(|taken| taken.calls)
    }

    fn with<T>(&self, look: impl FnOnce(&Taken) -> T) -> T {
        look(&self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(stream: TcpStream, manner: Manner, taken: &Mutex<Taken>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        assert_eq!(head[0], "POST /v1/traces HTTP/1.1");
        let header = |name: &str| {
            let mut pairs = head.iter().filter_map(|line| line.split_once(": "));
            pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        assert_eq!(header("content-type").as_deref(), Some("application/x-protobuf"));
        let length = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body comes");
        let spans = read(&body);
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.calls += 1;
        taken.authorization = header("authorization");
        if manner == Manner::Takes {
            taken.spans.extend(spans);
        }
        drop(taken);
        if manner == Manner::Hangs {
            // Until the other side has had enough.
            let _ = reader.read(&mut [0]);
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

fn read(body: &[u8]) -> Vec<Span> {
    let request = Request::decode(body).expect("it is what the protocol says");
    let mut spans = Vec::new();
    for whole in request.resource_spans {
        let resource = texts(&whole.resource.unwrap_or_default().attributes);
        let named = |name: &str| {
            let found = resource.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let (service, node) = (named("service.name"), named("service.instance.id"));
        spans.extend(whole.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| {
            Span {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                kind: span.kind,
                links: span.links.iter().map(|it| (hex(&it.trace_id), hex(&it.span_id))).collect(),
                attributes: texts(&span.attributes),
                status: span.status.unwrap_or_default().message,
                service: service.clone(),
                node: node.clone(),
            }
        }));
    }
    spans
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |value: &AnyValue| match &value.value {
        Some(Any::Text(text)) => text.clone(),
        Some(Any::Bool(on)) => on.to_string(),
        Some(Any::Int(number)) => number.to_string(),
        Some(Any::Double(number)) => number.to_string(),
        None => String::new(),
    };
    let pairs = attributes
        .iter()
        .map(|it| (it.key.clone(), it.value.as_ref().map_or_else(String::new, text)));
    pairs.collect()
}

// As much of opentelemetry/proto/collector/trace/v1/trace_service.proto as is looked at.

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Sent>,
}

#[derive(Clone, PartialEq, Message)]
struct Sent {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}
