//! Files as the original leaves them, files of others, and broken ones.

mod layouts;
mod memory;
mod states;

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::error::OpenError;
use super::{Kind, Pages, Refused, Row, Source, Unread};

/// The tables of the original.
const TABLES: &str = "
    CREATE TABLE hosts (id TEXT PRIMARY KEY, json TEXT NOT NULL);
    CREATE TABLE jobs (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
    CREATE INDEX jobs_by_creation ON jobs(created_at);
    CREATE TABLE services (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
    CREATE TABLE idempotency (
        route TEXT NOT NULL, key TEXT NOT NULL, request_hash TEXT NOT NULL,
        status_code INTEGER NOT NULL, response_json TEXT NOT NULL, created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL, PRIMARY KEY (route, key)
    );";

const CREATED: &str = "2026-01-02T03:04:05.678Z";

fn host(id: &str) -> Value {
    json!({
        "id": id, "name": id, "capabilities": ["shell"], "maxParallel": 1, "activeLeases": 0,
        "lastSeenAt": CREATED, "registeredAt": CREATED, "updatedBy": "node_o", "version": 1,
    })
}

fn job(id: &str) -> Value {
    json!({
        "id": id, "createdAt": CREATED, "updatedAt": CREATED, "updatedBy": "node_o", "version": 2,
        "status": "queued", "attempts": 0, "requirement": { "requiredCapabilities": ["shell"] },
        "payload": { "kind": "shell", "command": "echo", "args": ["ü", id] },
    })
}

/// A folder with a database in it, open as the original has it.
struct Original {
    folder: TempDir,
    connection: Connection,
}

impl Original {
    fn new() -> Self {
        Self::with(TABLES)
    }

    fn with(tables: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("coordinator.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
        connection.execute_batch(tables).unwrap();
        Self { folder, connection }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("coordinator.db")
    }

    fn host(&self, id: &str) {
        let sql = "INSERT INTO hosts VALUES (?1, ?2)";
        self.connection.execute(sql, (id, host(id).to_string())).unwrap();
    }

    fn job(&self, id: &str) {
        self.job_as(id, &job(id).to_string());
    }

    fn job_as(&self, id: &str, text: &str) {
        let sql = "INSERT INTO jobs VALUES (?1, ?2, ?3)";
        self.connection.execute(sql, (id, CREATED, text)).unwrap();
    }

    fn key(&self, key: &str, response: &str) {
        let sql = "INSERT INTO idempotency VALUES ('/v1/jobs', ?1, 'ab12', 200, ?2, ?3, ?3)";
        self.connection.execute(sql, (key, response, CREATED)).unwrap();
    }

    /// Its files as a crash of the process leaves them: what was committed last stands in the WAL.
    fn crashed(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["coordinator.db", "coordinator.db-wal", "coordinator.db-shm"] {
            fs::copy(self.folder.path().join(name), folder.path().join(name)).unwrap();
        }
        folder
    }
}

/// All rows of a file.
#[derive(Debug, Default)]
struct Found {
    records: Vec<(Kind, Value)>,
    refused: Vec<Refused>,
    unread: Vec<Unread>,
}

impl Found {
    fn ids(&self, kind: Kind) -> Vec<&str> {
        let of_kind = self.records.iter().filter(|(found, _)| *found == kind);
        of_kind.map(|(_, record)| record["id"].as_str().unwrap_or("-")).collect()
    }
}

fn read(path: &Path) -> Found {
    let source = Source::open(path).unwrap();
    let mut found = Found::default();
    found.unread = source.each(|row| {
        match row {
            Row::Record(kind, raw) => {
                found.records.push((kind, serde_json::from_str(raw.get()).unwrap()));
            }
            Row::Refused(refused) => found.refused.push(refused),
        }
        true
    });
    found
}

fn error(path: &Path) -> OpenError {
    let Err(error) = Source::open(path) else { panic!("it was opened") };
    error
}

/// Names and contents of all files in a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}
