//! Which column holds what.
//!
//! The original's own names come first; where a fork renamed a column, it is found by a piece of its
//! name or by what stands in it.

use rusqlite::{Connection, OptionalExtension as _, Result};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) hosts: Table<String>,
    pub(super) jobs: Table<String>,
    pub(super) services: Table<String>,
    pub(super) keys: Table<KeyColumns>,
}

/// A table of the original, and which of its columns are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Table<C> {
    /// There is none: an early version of the original had fewer.
    #[default]
    Missing,
    /// There is one whose columns tell nothing; they are named.
    Unknown(String),
    /// There is one.
    Known(C),
}

/// The columns of a remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyColumns {
    pub(super) route: String,
    pub(super) key: String,
    pub(super) hash: String,
    pub(super) response: String,
    pub(super) status: Option<String>,
    pub(super) created: Option<String>,
    pub(super) expires: Option<String>,
}

impl Layout {
    /// Looks at the tables. The inner error names those of a database that is another program's.
    pub(super) fn of(connection: &Connection) -> Result<Result<Self, String>> {
        let tables = tables(connection)?;
        let has = |name: &str| tables.iter().any(|table| table == name);
        if !has("hosts") || !has("jobs") {
            return Ok(Err(named(&tables, "no table")));
        }
        let records = |name: &str| match has(name) {
            true => record_column(connection, name),
            false => Ok(Table::Missing),
        };
        let keys = match has("idempotency") {
            true => key_columns(&columns(connection, "idempotency")?),
            false => Table::Missing,
        };
        let layout = Self {
            hosts: records("hosts")?,
            jobs: records("jobs")?,
            services: records("services")?,
            keys,
        };
        Ok(Ok(layout))
    }
}

fn tables(connection: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    connection.prepare(sql)?.query_map((), |row| row.get(0))?.collect()
}

/// A few of the names, for a text.
fn named(names: &[String], none: &str) -> String {
    const MOST: usize = 8;
    match names.len() {
        0 => none.to_owned(),
        count if count > MOST => format!("{} and others", names[..MOST].join(", ")),
        _ => names.join(", "),
    }
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1)";
    connection.prepare(sql)?.query_map((table,), |row| row.get(0))?.collect()
}

/// `name` as SQL takes it whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The column with the records: `json`, or the first one in which an object with an `id` stands. Of
/// a table without rows any will do.
fn record_column(connection: &Connection, table: &str) -> Result<Table<String>> {
    let columns = columns(connection, table)?;
    if columns.iter().any(|column| column == "json") {
        return Ok(Table::Known("json".to_owned()));
    }
    let from = quoted(table);
    for column in &columns {
        let name = quoted(column);
        let sql = format!(
            "SELECT 1 FROM {from} WHERE typeof({name}) = 'text' AND json_valid({name}) \
             AND json_type({name}, '$.id') = 'text' LIMIT 1"
        );
        if connection.query_row(&sql, (), |_| Ok(())).optional()?.is_some() {
            return Ok(Table::Known(column.clone()));
        }
    }
    let any = connection.query_row(&format!("SELECT 1 FROM {from} LIMIT 1"), (), |_| Ok(()));
    match (any.optional()?, columns.first()) {
        (None, Some(first)) => Ok(Table::Known(first.clone())),
        _ => Ok(Table::Unknown(named(&columns, "no column"))),
    }
}

/// A column serves once: what is looked for first is named most clearly.
fn key_columns(columns: &[String]) -> Table<KeyColumns> {
    let mut left: Vec<&String> = columns.iter().collect();
    let mut find = |pieces: &[&str]| {
        let named =
            |piece: &&str| left.iter().position(|name| name.to_lowercase().contains(*piece));
        pieces.iter().find_map(named).map(|at| left.remove(at).clone())
    };
    let hash = find(&["hash", "fingerprint", "digest"]);
    let response = find(&["response", "answer", "body", "result"]);
    let route = find(&["route", "path", "endpoint", "scope"]);
    let key = find(&["key"]);
    let status = find(&["status", "code"]);
    let created = find(&["created"]);
    let expires = find(&["expire"]);
    match (route, key, hash, response) {
        (Some(route), Some(key), Some(hash), Some(response)) => {
            Table::Known(KeyColumns { route, key, hash, response, status, created, expires })
        }
        _ => Table::Unknown(named(columns, "no column")),
    }
}
