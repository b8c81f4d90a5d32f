//! Which service a request names, and what is asked of it.
//!
//! Always: the path is matched as sent; dot segments are resolved within what the service gets, so
//! no spelling leads out of a service or out of an endpoint's path prefix.

use std::borrow::Cow;

use hyper::http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;

const PREFIX: &str = "/v1/gateway/";

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// The list of what is served.
    Health,
    /// Whether the gateway itself answers.
    Alive,
    /// A service, by name or id.
    Key { key: Cow<'a, str>, rest: Rest<'a> },
    /// A service, by the host asked for.
    Host { name: String, rest: Rest<'a> },
    /// The key does not decode.
    BadKey,
    /// Nothing of ours.
    Nothing,
}

/// Path and query for the service; begins with a slash.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rest<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) query: Option<&'a str>,
}

impl<'a> Rest<'a> {
    fn new(path: &'a str, query: Option<&'a str>) -> Self {
        let path = if path.is_empty() { Cow::Borrowed("/") } else { without_dots(path) };
        Self { path, query: query.filter(|query| !query.is_empty()) }
    }

    /// What is asked of an endpoint whose paths begin with `prefix`.
    pub(super) fn under(&self, prefix: &str) -> String {
        let query = self.query.unwrap_or_default();
        let mut all = String::with_capacity(prefix.len() + self.path.len() + query.len() + 1);
        all.push_str(prefix);
        // `OPTIONS *` asks about all there is; of an endpoint that is what is below its prefix.
        let all_there_is = !prefix.is_empty() && !self.path.starts_with('/');
        all.push_str(if all_there_is { "/" } else { &self.path });
        if let Some(query) = self.query {
            all.push('?');
            all.push_str(query);
        }
        all
    }
}

/// Finds what is asked for. `host` is the Host of the request, `domain` the one whose subdomains
/// are services, in lower case.
pub(super) fn target<'a>(
    asked: &'a PathAndQuery,
    host: Option<&str>,
    domain: Option<&str>,
) -> Target<'a> {
    let (path, query) = (asked.path(), asked.query());
    if let Some(name) = host.zip(domain).and_then(|(host, domain)| subdomain(host, domain)) {
        return Target::Host { name, rest: Rest::new(path, query) };
    }
    match path {
        "/health" => return Target::Health,
        "/healthz" => return Target::Alive,
        _ => {}
    }
    let Some(after) = path.strip_prefix(PREFIX).filter(|after| !after.is_empty()) else {
        return Target::Nothing;
    };
    let (key, rest) = after.find('/').map_or((after, ""), |slash| after.split_at(slash));
    if key.is_empty() {
        return Target::Nothing;
    }
    match percent_decode_str(key).decode_utf8() {
        Ok(key) => Target::Key { key, rest: Rest::new(rest, query) },
        Err(_) => Target::BadKey,
    }
}

/// Which service a path and a `Host` name, if one, and what an endpoint whose paths begin with `prefix`
/// would be asked: `target` as tests on hostile texts see it.
#[must_use]
pub fn named(
    path: &str,
    host: Option<&str>,
    domain: Option<&str>,
    prefix: &str,
) -> Option<(String, String)> {
    let asked: PathAndQuery = path.parse().ok()?;
    match target(&asked, host, domain) {
        Target::Key { key, rest } => Some((key.into_owned(), rest.under(prefix))),
        Target::Host { name, rest } => Some((name, rest.under(prefix))),
        Target::Health | Target::Alive | Target::BadKey | Target::Nothing => None,
    }
}

/// The name before the domain, in lower case.
fn subdomain(host: &str, domain: &str) -> Option<String> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let cut = host.len().checked_sub(domain.len())?;
    let (name, tail) = (host.get(..cut)?, host.get(cut..)?);
    let name = name.strip_suffix('.').filter(|name| !name.is_empty())?;
    tail.eq_ignore_ascii_case(domain).then(|| name.to_ascii_lowercase())
}

/// Resolves `.` and `..` as URLs do it, also in their escaped spellings, and escapes `\\`, which many
/// take for `/` (WHATWG URL, 4.4). Everything else stays as it is: empty segments, the last slash, escapes.
fn without_dots(path: &str) -> Cow<'_, str> {
    if path.contains('\\') {
        return Cow::Owned(without_dots(&path.replace('\\', "%5C")).into_owned());
    }
    if !path.split('/').any(|segment| dots(segment) > 0) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            0 => kept.push(segment),
            1 if last => kept.push(""),
            1 => {}
            _ => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
        }
    }
    let mut all = String::with_capacity(path.len());
    for segment in kept {
        all.push('/');
        all.push_str(segment);
    }
    if all.is_empty() { Cow::Borrowed("/") } else { Cow::Owned(all) }
}

/// 1 for `.`, 2 for `..`, 0 for everything else.
fn dots(segment: &str) -> usize {
    let mut left = segment;
    let mut count = 0;
    while !left.is_empty() {
        left = match left.as_bytes() {
            [b'.', ..] => &left[1..],
            [b'%', b'2', b'e' | b'E', ..] => &left[3..],
            _ => return 0,
        };
        count += 1;
    }
    if count <= 2 { count } else { 0 }
}
