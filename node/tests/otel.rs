//! Traces of real nodes, as a collector gets them. Only with the feature that sends any:
//! `cargo test --workspace --features skyclaw-node/otel --test otel`.

#[path = "otel/collector.rs"]
mod collector;
#[path = "otel/node.rs"]
mod node;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use collector::{Collector, Manner, Span};
use node::{Node, within};
use serde_json::json;

/// What a caller sent along, and the trace it names.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CALLERS: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A request that is traced, as any but those of probes.
const LOOK: &str = "/v1/jobs";

/// Stands in what must not be in any span.
const PRIVATE: &str = "quite-private";

/// The trace of a job: its UUID, as OpenTelemetry writes ids.
fn trace_of(job: &str) -> String {
    job.trim_start_matches("job_").replace('-', "")
}

#[track_caller]
fn until_spans<T>(collector: &Collector, what: &str, find: impl Fn(&[Span]) -> Option<T>) -> T {
    within(Duration::from_secs(20), what, || {
        let spans = collector.spans();
        find(&spans).ok_or_else(|| format!("{spans:#?}"))
    })
}

#[test]
fn one_trace_holds_what_two_nodes_did_about_a_job() {
    let collector = Collector::start(Manner::Takes);
    let url = collector.url();
    let secret = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20quite-private");
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), secret];
    let mut a = Node::coordinator("a", &env);
    let mut h = Node::host("h", &a, &env);
    let script = format!("env; echo {PRIVATE}");
    let payload = json!({ "kind": "shell", "command": "sh", "args": ["-c", script] });
    let job = a.submit(&payload, &[("traceparent", PARENT)]);
    let done = a.until_completed(&job);
    let said = done["result"]["stdout"].as_str().expect("it wrote");
    assert!(said.contains(PRIVATE) && !said.contains("OTEL_"), "{said}");

    let trace = trace_of(&job);
    let of_job = until_spans(&collector, "the job's spans", |spans| {
        let found: Vec<_> = spans.iter().filter(|span| span.trace == trace).cloned().collect();
        let names = ["submit", "lease", "job", "report"];
        names.iter().all(|name| found.iter().any(|span| span.name == *name)).then_some(found)
    });
    for (name, node, attempt) in [
        ("submit", "a", None),
        ("lease", "a", Some("1")),
        ("job", "h", Some("1")),
        ("report", "a", Some("1")),
    ] {
        let span = of_job.iter().find(|span| span.name == name).expect("it is there");
        assert_eq!(span.attribute("job"), Some(job.as_str()), "{span:?}");
        assert_eq!((span.node.as_str(), span.attribute("attempt")), (node, attempt), "{span:?}");
        assert_eq!(span.parent, of_job[0].parent, "all stand below the job itself: {span:?}");
    }
    let run = of_job.iter().find(|span| span.name == "job").expect("it is there");
    assert_eq!(run.attribute("exit_code"), Some("0"), "{run:?}");

    let request = until_spans(&collector, "the request", |spans| {
        spans.iter().find(|span| span.trace == CALLERS).cloned()
    });
    assert_eq!((request.name.as_str(), request.kind), ("POST /v1/jobs", collector::SERVER));
    assert_eq!(request.parent, "00f067aa0ba902b7");
    assert_eq!(request.attribute("http.response.status_code"), Some("200"), "{request:?}");
    assert_eq!(request.attribute("job"), Some(job.as_str()), "{request:?}");
    let submit = of_job.iter().find(|span| span.name == "submit").expect("it is there");
    assert_eq!(submit.links, [(CALLERS.to_owned(), request.id)], "each leads to the other");

    for span in collector.spans() {
        let mut names: Vec<_> = span.attributes.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{span:?}");
        assert!(span.links.len() <= 1, "{span:?}");
    }

    // The route of a request stands in its span, and neither its path nor its query.
    a.get(&format!("/v1/jobs/{job}?{PRIVATE}=1"));
    until_spans(&collector, "a look", |spans| {
        spans.iter().find(|span| span.name == "GET /v1/jobs/:id").cloned()
    });
    assert!(!format!("{:?}", collector.spans()).contains(PRIVATE), "{:?}", collector.spans());
    assert_eq!(collector.authorization().as_deref(), Some("Bearer quite-private"));
    for node in [&mut a, &mut h] {
        node.stop(Duration::from_secs(10));
        assert!(!node.log().contains(PRIVATE), "{}", node.log());
    }
}

#[test]
fn what_a_node_did_last_is_sent_before_it_stops() {
    let collector = Collector::start(Manner::Takes);
    // Nothing would be sent for an hour.
    let url = collector.url();
    let env = [("SKYCLAW_OTLP", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let mut a = Node::coordinator("a", &env);
    for probe in ["/healthz", "/readyz"] {
        a.get(probe);
    }
    a.get(LOOK);
    assert!(collector.spans().is_empty());
    a.stop(Duration::from_secs(10));
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["GET /v1/jobs"], "what watches a node is not traced");
}

#[test]
fn only_holders_of_the_token_name_the_trace_of_a_request() {
    let collector = Collector::start(Manner::Takes);
    let url = collector.url();
    // Of these nothing would be sent, were it not for a trace that is sent.
    let env = [("SKYCLAW_OTLP", url.as_str()), ("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    let mut a = Node::coordinator("a", &env);
    let made = a.post("/v1/principals", &json!({ "name": "eye", "scopes": ["read"] }));
    let key = made["key"].as_str().expect("it is told once").to_owned();
    assert_eq!(a.get_as(None, "/v1/hosts", PARENT), 401);
    assert_eq!(a.get_as(Some("sk_nonsense"), "/v1/hosts", PARENT), 401);
    assert_eq!(a.get_as(None, "/v1/public/jobs/x", PARENT), 503);
    assert_eq!(a.get_as(None, "/nowhere", PARENT), 401);
    assert_eq!(a.get_as(Some(&key), "/v1/hosts", PARENT), 200);
    a.get_with(LOOK, &[("traceparent", PARENT)]);
    a.stop(Duration::from_secs(10));
    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| (span.name.as_str(), &span.trace[..])).collect();
    assert_eq!(names, [("GET /v1/jobs", CALLERS)]);
}

#[test]
fn a_principals_span_is_in_a_trace_of_its_own_that_names_the_callers() {
    let collector = Collector::start(Manner::Takes);
    let url = collector.url();
    let mut a = Node::coordinator("a", &[("SKYCLAW_OTLP", url.as_str())]);
    let made = a.post("/v1/principals", &json!({ "name": "eye", "scopes": ["read"] }));
    let key = made["key"].as_str().expect("it is told once").to_owned();
    assert_eq!(a.get_as(Some(&key), "/v1/hosts", PARENT), 200);
    assert_eq!(a.get_as(None, "/v1/services", PARENT), 401);
    a.stop(Duration::from_secs(10));
    let spans = collector.spans();
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it was sent");
    let (known, unknown) = (named("GET /v1/hosts"), named("GET /v1/services"));
    assert!(known.trace != CALLERS && unknown.trace != CALLERS, "{spans:#?}");
    assert_eq!(known.links, [(CALLERS.to_owned(), "00f067aa0ba902b7".to_owned())]);
    assert_eq!(unknown.links, []);
}

#[test]
fn a_refused_step_says_why_in_one_word() {
    let collector = Collector::start(Manner::Takes);
    let url = collector.url();
    let mut a = Node::coordinator("a", &[("SKYCLAW_OTLP", url.as_str())]);
    a.post("/v1/jobs/job_of_nobody/cancel", &json!({}));
    a.stop(Duration::from_secs(10));
    let spans = collector.spans();
    let cancel = spans.iter().find(|span| span.name == "cancel").expect("it was asked for");
    assert_eq!(cancel.status, "unknown_job", "{cancel:?}");
}

#[test]
fn user_and_password_of_the_url_are_sent_and_told_nowhere() {
    let collector = Collector::start(Manner::Takes);
    let host = collector.url().replace("http://", "");
    let url = format!("http://user:{PRIVATE},%2F@{host}");
    // What is meant for traces alone is sent, and what the library would read by itself is not.
    let env = [
        ("SKYCLAW_OTLP", url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=other"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=one"),
        ("SKYCLAW_LOG", "trace"),
    ];
    let mut a = Node::coordinator("a", &env);
    a.get(LOOK);
    until_spans(&collector, "a span", |spans| spans.first().cloned());
    a.stop(Duration::from_secs(10));
    // `user:quite-private,/`
    let expected = "Basic dXNlcjpxdWl0ZS1wcml2YXRlLC8=";
    assert_eq!(collector.authorization().as_deref(), Some(expected));
    for secret in [PRIVATE, &expected["Basic ".len()..]] {
        assert!(!a.log().contains(secret), "{}", a.log());
    }
}

#[test]
fn a_collector_that_is_away_is_told_once() {
    let env = [("SKYCLAW_OTLP", "http://user:quite-private@127.0.0.1:1")];
    let mut a = Node::coordinator("a", &env);
    let warnings = |node: &Node| node.log().matches("takes no traces").count();
    within(Duration::from_secs(20), "the warning", || {
        a.get(LOOK);
        if warnings(&a) > 0 { Ok(()) } else { Err(a.log()) }
    });
    // So many batches as the delay makes of this.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        a.get(LOOK);
    }
    a.stop(Duration::from_secs(10));
    assert_eq!(warnings(&a), 1, "{}", a.log());
    assert!(!a.log().contains(PRIVATE), "{}", a.log());
}

#[test]
fn a_collector_that_hangs_holds_up_neither_requests_nor_the_end() {
    let collector = Collector::start(Manner::Hangs);
    let url = collector.url();
    let patience = ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    let mut a = Node::coordinator("a", &[("SKYCLAW_OTLP", url.as_str()), patience]);
    within(Duration::from_secs(20), "a batch on its way", || {
        a.get(LOOK);
        if collector.calls() > 0 { Ok(()) } else { Err(a.log()) }
    });
    // More than the queue holds.
    for _ in 0..3000 {
        let asked = Instant::now();
        a.get(LOOK);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    let asked = Instant::now();
    a.stop(Duration::from_secs(10));
    // Two seconds of them for what waits.
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    // Those that found no place are counted as well.
    let counts = a.log();
    let counts = counts.split("spans=").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<usize>().ok()
    });
    assert!(counts.sum::<usize>() >= 3000, "{}", a.log());
}

#[test]
fn a_collectors_name_that_nobody_resolves_does_not_hold_up_the_end() {
    if !rustix::process::geteuid().is_root() {
        let required = std::env::var("SKYCLAW_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "this test must run but is not run by root");
        eprintln!("skipped: a name server needs root");
        return;
    }
    // Takes questions and answers none.
    let server = UdpSocket::bind("127.83.0.1:53").expect("the address is free");
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("it can be set");
    let env = [("SKYCLAW_OTLP", "http://collector.example:4318")];
    let mut a = Node::with_nameserver("127.83.0.1", &env);
    a.get(LOOK);
    server.recv_from(&mut [0; 512]).expect("it is asked for the name");
    let asked = Instant::now();
    a.stop(Duration::from_secs(10));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[test]
fn a_collector_in_the_file_is_used_and_the_sampler_of_the_environment_too() {
    let collector = Collector::start(Manner::Takes);
    let line = format!("otlp = \"{}/\"\n", collector.url());
    let env = [("OTEL_TRACES_SAMPLER", "parentbased_always_off"), ("OTEL_SERVICE_NAME", "claw")];
    let mut a = Node::with_file("a", &line, &env);
    a.get(LOOK);
    // Its caller's word goes before the node's.
    a.get_with("/v1/hosts", &[("traceparent", PARENT)]);
    let one = until_spans(&collector, "the one", |spans| spans.first().cloned());
    a.stop(Duration::from_secs(10));
    assert_eq!((one.name.as_str(), one.service.as_str()), ("GET /v1/hosts", "claw"));
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["GET /v1/hosts"]);
}

#[test]
fn a_sampler_that_is_none_is_told_and_all_is_sent() {
    let collector = Collector::start(Manner::Takes);
    let url = collector.url();
    let env = [("SKYCLAW_OTLP", url.as_str()), ("OTEL_TRACES_SAMPLER", "some")];
    let mut a = Node::coordinator("a", &env);
    a.get(LOOK);
    until_spans(&collector, "a span", |spans| spans.first().cloned());
    a.stop(Duration::from_secs(10));
    assert!(a.log().contains("OTEL_TRACES_SAMPLER (env) is `some`"), "{}", a.log());
}
