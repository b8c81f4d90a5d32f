//! The database of an original coordinator, read record by record for `skyclaw import`.
//!
//! The original keeps SQLite in WAL mode: the tables hosts, jobs, services and idempotency, a record
//! per row as JSON text. What it writes is found by looking, so that another column or two do no harm.
//!
//! Always: the file and its `-wal` stay as they are. While a process has the file open it is read
//! where it is, within one transaction, so that all tables are of one moment; else a copy is read,
//! since what stands in the `-wal` can be read only by who may write beside it.
//!
//! Never here: what a record means. Each is passed on as the text that stands in the file.

mod error;
mod file;
mod layout;
mod page;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use file::{Holder, Source};
pub(crate) use page::{Page, Pages};
pub(crate) use rows::{Kind, Refused, Row, Unread};
