//! Real nodes for tests: started as processes, on loopback, in folders of their own.
//!
//! Always: a node's environment is cleared; it listens on a port the system chose; its folder, its
//! process and what that started are gone when the test ends, however it ends. Waiting has a
//! deadline and fails with what was seen last and the end of the node's log.
//!
//! Never here: fixed sleeps as synchronisation, sockets off loopback, or off the namespaces of a
//! [`lan`] or a [`nat`].

// A harness fails by panicking and tells why tests were skipped.
#![allow(clippy::panic, clippy::print_stderr)]

mod api;
mod binary;
mod chance;
pub mod cluster;
mod database;
mod http;
pub mod lan;
mod legacy;
mod legacy_host;
pub mod mallory;
mod model;
pub mod nat;
mod node;
mod openclaw;
mod original;
mod port;
mod process;
mod pty;
mod python;
mod server;
mod shell;
mod skip;
mod stub;
mod ts_api;
mod wait;

pub use api::{Api, capabilities, shell};
pub use binary::{binary, workspace_root};
pub use chance::{Chance, seed};
pub use database::Database;
pub use http::{Connection, Response, raw};
pub use legacy::LegacyClient;
pub use legacy_host::{LegacyHost, LegacyHostConfig};
pub use model::{Call, MODEL, Model};
pub use node::{Node, Setup};
pub use openclaw::Openclaw;
pub use original::{Hold, Mood, Original, OriginalSetup, Push};
pub use port::free_port;
pub use process::{Ended, Process, processes_with, resident_kib};
pub use pty::Pty;
pub use python::Python;
pub use server::{Received, Reply, Server};
pub use shell::Shell;
pub use skip::{Need, can};
pub use stub::{Stub, StubCall};
pub use ts_api::ts_api;
pub use wait::{PATIENCE, eventually, within};
