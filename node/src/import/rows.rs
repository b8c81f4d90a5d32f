//! Rows of the file as records, one at a time.
//!
//! Always: at most one record is in memory here, and none longer than [`MAX_RECORD`]; a row that is
//! no record is told and passed over; a table that cannot be read to its end ends there.

use rusqlite::types::ValueRef;
use rusqlite::{Result, Row as SqlRow, Statement};
use serde::Serialize;
use serde_json::value::RawValue;

use super::file::Source;
use super::layout::{KeyColumns, Table, quoted};

/// Longest record, in bytes: a payload of 8 MiB and two outputs of 2 MiB each, all of it written with
/// escapes, fit many times over what clients write.
const MAX_RECORD: i64 = 32 << 20;

/// Longest id that is shown of a row that cannot be read.
const SHOWN: usize = 256;

/// The tables of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A host.
    Host,
    /// A job.
    Job,
    /// A service.
    Service,
    /// A remembered answer of an idempotency key.
    Key,
}

impl Kind {
    /// In the order in which they are read: jobs name hosts, answers name jobs.
    pub(crate) const ALL: [Self; 4] = [Self::Host, Self::Job, Self::Service, Self::Key];

    /// The word for one.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Job => "job",
            Self::Service => "service",
            Self::Key => "key",
        }
    }

    /// The original's table.
    #[must_use]
    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Host => "hosts",
            Self::Job => "jobs",
            Self::Service => "services",
            Self::Key => "idempotency",
        }
    }
}

/// A row.
#[derive(Debug)]
pub(crate) enum Row {
    /// A record as JSON: as it stands in the file, and of a key an object of its columns.
    Record(Kind, Box<RawValue>),
    /// No record.
    Refused(Refused),
}

/// A row that holds no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Of which table.
    pub kind: Kind,
    /// Which one, as far as it says.
    pub id: String,
    /// What is wrong with it.
    pub why: String,
}

/// A table that was not read, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Which table.
    pub kind: Kind,
    /// Why.
    pub why: String,
}

/// A key with its answer, as it is passed on.
#[derive(Serialize)]
struct Key<'a> {
    route: &'a str,
    key: &'a str,
    hash: &'a str,
    status: Option<i64>,
    response: &'a RawValue,
    #[serde(rename = "createdAt")]
    created: Option<Time<'a>>,
    #[serde(rename = "expiresAt")]
    expires: Option<Time<'a>>,
}

/// A moment as the file has it.
#[derive(Serialize)]
#[serde(untagged)]
enum Time<'a> {
    Text(&'a str),
    Millis(i64),
}

impl Source {
    /// Gives every row to `take` until that says it has enough. Returns what could not be read.
    pub(crate) fn each(&self, mut take: impl FnMut(Row) -> bool) -> Vec<Unread> {
        let mut unread = Vec::new();
        for kind in Kind::ALL {
            match self.table(kind, &mut take) {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => unread.push(Unread { kind, why }),
            }
        }
        unread
    }

    fn table(&self, kind: Kind, take: &mut impl FnMut(Row) -> bool) -> Result<bool, String> {
        match self.columns(kind) {
            None => Ok(true),
            Some(Err(found)) => {
                Err(format!("its columns ({found}) are none that the original's records stand in"))
            }
            Some(Ok(columns)) => {
                let mut read = || {
                    let (from, columns) = (quoted(kind.table()), columns.join(", "));
                    let sql = format!("SELECT {columns} FROM {from}");
                    rows(&mut self.connection.prepare(&sql)?, kind, take)
                };
                read().map_err(|error| error.to_string())
            }
        }
    }

    /// What is selected of a table: of records the column, and its length first, so that one beyond
    /// the bound is not loaded. None if there is no such table.
    fn columns(&self, kind: Kind) -> Option<Result<Vec<String>, String>> {
        let table = match kind {
            Kind::Host => &self.layout.hosts,
            Kind::Job => &self.layout.jobs,
            Kind::Service => &self.layout.services,
            Kind::Key => {
                return match &self.layout.keys {
                    Table::Missing => None,
                    Table::Unknown(found) => Some(Err(found.clone())),
                    Table::Known(columns) => Some(Ok(key_columns(columns))),
                };
            }
        };
        match table {
            Table::Missing => None,
            Table::Unknown(found) => Some(Err(found.clone())),
            Table::Known(column) => Some(Ok(bounded(column))),
        }
    }
}

fn bounded(column: &str) -> Vec<String> {
    let name = quoted(column);
    vec![
        format!("octet_length({name})"),
        format!("CASE WHEN octet_length({name}) <= {MAX_RECORD} THEN {name} END"),
    ]
}

fn key_columns(columns: &KeyColumns) -> Vec<String> {
    let mut all = bounded(&columns.response);
    all.extend([&columns.route, &columns.key, &columns.hash].map(|column| {
        let name = quoted(column);
        // What names an answer is short; a longer one can be nobody's.
        format!("substr({name}, 1, {})", 64 << 10)
    }));
    for column in [&columns.status, &columns.created, &columns.expires] {
        all.push(column.as_ref().map_or_else(|| "NULL".to_owned(), |name| quoted(name)));
    }
    all
}

/// False once `take` has enough.
fn rows(
    statement: &mut Statement<'_>,
    kind: Kind,
    take: &mut impl FnMut(Row) -> bool,
) -> Result<bool> {
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let found = match kind {
            Kind::Key => key(row)?,
            _ => record(row, kind)?,
        };
        if !take(found) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn record(row: &SqlRow<'_>, kind: Kind) -> Result<Row> {
    let refused = |id: String, why: String| Ok(Row::Refused(Refused { kind, id, why }));
    let text = match content(row)? {
        Ok(text) => text,
        Err(why) => return refused("-".to_owned(), why),
    };
    match serde_json::from_str::<Box<RawValue>>(text) {
        Ok(raw) if raw.get().starts_with('{') => Ok(Row::Record(kind, raw)),
        Ok(_) => refused(start(text), "it is no JSON object".to_owned()),
        Err(error) => refused(start(text), format!("it is no JSON: {error}")),
    }
}

fn key(row: &SqlRow<'_>) -> Result<Row> {
    let name = |at| -> Result<Option<&str>> { Ok(row.get_ref(at)?.as_str().ok()) };
    let (Some(route), Some(key), Some(hash)) = (name(2)?, name(3)?, name(4)?) else {
        let why = "its route, key or hash is no text".to_owned();
        return Ok(Row::Refused(Refused { kind: Kind::Key, id: "-".to_owned(), why }));
    };
    let refused = |why| {
        let id = start(&format!("{route} {key}"));
        Ok(Row::Refused(Refused { kind: Kind::Key, id, why }))
    };
    let text = match content(row)? {
        Ok(text) => text,
        Err(why) => return refused(why),
    };
    let Ok(response) = serde_json::from_str::<&RawValue>(text) else {
        return refused("its answer is no JSON".to_owned());
    };
    let created = time(row.get_ref(6)?);
    let expires = time(row.get_ref(7)?);
    let status = row.get_ref(5)?.as_i64().ok();
    let key = Key { route, key, hash, status, response, created, expires };
    match serde_json::value::to_raw_value(&key) {
        Ok(raw) => Ok(Row::Record(Kind::Key, raw)),
        Err(error) => refused(error.to_string()),
    }
}

fn time(value: ValueRef<'_>) -> Option<Time<'_>> {
    match value {
        ValueRef::Integer(ms) => Some(Time::Millis(ms)),
        // Milliseconds are far below.
        ValueRef::Real(ms) => Some(Time::Millis(ms as i64)),
        other => other.as_str().ok().map(Time::Text),
    }
}

/// The text of a record, from the first two columns.
fn content<'r>(row: &'r SqlRow<'_>) -> Result<Result<&'r str, String>> {
    let length = row.get_ref(0)?.as_i64().unwrap_or(0);
    if length > MAX_RECORD {
        return Ok(Err(format!("it has {length} bytes; at most {MAX_RECORD} are read")));
    }
    Ok(match row.get_ref(1)? {
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).map_err(|error| format!("it is no UTF-8: {error}"))
        }
        ValueRef::Null => Err("it is empty".to_owned()),
        _ => Err("it is no text".to_owned()),
    })
}

/// The beginning of a text, by which a person may find it.
fn start(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN)].to_owned()
}
