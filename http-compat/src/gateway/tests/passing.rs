//! What passes through, and what does not.

use std::sync::Arc;

use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderValue};
use skyclaw_protocol::principal::ApiKey;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use super::rig::{
    Origin, SOON, gate, gate_with, head, quiet, raw_origin, serve_origin, table, text, whole,
};
use crate::gateway::GatewayConfig;
use crate::{PublicKey, Secret};

#[tokio::test]
async fn g10_headers_are_passed_on_except_those_of_the_connection() {
    let origin = Origin::named("x").await;
    let gate = gate(&[origin.addr]).await;
    let headers = [
        ("connection", "close, X-Mine"),
        ("keep-alive", "timeout=3"),
        ("proxy-connection", "close"),
        ("proxy-authorization", "secret"),
        ("te", "gzip, trailers"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAA"),
        ("x-mine", "1"),
        ("cookie", "a=1"),
        ("authorization", "Basic abc"),
        ("x-api-key", "the-services-own"),
        ("accept-encoding", "br"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    ];
    assert_eq!(gate.call("POST", "/v1/gateway/api/x", &headers, "body").await.status, 200);
    let seen = origin.last();
    for (name, want) in [
        ("connection", None),
        ("keep-alive", None),
        ("proxy-connection", None),
        ("proxy-authorization", None),
        ("upgrade", None),
        ("http2-settings", None),
        ("x-mine", None),
        ("te", Some("trailers")),
        ("cookie", Some("a=1")),
        ("authorization", Some("Basic abc")),
        ("x-api-key", Some("the-services-own")),
        ("accept-encoding", Some("br")),
        ("content-length", Some("4")),
        ("via", Some("1.1 skyclaw")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("user-agent", None),
    ] {
        assert_eq!(seen.header(name), want, "{name}");
    }
    assert_eq!(seen.header("host"), Some(origin.addr.to_string().as_str()));
    assert_eq!(seen.header("x-forwarded-host"), Some(gate.addr.to_string().as_str()));
    assert_eq!(seen.headers.get_all("x-twice").iter().count(), 2);
    assert_eq!(seen.body, "body");
}

#[tokio::test]
async fn a_trusted_proxys_word_is_kept_and_added_to() {
    let origin = Origin::named("x").await;
    // Tests call from loopback, which is trusted.
    let gate = gate(&[origin.addr]).await;
    let headers = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("via", "1.1 front"),
    ];
    gate.call("GET", "/v1/gateway/api", &headers, "").await;
    let seen = origin.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(seen.headers.get_all("via").iter().count(), 2);
}

#[test]
fn a_strangers_word_about_whom_it_speaks_for_is_dropped() {
    let config = quiet();
    let caller = super::super::headers::Caller::new("203.0.113.7".parse().unwrap(), &config);
    let request = hyper::Request::builder()
        .header("host", "a")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "for=10.0.0.1");
    let (head, ()) = request.body(()).unwrap().into_parts();
    let host = HeaderValue::from_static("endpoint");
    let made = super::super::headers::request(&head, &caller, &config, &host, Some(&host), None);
    assert_eq!(made.get("x-forwarded-for").unwrap(), "203.0.113.7");
    assert_eq!(made.get("x-forwarded-proto").unwrap(), "http");
    assert!(!made.contains_key("forwarded"));
}

#[tokio::test]
async fn f34_the_networks_token_and_keys_are_never_passed_on() {
    let origin = Origin::named("x").await;
    let config = GatewayConfig {
        token: Secret::new("the-token"),
        public_keys: PublicKey::parse_list("key-1:web,key-2"),
        ..quiet()
    };
    let gate = gate_with(config, table(&[("svc_api", "api", &[origin.addr])])).await;
    let id = ApiKey::id_of([7; 10]).unwrap();
    let principals = ApiKey::new(id, [7; 32]).expose();
    for (name, value, passes) in [
        ("x-skyclaw-token", "the-token", false),
        ("x-skyclaw-token", "anything", false),
        ("x-api-key", "key-2", false),
        ("x-api-key", " the-token ", false),
        ("x-api-key", "key-3", true),
        ("authorization", "Bearer key-1", false),
        ("authorization", "bearer  the-token", false),
        ("authorization", &format!("Bearer {}", *principals), false),
        ("x-api-key", &principals, false),
        // One letter off it is nobody's.
        ("x-api-key", &format!("{}x", *principals), true),
        ("authorization", "Bearer someone-elses", true),
        ("authorization", "Basic a2V5LTE6", true),
    ] {
        let reply = gate.call("GET", "/v1/gateway/api", &[(name, value)], "").await;
        assert_eq!(reply.status, 200);
        assert_eq!(origin.last().header(name).is_some(), passes, "{name}: {value}");
    }
}

#[tokio::test]
async fn f34_redirects_are_the_callers_to_follow() {
    let inside = Origin::named("secret").await;
    let location = format!("http://{}/admin", inside.addr);
    let to = location.clone();
    let origin = Origin::new(move |_| {
        let mut response = text("");
        *response.status_mut() = hyper::StatusCode::FOUND;
        response.headers_mut().insert("location", to.parse().unwrap());
        response
    })
    .await;
    let gate = gate(&[origin.addr]).await;
    let reply = gate.call("GET", "/v1/gateway/api", &[("x-skyclaw-token", "t")], "").await;
    assert_eq!((reply.status, reply.header("location")), (302, location.as_str()));
    assert_eq!((origin.count(), inside.count()), (1, 0));
}

#[tokio::test]
async fn f34_link_local_addresses_are_no_endpoints() {
    let urls = ["http://169.254.169.254/latest".to_owned(), "http://[fe80::1]:80".to_owned()];
    let route = super::rig::route("svc_api", "api", &urls);
    let gate = gate_with(quiet(), crate::gateway::Table::of_routes(vec![route])).await;
    let reply = gate.get("/v1/gateway/api").await;
    let said = reply.text();
    assert_eq!(reply.status, 502, "{said}");
    assert!(said.contains("link-local"), "{said}");
}

#[tokio::test]
async fn f30_encodings_and_cookies_pass_untouched() {
    let origin = Origin::new(|_| {
        // Not gzip at all: nobody is to look.
        let mut response = Response::new(whole(&b"\x1f\x8b\x08 packed"[..]));
        let headers = response.headers_mut();
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        headers.append("set-cookie", HeaderValue::from_static("a=1; Path=/"));
        headers.append("set-cookie", HeaderValue::from_static("b=2, c"));
        headers.insert("etag", HeaderValue::from_static("\"x\""));
        headers.insert("x-skyclaw-route", HeaderValue::from_static("forged"));
        headers.insert("connection", HeaderValue::from_static("x-private"));
        headers.insert("x-private", HeaderValue::from_static("1"));
        response
    })
    .await;
    let gate = gate(&[origin.addr]).await;
    let reply = gate.get("/v1/gateway/api").await;
    assert_eq!(&reply.body[..], b"\x1f\x8b\x08 packed");
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert_eq!(reply.header("content-length"), "10");
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2, c"]);
    assert_eq!(reply.header("etag"), "\"x\"");
    assert_eq!(reply.header("x-skyclaw-route"), "replica=h1; attempts=1; path=tcp");
    assert!(!reply.headers.contains_key("x-private"), "{reply:?}");
}

#[tokio::test]
async fn g11_g12_statuses_and_bodiless_answers_pass() {
    for status in [200, 201, 204, 206, 304, 400, 404, 418, 429] {
        let origin = Origin::new(move |_| {
            let mut response = text(if matches!(status, 204 | 304) { "" } else { "body" });
            *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
            response
        })
        .await;
        let gate = gate(&[origin.addr]).await;
        for _ in 0..2 {
            let reply = gate.get("/v1/gateway/api").await;
            let want = if matches!(status, 204 | 304) { "" } else { "body" };
            assert_eq!((reply.status, reply.text()), (status, want));
        }
    }
}

#[tokio::test]
async fn head_keeps_the_length_and_the_connection() {
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let (addr, _task) = raw_origin(move |mut stream| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            while head(&mut stream).await.starts_with("HEAD /big ") {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    // Each thread keeps its own connections.
    let config = GatewayConfig { threads: 1, ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[addr])])).await;
    for _ in 0..3 {
        let reply = gate.call("HEAD", "/v1/gateway/api/big", &[], "").await;
        assert_eq!((reply.status, reply.header("content-length")), (200, "1000000"));
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let got: Arc<Mutex<Option<HeaderMap>>> = Arc::default();
    let log = Arc::clone(&got);
    let (addr, _task) = serve_origin(move |request| {
        let log = Arc::clone(&log);
        async move {
            let all = request.into_body().collect().await.unwrap();
            *log.lock().await = all.trailers().cloned();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("42"));
            let frames = [Ok(Frame::data(all.to_bytes())), Ok(Frame::trailers(trailers))];
            let body = BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)));
            Response::builder().header("trailer", "x-sum").body(body).unwrap()
        }
    })
    .await;
    let gate = gate(&[addr]).await;
    let request = "POST /v1/gateway/api HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\
                   transfer-encoding: chunked\r\ntrailer: x-mine\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-mine: 7\r\n\r\n";
    let answer = gate.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
    assert_eq!(got.lock().await.as_ref().unwrap().get("x-mine").unwrap(), "7");
}

#[tokio::test]
async fn a_request_has_one_framing_whatever_it_came_with() {
    let (heads, mut seen) = tokio::sync::mpsc::channel(8);
    let (addr, _task) = raw_origin(move |mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(head(&mut stream).await).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok").await;
        }
    })
    .await;
    let gate = gate(&[addr]).await;
    for both in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let request = format!(
            "POST /v1/gateway/api HTTP/1.1\r\nhost: a\r\n{both}\r\nconnection: close\r\n\r\n0\r\n\r\n"
        );
        let answer = gate.raw(&request).await;
        if answer.starts_with("HTTP/1.1 400") {
            continue;
        }
        let head = tokio::time::timeout(SOON, seen.recv()).await.unwrap().unwrap();
        let framings =
            head.matches("transfer-encoding").count() + head.matches("content-length").count();
        assert_eq!(framings, 1, "{head}");
    }
    for bad in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "content-length: 5, 6",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: xchunked",
        "x: a\r\n folded",
        "content-length : 5",
    ] {
        let request = format!(
            "POST /v1/gateway/api HTTP/1.1\r\nhost: a\r\n{bad}\r\nconnection: close\r\n\r\nhello"
        );
        let answer = gate.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad}: {answer}");
    }
    assert!(seen.try_recv().is_err(), "none of these may reach an endpoint");
}

#[tokio::test]
async fn a_loop_of_gateways_ends() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner = listener.local_addr().unwrap();
    drop(listener);
    // A gateway whose endpoint is the gateway itself.
    let url = [format!("http://{inner}/v1/gateway/api")];
    let listener = tokio::net::TcpListener::bind(inner).await.unwrap();
    let route = super::rig::route("svc_api", "api", &url);
    let table = crate::gateway::Table::of_routes(vec![route]);
    let (_sender, receiver) = tokio::sync::watch::channel(Arc::new(table));
    let stop = tokio_util::sync::CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    tokio::spawn(crate::gateway::serve_gateway(
        listener,
        quiet(),
        receiver,
        Arc::new(crate::gateway::TcpOnly),
        crate::gateway::GatewayMetrics::default(),
        stop,
        std::time::Duration::from_secs(1),
    ));
    let outer = gate(&[inner]).await;
    let reply = outer.get("/v1/gateway/api/v1/gateway/api").await;
    assert_eq!(reply.status, 508, "{reply:?}");
}
