//! Headers on their way through.
//!
//! Always: what belongs to one connection stays on it, the names its Connection header lists
//! included; the network's token and keys go no further; everything else passes as it came.

use std::net::IpAddr;

use hyper::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use hyper::{Version, http};
use skyclaw_protocol::principal::ApiKey;

use super::config::GatewayConfig;
use crate::auth::TOKEN;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Names of a Connection header that are looked at. Honest ones list two or three; each costs a
/// look at every header.
const MAX_LISTED: usize = 32;

/// How the gateway calls itself in Via.
const PSEUDONYM: &str = "skyclaw";

/// What a caller is to the gateway.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    shown: HeaderValue,
    trusted: bool,
    /// `http` or `https`: how it came here.
    scheme: &'static str,
}

impl Caller {
    pub(super) fn new(ip: IpAddr, config: &GatewayConfig) -> Self {
        let ip = ip.to_canonical();
        let shown = HeaderValue::from_str(&ip.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        Self { shown, trusted: config.trusts(ip), scheme }
    }
}

/// Whether a name is of one connection only.
pub(crate) fn is_of_the_connection(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TRANSFER_ENCODING
            | header::TE
            | header::UPGRADE
            | header::PROXY_AUTHORIZATION
            | header::PROXY_AUTHENTICATE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// The names a Connection header lists, in lower case, beside those that are dropped anyway.
pub(crate) fn listed(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    let words = values.flat_map(|value| value.split(',')).map(|word| word.trim());
    let usual = ["close", "keep-alive", "upgrade", "te", ""];
    let names = words.map(str::to_ascii_lowercase).filter(|word| !usual.contains(&word.as_str()));
    names.take(MAX_LISTED).collect()
}

/// The protocol a request wants to change to, if that can be passed on. Not HTTP/2: the endpoint
/// would then be spoken to past the gateway's rules.
pub(super) fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::UPGRADE)?;
    let names_it = headers.get_all(header::CONNECTION).iter().any(|value| {
        let words = value.to_str().unwrap_or_default().split(',');
        words.map(|word| word.trim()).any(|word| word.eq_ignore_ascii_case("upgrade"))
    });
    let protocol = wanted.to_str().ok()?.trim();
    let is_http = protocol
        .split(',')
        .any(|it| it.trim().get(..2).is_some_and(|it| it.eq_ignore_ascii_case("h2")));
    (version == Version::HTTP_11 && names_it && !is_http && !protocol.is_empty())
        .then(|| wanted.clone())
}

/// How many gateways a request went through.
pub(super) fn gateways(headers: &HeaderMap) -> usize {
    let values = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    let stations = values.flat_map(|value| value.split(','));
    stations.filter(|it| it.split_ascii_whitespace().nth(1) == Some(PSEUDONYM)).count()
}

/// The headers of a request for an endpoint. `host` is what it gets as Host, `asked` what the
/// caller asked for.
pub(super) fn request(
    theirs: &http::request::Parts,
    caller: &Caller,
    config: &GatewayConfig,
    host: &HeaderValue,
    asked: Option<&HeaderValue>,
    upgrade: Option<&HeaderValue>,
) -> HeaderMap {
    let headers = &theirs.headers;
    let listed =
        if headers.contains_key(header::CONNECTION) { listed(headers) } else { Vec::new() };
    let mut ours = HeaderMap::with_capacity(headers.len() + 6);
    ours.insert(header::HOST, host.clone());
    for (name, value) in headers {
        let dropped = is_of_the_connection(name)
            || *name == header::HOST
            // Said anew, from how the body really comes.
            || *name == header::CONTENT_LENGTH
            || is_secret(name, value, config)
            || listed.iter().any(|it| it == name.as_str());
        if !dropped {
            ours.append(name.clone(), value.clone());
        }
    }
    if theirs.version == Version::HTTP_2 {
        join_cookies(&mut ours);
    }
    if wants_trailers(headers) {
        ours.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        ours.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        ours.insert(header::UPGRADE, protocol.clone());
    }
    forwarded(&mut ours, caller, asked);
    let via = match theirs.version {
        Version::HTTP_2 => "2.0 skyclaw",
        Version::HTTP_10 => "1.0 skyclaw",
        _ => "1.1 skyclaw",
    };
    ours.append(header::VIA, HeaderValue::from_static(via));
    ours
}

/// Says for whom the request is made. What a caller says itself counts if it is a trusted proxy.
fn forwarded(ours: &mut HeaderMap, caller: &Caller, asked: Option<&HeaderValue>) {
    if !caller.trusted {
        for name in [&FORWARDED_FOR, &FORWARDED_PROTO, &FORWARDED_HOST, &header::FORWARDED] {
            ours.remove(name);
        }
    }
    let chain = match ours.get(&FORWARDED_FOR) {
        Some(_) => {
            let mut all: Vec<u8> = Vec::new();
            for value in ours.get_all(&FORWARDED_FOR) {
                all.extend_from_slice(value.as_bytes());
                all.extend_from_slice(b", ");
            }
            all.extend_from_slice(caller.shown.as_bytes());
            HeaderValue::from_bytes(&all).unwrap_or_else(|_| caller.shown.clone())
        }
        None => caller.shown.clone(),
    };
    ours.insert(FORWARDED_FOR, chain);
    if let Entry::Vacant(entry) = ours.entry(FORWARDED_PROTO) {
        entry.insert(HeaderValue::from_static(caller.scheme));
    }
    if let (Entry::Vacant(entry), Some(asked)) = (ours.entry(FORWARDED_HOST), asked) {
        entry.insert(asked.clone());
    }
}

/// Whether a header shows the token or a key of the network, or of one of its principals: those have
/// a form of their own. Other credentials are the service's.
fn is_secret(name: &HeaderName, value: &HeaderValue, config: &GatewayConfig) -> bool {
    if *name == header::AUTHORIZATION {
        let value = value.as_bytes();
        let scheme = b"bearer ";
        return value.len() > scheme.len()
            && value[..scheme.len()].eq_ignore_ascii_case(scheme)
            && is_key(&value[scheme.len()..], config);
    }
    match name.as_str() {
        name if name == TOKEN.as_str() => true,
        "x-api-key" => is_key(value.as_bytes(), config),
        _ => false,
    }
}

fn is_key(shown: &[u8], config: &GatewayConfig) -> bool {
    let shown = shown.trim_ascii();
    config.is_secret(shown)
        || std::str::from_utf8(shown).is_ok_and(|text| ApiKey::parse(text).is_ok())
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        let words = value.to_str().unwrap_or_default().split(',');
        words.map(|word| word.trim()).any(|word| word.eq_ignore_ascii_case("trailers"))
    })
}

/// HTTP/2 may split cookies over several lines, HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::COOKIE).iter();
    if values.next().is_none() || values.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Takes out of an answer what is of the connection it came over.
pub(super) fn answer(headers: &mut HeaderMap) {
    let listed =
        if headers.contains_key(header::CONNECTION) { listed(headers) } else { Vec::new() };
    for name in listed {
        // Its length is part of the answer, whatever the endpoint says of it.
        if name != "content-length" {
            headers.remove(name.as_str());
        }
    }
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::TE,
        header::UPGRADE,
        header::PROXY_AUTHENTICATE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}

/// Takes out of trailers what must not pass.
pub(super) fn trailers(headers: &mut HeaderMap) {
    headers.remove(TOKEN);
}
