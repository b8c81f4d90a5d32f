//! The Skyclaw daemon and its command line.
//!
//! The only crate that wires. `engine` alone calls the machine and the store; everything else
//! knows its inbox only.

pub mod attach;
pub mod blobs;
pub mod bridge;
pub mod bundle;
pub mod cli;
pub mod client;
pub mod config;
pub mod copies;
pub mod egress;
pub mod engine;
pub mod gateway;
pub mod handle;
pub mod host;
#[cfg(feature = "import")]
pub mod import;
pub mod imports;
pub mod joined;
pub mod limits;
pub mod net;
mod numbers;
pub mod openclaw;
pub mod originals;
pub mod output;
pub mod pages;
pub mod repair;
pub mod run;
pub mod sandbox;
pub mod seals;
pub mod services;
pub mod supervisor;
pub mod tasks;
pub mod telemetry;
pub mod testnet;
pub mod time;
pub mod tls;
mod traces;
