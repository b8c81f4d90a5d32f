//! What nodes say to each other in CBOR: messages, questions of hosts, of repair, about blobs.
//!
//! Always: what is taken is written as it was read, and means the same again.

use std::fmt::Debug;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skyclaw_protocol::attach::{HostAsk, HostTell};
use skyclaw_protocol::blob::{Ask, Head, Outline, Outliner, Reply, Want};
use skyclaw_protocol::repair::{RepairAsk, RepairTell};
use skyclaw_protocol::wire::Message;
use skyclaw_protocol::{Hash, codec};

use crate::engine::targets;

/// The inputs of the protocol's own frozen bytes.
const WIRE: &str = include_str!("../../protocol/vectors/wire-1.hex");
const REPAIR: &str = include_str!("../../protocol/vectors/repair-1.hex");

/// More than any input here, so that the bound is not what refuses.
const MOST: usize = 1 << 20;

targets! {
    messages { || frozen(WIRE, &MESSAGES), &[], cbor::<Message> }
    host_asks { || frozen(WIRE, &HOST_ASKS), &[], cbor::<HostAsk> }
    host_tells { || frozen(WIRE, &HOST_TELLS), &[], cbor::<HostTell> }
    repair_asks { || frozen(REPAIR, &["compare", "fetch", "offer", "copy"]), &[], repair_ask }
    repair_tells { || frozen(REPAIR, &REPAIR_TELLS), &[], cbor::<RepairTell> }
    blob_asks { blob_asks, &[], cbor::<Ask> }
    blob_replies { blob_replies, &["Held", "Send", "No"], cbor::<Reply> }
    blob_heads { heads, &[], head }
}

const MESSAGES: [&str; 24] = [
    "accept",
    "vote",
    "vote-key-taken",
    "prepare",
    "promise",
    "certificates",
    "want",
    "seek",
    "hosts",
    "controls",
    "work-message",
    "present",
    "confirm",
    "confirmed",
    "ask",
    "tell",
    "known",
    "prevote",
    "prevoted",
    "beat",
    "beaten",
    "list",
    "listed",
    "not-mine",
];

const HOST_ASKS: [&str; 9] = [
    "host-register",
    "host-beat",
    "host-claim",
    "host-claim-without",
    "host-register-openclaw",
    "host-withdraw",
    "host-renew",
    "host-complete",
    "host-hand-back",
];

const HOST_TELLS: [&str; 5] =
    ["host-registered", "host-granted", "host-accepted", "host-alive", "host-refused"];

const REPAIR_TELLS: [&str; 7] =
    ["compared", "parts", "items", "records", "copied", "taken", "busy"];

/// The named lines of a file of frozen bytes, and what no reader of CBOR here takes.
pub(crate) fn frozen(lines: &str, names: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut made: Vec<_> = names
        .iter()
        .map(|name| {
            let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let hex = line.unwrap_or_else(|| panic!("no line for {name}"));
            (format!("ok-{name}"), data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex"))
        })
        .collect();
    made.extend(nonsense());
    made
}

/// Bytes that no reader of CBOR here takes.
pub(crate) fn nonsense() -> Vec<(String, Vec<u8>)> {
    vec![
        ("no-nothing".into(), Vec::new()),
        ("no-deep".into(), vec![0x81; 4000]),
        ("no-length".into(), [&[0x7b][..], &[0xff; 8], b"abc"].concat()),
        ("no-endless".into(), b"\xbfaa\x01\xff".to_vec()),
    ]
}

/// The rule for every type that travels or is stored.
pub(crate) fn cbor<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    match codec::decode::<T>(bytes, MOST) {
        Ok(value) => {
            let again = codec::encode(&value);
            assert_eq!(again, bytes, "written otherwise than it was read");
            assert_eq!(codec::decode::<T>(&again, MOST).ok().as_ref(), Some(&value));
            // Logs show values; none may panic or grow without bound by that.
            assert!(format!("{value:?}").len() <= 4096 + bytes.len() * 64);
            let bound = codec::decode::<T>(bytes, bytes.len().saturating_sub(1));
            assert!(matches!(bound, Err(codec::DecodeError::TooLong { .. })));
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn repair_ask(bytes: &[u8]) -> bool {
    if !cbor::<RepairAsk>(bytes) {
        return false;
    }
    let ask = codec::decode::<RepairAsk>(bytes, MOST).expect("it was read");
    if let RepairAsk::Compare(claims) = &ask
        && ask.holds()
    {
        assert!(claims.iter().all(|claim| claim.range.from < claim.range.to));
    }
    true
}

fn made<T: Serialize>(values: &[(&str, T)]) -> Vec<(String, Vec<u8>)> {
    let mut made: Vec<_> =
        values.iter().map(|(name, it)| (format!("ok-{name}"), codec::encode(it))).collect();
    made.extend(nonsense());
    made
}

fn blob_asks() -> Vec<(String, Vec<u8>)> {
    let want = |from| Ask::Get(Want { hash: Hash([7; 32]), from });
    let offer = Ask::Offer(Hash([8; 32]));
    made(&[("get", want(0)), ("get-last", want(u64::MAX)), ("offer", offer)])
}

fn blob_replies() -> Vec<(String, Vec<u8>)> {
    made(&[("held", Reply::Held), ("send", Reply::Send), ("no", Reply::No("it is full".into()))])
}

/// A blob of three groups, and a short one.
fn outlines() -> &'static [Outline; 2] {
    static MADE: OnceLock<[Outline; 2]> = OnceLock::new();
    MADE.get_or_init(|| [LONG, SHORT].map(|len| outline_of(&vec![CONTENT; len])))
}

fn outline_of(content: &[u8]) -> Outline {
    let mut outliner = Outliner::default();
    outliner.update(content).expect("a small blob");
    outliner.finish()
}

const LONG: usize = 600 << 10;
const SHORT: usize = 5;
const CONTENT: u8 = 9;

fn heads() -> Vec<(String, Vec<u8>)> {
    let [long, short] = outlines();
    made(&[("groups", long.head()), ("short", short.head())])
}

/// Only the values of that very blob are taken. One that lies about its size, or says that there is one
/// group alone, is found out at the first group that it is wrong about.
fn head(bytes: &[u8]) -> bool {
    if !cbor::<Head>(bytes) {
        return false;
    }
    for own in outlines() {
        let head = codec::decode::<Head>(bytes, MOST).expect("it was read");
        let Ok(outline) = Outline::check(own.hash(), head) else { continue };
        let same = outline.head().groups == own.head().groups;
        assert!(same || outline.groups() == 1, "other values are taken");
        assert_eq!(outline.group_len(u64::MAX), 0);
        let last = own.groups() - 1;
        let content = vec![CONTENT; own.group_len(last)];
        assert!(own.is_group(last, &content));
        assert_eq!(outline.is_group(last, &content), outline.size() == own.size());
    }
    true
}
