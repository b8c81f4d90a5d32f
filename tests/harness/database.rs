//! The database of an original, written as the original writes it.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use serde_json::Value;

/// Its tables.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS hosts (id TEXT PRIMARY KEY, json TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS jobs (
        id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS services (
        id TEXT PRIMARY KEY, created_at TEXT NOT NULL, json TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS idempotency (
        route TEXT NOT NULL, key TEXT NOT NULL, request_hash TEXT NOT NULL,
        status_code INTEGER NOT NULL, response_json TEXT NOT NULL, created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL, PRIMARY KEY (route, key));";

/// An open database; what was written last stands in its WAL, also after it was dropped, as after
/// the end of an original.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Connection,
}

impl Database {
    /// Opens the file `coordinator.db` in a folder, or makes it.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let path = folder.join("coordinator.db");
        let connection = Connection::open(&path).expect("a database can be made");
        let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        connection.set_db_config(no_checkpoint, true).expect("a setting of SQLite");
        connection.pragma_update(None, "journal_mode", "WAL").expect("a setting of SQLite");
        connection.execute_batch(TABLES).expect("tables can be made");
        Self { path, connection }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores a record of `hosts`, `jobs` or `services`.
    pub fn put(&self, kind: &str, record: &Value) {
        let id = record["id"].as_str().unwrap_or_default();
        let text = record.to_string();
        let done = if kind == "hosts" {
            self.connection.execute("INSERT INTO hosts VALUES (?1, ?2)", params![id, text])
        } else {
            let created = record["createdAt"].as_str().unwrap_or_default();
            let sql = format!("INSERT INTO {kind} VALUES (?1, ?2, ?3)");
            self.connection.execute(&sql, params![id, created, text])
        };
        done.expect("a row can be written");
    }

    /// Stores all that an original shows as its state.
    pub fn put_state(&self, state: &Value) {
        self.connection.execute_batch("BEGIN").expect("a transaction");
        for kind in ["hosts", "jobs", "services"] {
            for record in state[kind].as_array().into_iter().flatten() {
                self.put(kind, record);
            }
        }
        self.connection.execute_batch("COMMIT").expect("a transaction");
    }

    /// Stores the answer to a request with a key.
    pub fn remember(&self, route: &str, key: &str, hash: &str, response: &Value, expires: &str) {
        let sql = "INSERT INTO idempotency VALUES (?1, ?2, ?3, 200, ?4, ?5, ?5)";
        let row = params![route, key, hash, response.to_string(), expires];
        self.connection.execute(sql, row).expect("a row can be written");
    }
}
