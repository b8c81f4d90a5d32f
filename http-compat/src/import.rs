//! A page of `POST /v1/import`: records from the database of an original.
//!
//! Always: each record is read by itself and within the bounds of [`snapshot`], so that one that
//! cannot be is refused alone.

use serde::Deserialize;
use serde_json::value::RawValue;
use skyclaw_protocol::ImportedKey;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::limits::{MAX_BODY_BYTES, MAX_TEXT_BYTES};

use crate::idempotency::MAX_KEY_BYTES;
use crate::snapshot::{self, ForeignHost, ForeignJob, ForeignService, Refused, time};
use crate::text::cut;

/// Most records of a page: a node carries them out together and answers within the time of a client.
pub const MAX_PAGE_RECORDS: usize = 1000;

/// How long an answer counts of which it is not said, in milliseconds: a day, as by default.
const KEY_TTL_MS: u64 = 86_400_000;

/// Longest id that is shown of a record that is refused, in bytes.
const SHOWN: usize = 100;

/// A record that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// What it is of.
    pub kind: &'static str,
    /// Which one, if it says.
    pub id: Option<String>,
    /// Why.
    pub why: String,
}

impl From<Refused> for RefusedRecord {
    fn from(refused: Refused) -> Self {
        Self { kind: refused.kind.as_str(), id: refused.id, why: refused.text }
    }
}

/// What was read of a page.
#[derive(Debug, Default)]
pub struct Page<'a> {
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// The original runs: what has not ended is its own.
    pub running: bool,
    /// Hosts.
    pub hosts: Vec<ForeignHost<'a>>,
    /// Jobs.
    pub jobs: Vec<ForeignJob<'a>>,
    /// Services.
    pub services: Vec<ForeignService<'a>>,
    /// Remembered answers that count still.
    pub keys: Vec<ImportedKey>,
    /// How many of them count no more.
    pub old_keys: u64,
    /// What cannot be taken.
    pub refused: Vec<RefusedRecord>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    hosts: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    jobs: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    services: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    idempotency: Vec<&'a RawValue>,
    #[serde(default, rename = "dryRun")]
    dry_run: bool,
    #[serde(default)]
    running: bool,
}

/// Reads a page.
///
/// # Errors
/// A text: the whole is no page, and nothing of it was read.
pub fn read(body: &[u8], now: Wall) -> Result<Page<'_>, String> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("the body is no page of records: it must be an object".to_owned());
    }
    let body: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("the body is no page of records: {error}"))?;
    let lists = [&body.hosts, &body.jobs, &body.services, &body.idempotency];
    if lists.iter().map(|list| list.len()).sum::<usize>() > MAX_PAGE_RECORDS {
        return Err(format!("a page must not have more than {MAX_PAGE_RECORDS} records"));
    }
    let (dry_run, running) = (body.dry_run, body.running);
    let mut page = Page { dry_run, running, ..Page::default() };
    for raw in body.hosts {
        page.refused.extend(sort(snapshot::host(raw.get(), now), &mut page.hosts));
    }
    for raw in body.jobs {
        page.refused.extend(sort(snapshot::job(raw.get(), now), &mut page.jobs));
    }
    for raw in body.services {
        page.refused.extend(sort(snapshot::service(raw.get(), now), &mut page.services));
    }
    for raw in body.idempotency {
        match key(raw.get(), now) {
            Ok(key) if key.expires <= now => page.old_keys += 1,
            Ok(key) => page.keys.push(key),
            Err(refused) => page.refused.push(refused),
        }
    }
    Ok(page)
}

fn sort<T>(read: Result<T, Refused>, all: &mut Vec<T>) -> Option<RefusedRecord> {
    match read {
        Ok(record) => {
            all.push(record);
            None
        }
        Err(refused) => Some(refused.into()),
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    route: String,
    key: String,
    hash: String,
    status: Option<i64>,
    #[serde(borrow)]
    response: &'a RawValue,
    #[serde(rename = "createdAt")]
    created: Option<Moment>,
    #[serde(rename = "expiresAt")]
    expires: Option<Moment>,
}

/// Milliseconds, or as ISO 8601 has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Millis(u64),
    Text(String),
}

impl Moment {
    fn wall(&self) -> Option<Wall> {
        match self {
            Self::Millis(ms) => Some(Wall(*ms)),
            Self::Text(text) => time(text),
        }
    }
}

/// A remembered answer.
fn key(raw: &str, now: Wall) -> Result<ImportedKey, RefusedRecord> {
    let refused = |id: Option<String>, why: String| RefusedRecord { kind: "key", id, why };
    let row: Row<'_> = serde_json::from_str(raw)
        .map_err(|error| refused(None, format!("it is no remembered answer: {error}")))?;
    let id = format!("{} {}", cut(&row.route, SHOWN), cut(&row.key, SHOWN));
    let refused = |why: String| Err(refused(Some(id), why));
    // Each byte of a header is a character to Node.
    let length = row.key.chars().count();
    if row.route.len() > MAX_TEXT_BYTES || !(1..=MAX_KEY_BYTES).contains(&length) {
        return refused(format!("keys have 1 to {MAX_KEY_BYTES} bytes here"));
    }
    let Some(hash) = sha256(&row.hash) else {
        return refused("its hash is no SHA-256 in hexadecimal digits".to_owned());
    };
    // The original stores no others.
    let status = row.status.unwrap_or(200);
    let Some(status) = u16::try_from(status).ok().filter(|status| (200..300).contains(status))
    else {
        return refused(format!("its status {status} is none of an answer that is kept"));
    };
    let response = row.response.get();
    if !response.starts_with('{') || response.len() > 2 * MAX_BODY_BYTES {
        let most = 2 * MAX_BODY_BYTES;
        return refused(format!("its answer must be an object of at most {most} bytes"));
    }
    if serde_json::from_str::<serde_json::Value>(response).is_err() {
        return refused("its answer is nested too deeply".to_owned());
    }
    let created = row.created.as_ref().and_then(Moment::wall).unwrap_or(now);
    let expires = row.expires.as_ref().and_then(Moment::wall);
    // A time without end would keep it for ever.
    let latest = now.plus_ms(30 * KEY_TTL_MS);
    let expires = expires.unwrap_or_else(|| created.plus_ms(KEY_TTL_MS)).min(latest);
    Ok(ImportedKey {
        route: row.route,
        key: row.key,
        hash,
        status,
        response: response.as_bytes().to_vec(),
        expires,
    })
}

fn sha256(hex: &str) -> Option<Vec<u8>> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..64).step_by(2).map(byte).collect()
}
