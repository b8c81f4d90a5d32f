//! A request from its head to the head of its answer: which service, which endpoints, what if one
//! fails.
//!
//! Always: each attempt goes to another endpoint; only GET, HEAD and OPTIONS have more than one, and
//! no more than the service's budget allows; an endpoint is blamed only for what it did.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, Version};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::download::{Answer, Download};
use super::error::{Failed, Refused};
use super::headers::{self, Caller};
use super::live::{Flight, Gateway, Service, Ticket, Upstream};
use super::pool::Link;
use super::target::{Rest, Target, target};
use super::upload::{Progress, Upload};
use super::{attempt, upgrade};

/// Tells the replica that answered, the number of attempts and how it was reached.
pub(super) const ROUTE: HeaderName = HeaderName::from_static("x-skyclaw-route");

/// What can be done about an error, for people.
const HINT: HeaderName = HeaderName::from_static("x-skyclaw-hint");

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Gateways a request may have gone through before it is taken for a loop.
const MAX_GATEWAYS: usize = 4;

/// A request as all its attempts see it.
pub(super) struct Asked<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) caller: &'a Caller,
    pub(super) head: &'a Parts,
    pub(super) rest: Rest<'a>,
    /// The Host the caller asked for.
    pub(super) host: Option<HeaderValue>,
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) expects: bool,
}

/// An answer whose body is still to come.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) link: Link,
    pub(super) flight: Flight,
}

/// What a request wants beside an answer.
struct Wish {
    /// To change to this protocol,
    protocol: Option<HeaderValue>,
    /// and to get the connection then.
    upgraded: Option<OnUpgrade>,
    /// To be told before it sends its body.
    expects: bool,
}

/// What a connection of a caller brings to each of its requests.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    /// Held by upgraded connections too.
    pub(super) place: Arc<dyn std::any::Any + Send + Sync>,
}

/// Answers a request.
pub(super) async fn handle(
    gateway: &Arc<Gateway>,
    visitor: &Visitor,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    let wish = headers::upgrade(request.version(), request.headers());
    let upgraded = wish.is_some().then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let version = head.version;
    let expects = expects_continue(&head);
    // From here on, a body that nobody takes is read and thrown away, so that the caller gets to
    // see why.
    let body = Upload::new(body, expects, gateway.config.body_idle);
    let wish = Wish { protocol: wish, upgraded, expects };
    let mut response = match respond(gateway, visitor, &head, body, wish).await {
        Ok(response) => response,
        Err(refused) => refusal(gateway, &refused),
    };
    if version == Version::HTTP_10 {
        // Said in its own version, hyper ends the connection and adds no contrary header.
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else {
        *response.version_mut() = Version::HTTP_11;
    }
    response
}

async fn respond(
    gateway: &Arc<Gateway>,
    visitor: &Visitor,
    head: &Parts,
    (upload, progress): (Upload, Option<Arc<Progress>>),
    wish: Wish,
) -> Result<Response<Answer>, Refused> {
    let host = host(head)?;
    let nothing = PathAndQuery::from_static("*");
    let path = head.uri.path_and_query().unwrap_or(&nothing);
    let live = gateway.live();
    let shown = host.as_ref().and_then(|host| host.to_str().ok());
    let (key, service, rest) = match target(path, shown, gateway.config.domain.as_deref()) {
        Target::Health if head.method == Method::GET => {
            return Ok(own(&json!({ "ok": true, "services": live.served })));
        }
        Target::Alive if head.method == Method::GET => return Ok(own(&json!({ "ok": true }))),
        Target::Health | Target::Alive | Target::Nothing => return Err(Refused::NotFound),
        Target::BadKey => return Err(Refused::BadKey),
        Target::Key { key, rest } => {
            let service = live.by_key(&key).cloned();
            (key.into_owned(), service, rest)
        }
        Target::Host { name, rest } => {
            let service = live.by_host(&name).cloned();
            (name, service, rest)
        }
    };
    drop(live);
    let Some(service) = service.filter(|service| !service.upstreams.is_empty()) else {
        return Err(Refused::NoEndpoints(key));
    };
    let gateways = headers::gateways(&head.headers);
    if gateways >= MAX_GATEWAYS {
        return Err(Refused::Loop(gateways));
    }
    let ticket = gateway.admit(&service)?;
    let asked = Asked {
        gateway,
        caller: &visitor.caller,
        head,
        rest,
        host,
        upgrade: wish.protocol,
        progress,
        expects: wish.expects,
    };
    let began = Instant::now();
    let (answered, attempts) = attempts(&asked, &service, upload, &key).await?;
    service.kept.metrics.answered(answered.response.status().as_u16(), began.elapsed());
    match wish.upgraded {
        Some(upgraded) if answered.response.status() == 101 => {
            Ok(upgrade::pass(&asked, answered, attempts, upgraded, visitor, ticket).await)
        }
        _ => Ok(pass(&asked, answered, attempts, ticket).await),
    }
}

/// Whether the caller holds its body back. Old ones cannot mean it.
fn expects_continue(head: &Parts) -> bool {
    !matches!(head.version, Version::HTTP_09 | Version::HTTP_10)
        && (head.headers.get(header::EXPECT))
            .is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The Host asked for: of the target if that is absolute, else of the header. Only an old request
/// may do without.
fn host(head: &Parts) -> Result<Option<HeaderValue>, Refused> {
    let mut values = head.headers.get_all(header::HOST).iter();
    let (first, second) = (values.next(), values.next());
    let is_missing = first.is_none() && head.version == Version::HTTP_11;
    if second.is_some() || is_missing {
        return Err(Refused::BadHost);
    }
    match head.uri.authority() {
        Some(authority) => {
            let text = authority.as_str();
            let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
            HeaderValue::from_str(host).map(Some).map_err(|_| Refused::BadHost)
        }
        None => Ok(first.cloned()),
    }
}

/// Tries endpoints until one answers below 500 or there is no other to try. With the answer comes
/// the number of attempts.
async fn attempts(
    asked: &Asked<'_>,
    service: &Arc<Service>,
    upload: Upload,
    key: &str,
) -> Result<(Answered, usize), Refused> {
    let gateway = asked.gateway;
    let idempotent = matches!(asked.head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let retries = if idempotent { gateway.config.retry_attempts as usize } else { 0 };
    let most = retries.saturating_add(1).min(service.upstreams.len());
    let budget = &service.kept.budget;
    budget.earn();
    let mut upload = Some(upload);
    let mut tried: Vec<usize> = Vec::new();
    let mut failures: Vec<(String, Failed)> = Vec::new();
    let mut answer: Option<Answered> = None;
    let turn = service.turn();
    while let Some(at) = service.choose(gateway, turn, &tried) {
        let Some(upstream) = service.upstreams.get(at) else { break };
        let body = upload.take().unwrap_or_else(Upload::none);
        let begun = Instant::now();
        let is_other = |n: usize| n != at && !tried.contains(&n);
        let lives = |(n, other): (usize, &Arc<Upstream>)| is_other(n) && !other.health.is_lost();
        let elsewhere = tried.len() + 1 < most && service.upstreams.iter().enumerate().any(lives);
        match attempt::attempt(asked, upstream, body, idempotent, elsewhere).await {
            Ok(answered) => {
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                upstream.health.measured(gateway.now(), took);
                if !answered.response.status().is_server_error() {
                    upstream.health.answered();
                    return Ok((answered, tried.len() + 1));
                }
                gateway.note_failure(upstream, "status");
                answer = Some(answered);
            }
            Err((failed, unsent)) => {
                if matches!(failed, Failed::Caller) {
                    return Err(Refused::BrokenBody);
                }
                if failed.is_the_endpoints() {
                    gateway.note_failure(upstream, failed.reason());
                } else {
                    gateway.metrics.failed(failed.reason());
                }
                failures.push((upstream.replica.clone(), failed));
                upload = unsent;
            }
        }
        tried.push(at);
        // A body that was sent, even in part, cannot be sent again.
        let whole = asked.progress.is_none() || upload.is_some();
        if tried.len() >= most || !whole || !budget.spend(gateway.now()) {
            break;
        }
        service.kept.metrics.retries.inc();
    }
    let attempts = tried.len();
    answer.map(|answered| (answered, attempts)).ok_or_else(|| no_answer(key, &failures))
}

fn no_answer(key: &str, failures: &[(String, Failed)]) -> Refused {
    let in_time = failures.last().is_none_or(|(_, failed)| !failed.is_time());
    let service = key.to_owned();
    let tried = failures.iter().map(|(who, failed)| (who.clone(), failed.said())).collect();
    if in_time {
        Refused::NoAnswer { service, tried }
    } else {
        Refused::NoAnswerInTime { service, tried }
    }
}

/// Passes an answer on.
async fn pass(
    asked: &Asked<'_>,
    answered: Answered,
    attempts: usize,
    ticket: Ticket,
) -> Response<Answer> {
    let Answered { response, mut link, flight } = answered;
    let (mut parts, body) = response.into_parts();
    headers::answer(&mut parts.headers);
    if let Some(shown) = flight.upstream().shown(attempts, link.path) {
        parts.headers.insert(ROUTE, shown);
    }
    if body.is_end_stream() {
        let free = std::future::poll_fn(|cx| std::task::Poll::Ready(link.is_free(cx))).await;
        if free {
            flight.upstream().pool.put(link);
        }
        return Response::from_parts(parts, Answer::empty());
    }
    let idle = asked.gateway.config.body_idle;
    let download = Download::new(body, link, flight, Some(ticket), asked.progress.clone(), idle);
    Response::from_parts(parts, Answer::Theirs(download))
}

/// An answer of status 200 in our own words.
fn own(value: &Value) -> Response<Answer> {
    // Writing a `Value` to memory cannot fail.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Answer::Own(Full::new(Bytes::from(text))));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

fn refusal(gateway: &Gateway, refused: &Refused) -> Response<Answer> {
    gateway.metrics.refused(refused.reason());
    let mut response = own(&json!({ "error": refused.to_string() }));
    *response.status_mut() = refused.status();
    let headers = response.headers_mut();
    if let Some(hint) = refused.hint() {
        headers.insert(HINT, HeaderValue::from_static(hint));
    }
    match refused {
        Refused::NoEndpoints(_) | Refused::Busy(..) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // What is left of the body cannot be told from the next request.
        Refused::BrokenBody | Refused::BadHost => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Refused::NoAnswer { tried, .. } | Refused::NoAnswerInTime { tried, .. } => {
            if let Ok(shown) = HeaderValue::from_str(&format!("attempts={}", tried.len())) {
                headers.insert(ROUTE, shown);
            }
        }
        _ => {}
    }
    response
}
