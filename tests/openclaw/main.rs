//! OpenClaw on Skyclaw's hosts: the real one with a model without a mind, and, for faults, a program
//! that looks like it.
//!
//! Tests with the real one take turns, among all processes of this user. Where it cannot run they
//! say why and count as skipped.

mod direct;
mod ending;
mod faults;
mod jobs;
mod network;
mod ways_in;
