//! Short texts: entries of lists of hosts, keys, hashes, names, urls, sealed values.
//!
//! Always: what is taken is written in one form, which is read as the same; what is secret is not shown.

use skyclaw_http_compat::gateway::{HttpPlace, named};
use skyclaw_http_compat::{PublicKey, endpoint_is_allowed, normalize_url};
use skyclaw_protocol::egress::{HostRule, NetworkAsk, Place};
use skyclaw_protocol::network::{Roles, Seed, Serial, network_name_holds};
use skyclaw_protocol::principal::ApiKey;
use skyclaw_protocol::seal::SealKeys;
use skyclaw_protocol::{Hash, HostId, JobId, ServiceId};

use crate::engine::targets;

targets! {
    host_rules { || of(&HOST_RULES, &NO_HOST_RULES), &[".", "*", ":", "[", "]", "0x7f", "::"], host_rule }
    network_lists { || of(&LISTS, &["a\n*.", ""]), &["\n", "any", "none", "*"], network_list }
    api_keys { api_keys, &["sky_", "_"], api_key }
    hashes { || of(&[HASH], &["", "0", "zz", HASH_UPPER]), &["0x", "+", " "], hash }
    membership_words { || of(&MEMBERSHIP, &["", "king"]), &["host", " ", "\0", ","], membership }
    ids { || of(&["job_1", "h\u{e4} 1", "a/b"], &[""]), &["\0", "/", "%2f"], id }
    urls { || of(&URLS, &["", "nothing", "//h"]), &["http://", "@", "[", "%", "//", "?", "#"], url }
    public_keys { || of(&["k:l:a|b:shell", "k", ",,k::"], &["", ":::"]), &[":", "|", ",", "shell"], public_keys }
    sealed_values { sealed, &[], sealed_value }
    gateway_paths { || of(&GATEWAY, &NO_GATEWAY), &GATEWAY_WORDS, gateway_path }
}

const HOST_RULES: [&str; 8] = [
    "example.org",
    "*.Example.org.",
    "*",
    "example.org:8080",
    "127.0.0.1",
    "[::1]:80",
    "::ffff:1.2.3.4",
    "a_b.test:1",
];
const NO_HOST_RULES: [&str; 7] = ["", "http://a", "a:0", "*a", "0x7f.1", "2130706433", "a..b"];
const LISTS: [&str; 3] = ["example.org\n*.example.net:443", "10.0.0.1", "none"];
const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const HASH_UPPER: &str = "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef";
const MEMBERSHIP: [&str; 3] = ["coordinator host", "gateway", "issuer"];
const URLS: [&str; 5] = [
    "http://h:8787/",
    "HTTPS://User:pw@Example.ORG:443/a/?q#f",
    "http://[::1]/a/../b",
    "x:y",
    "http://h//",
];
const GATEWAY: [&str; 8] = [
    "/v1/gateway/web/a/b?q=1\nh",
    "/v1/gateway/we%62/../x\nh",
    "/v1/gateway/web\nh",
    "/a/./%2e%2E/b\nweb.example.org:80",
    "/\nWEB.example.org.",
    "/v1/gateway/a//b/\nx",
    "/v1/gateway/%F0%9F%98%80/\nh",
    "/x?../..\nweb.example.org",
];
const NO_GATEWAY: [&str; 5] =
    ["/health\nh", "/v1/gateway/\nh", "/v1/gateway//a\nh", "/v1/gateway/%ff\nh", "/\nexample.org"];
const GATEWAY_WORDS: [&str; 8] =
    ["/", "..", "%2e", "%2E%2e", "%2f", "\nweb.example.org", "?", "/v1/gateway/"];

/// What hands texts in as they are, numbered.
fn of(good: &[&str], bad: &[&str]) -> Vec<(String, Vec<u8>)> {
    let named = |kind: &str, texts: &[&str]| {
        texts
            .iter()
            .enumerate()
            .map(|(n, text)| (format!("{kind}-{n}"), text.as_bytes().to_vec()))
            .collect::<Vec<_>>()
    };
    [named("ok", good), named("no", bad)].concat()
}

/// As a client's text arrives: nothing that is no text does.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn host_rule(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let Ok(rule) = HostRule::parse(text) else { return false };
    let again = HostRule::parse(&rule.to_string());
    assert_eq!(again.as_ref(), Ok(&rule), "{rule} is read otherwise than it was written");
    assert!(rule.covers(&rule));
    if let Ok(place) = Place::parse(&rule.to_string()) {
        assert!(rule.allows(&place, 443) && !rule.allows(&place, 22));
        assert_eq!(Place::parse(&place.to_string()).as_ref(), Ok(&place));
    }
    true
}

fn network_list(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let asked = match text {
        "none" | "any" => NetworkAsk::word(text),
        _ => NetworkAsk::hosts(text.split('\n')),
    };
    match asked {
        Ok(asked) => {
            assert!(asked.bytes() <= 4 * bytes.len() + 16);
            true
        }
        Err(fault) => {
            assert!((1..1000).contains(&fault.to_string().len()));
            false
        }
    }
}

fn key() -> ApiKey {
    ApiKey::new(ApiKey::id_of([3; 10]).expect("an id"), [4; 32])
}

fn api_keys() -> Vec<(String, Vec<u8>)> {
    let shown = key().expose();
    let mut made = of(&[&shown], &[&shown[1..], &shown[..shown.len() - 1], ""]);
    made.push(("no-upper".into(), shown.to_uppercase().into_bytes()));
    made
}

/// A text is that key or none.
fn api_key(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    match ApiKey::parse(text) {
        Ok(read) => {
            assert_eq!(read.expose().as_str(), text, "a key has two spellings");
            assert!(read.hash() == key().hash(), "another key");
            true
        }
        Err(error) => {
            assert!(text.len() < 8 || !error.to_string().contains(text));
            false
        }
    }
}

fn hash(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let Ok(read) = Hash::parse(text) else { return false };
    assert_eq!(read.hex(), text, "a blob has two names");
    true
}

fn membership(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let _ = network_name_holds(text);
    if let Some(serial) = Serial::parse(text) {
        assert_eq!(Serial::parse(&serial.to_string()), Some(serial));
    }
    if let Some(seed) = Seed::parse(text) {
        assert!(Seed::parse(&seed.to_text()).is_some());
    }
    match Roles::parse(text.split(' ')) {
        Ok(roles) => {
            let words = roles.words();
            assert_eq!(Roles::parse(words.iter().map(String::as_str)).ok(), Some(roles));
            true
        }
        Err(_) => false,
    }
}

/// Ids are short and hold no controls, as they stand in logs and headers.
fn id(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let _ = (HostId::new(text), ServiceId::new(text));
    let Ok(id) = JobId::new(text) else { return false };
    assert_eq!(id.as_str(), text);
    assert!((1..=256).contains(&text.len()));
    true
}

fn url(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let _ = endpoint_is_allowed(text, &["example.org".to_owned()]);
    let _ = HttpPlace::parse(text);
    let Some(url) = normalize_url(text) else { return false };
    assert!(!url.contains('#') && !url.contains('?'), "{url}");
    assert!(normalize_url(&url).is_some(), "{url} is no url any more");
    true
}

fn public_keys(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let keys = PublicKey::parse_list(text);
    assert!(keys.len() <= 1 + text.matches(',').count());
    !keys.is_empty()
}

fn seals() -> SealKeys {
    SealKeys::of_secret(&[5; 32], &SealKeys::default())
}

fn sealed() -> Vec<(String, Vec<u8>)> {
    let kept = seals().seal("NAME", "a value");
    let other = seals().seal("OTHER", "a value");
    of(&[&kept], &[&other, &kept[..kept.len() - 2], ""])
}

/// Only what was sealed under that name opens.
fn sealed_value(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let kept = seals().seal("NAME", "a value");
    match seals().open("NAME", text) {
        // What does not say that it is sealed is the value itself, of a version before.
        Ok(value) if value.as_str() == text => false,
        Ok(value) => {
            assert_eq!((value.as_str(), text), ("a value", kept.as_str()));
            true
        }
        Err(_) => false,
    }
}

/// A path and a Host, a line each: no spelling leads out of the service or of an endpoint's own prefix.
fn gateway_path(bytes: &[u8]) -> bool {
    let Some((path, host)) = text(bytes).and_then(|text| text.split_once('\n')) else {
        return false;
    };
    let Some((key, asked)) = named(path, Some(host), Some("example.org"), "/prefix") else {
        return false;
    };
    let asked = asked.split('?').next().unwrap_or_default();
    assert!(asked.starts_with("/prefix/"), "{asked}");
    let climbs = asked.split('/').any(|segment| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    });
    assert!(!climbs, "{asked} leads elsewhere");
    assert!(!key.is_empty() && asked.len() <= path.len() + "/prefix/".len());
    true
}
