//! Everything that reads bytes of peers, clients and files, on bytes that nobody honest sends.
//!
//! Always: a target names one reader and what holds for whatever it takes; its inputs are those in
//! `corpus/<target>`, and alterations of them, so that they get past the first byte. Each has half
//! a second in the usual test command, and an hour in
//! `BOLERO_RANDOM_TEST_TIME_MS=3600000 cargo test --release -p skyclaw-tests --test fuzz`.
//! An input that broke a reader becomes a file `was-...` of its corpus.

// What broke is for whoever runs it, and so is the share that was taken.
#![allow(clippy::panic, clippy::print_stderr)]

mod bundle;
mod corpus;
mod documents;
mod engine;
mod frames;
mod http;
mod lines;
mod peers;
mod records;
mod tickets;
