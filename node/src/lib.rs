//! The Skyclaw daemon and its command line.
//!
//! The only crate that wires. `engine` alone calls the machine and writes the store; whoever reads has a `Reader` of that, and
//! everybody else knows the inbox.

pub mod attach;
pub mod blobs;
mod bridge;
pub mod bundle;
pub mod cli;
pub mod client;
pub mod config;
pub mod copies;
mod egress;
mod engine;
mod gateway;
pub mod handle;
pub mod host;
#[cfg(feature = "import")]
mod import;
mod imports;
mod joined;
mod limits;
pub mod net;
mod numbers;
pub mod openclaw;
pub mod originals;
pub mod output;
pub mod pages;
pub mod repair;
pub mod run;
pub mod sandbox;
mod seals;
pub mod services;
pub mod supervisor;
mod tasks;
pub mod telemetry;
pub mod testnet;
pub mod time;
mod tls;
mod traces;
