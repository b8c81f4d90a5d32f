//! A malicious member, in each role: what DESIGN promises that it cannot do, it tries.
//!
//! Mallory is a real member of the network (the node's own network part with a key of its own) that says
//! what no honest node says, to real processes. Always: each attempt is named, is counted by whoever
//! refuses it, changes nothing that others see, and leaves a network that runs jobs.
//!
//! Not tried, since nothing is promised: what a voter can do by voting for two values, or by signing
//! for a quorum that it never had, on the jobs it votes on; what whoever knows the token may do over HTTP.

mod coordinator;
mod crowding;
mod flood;
mod gateway;
mod host;
mod names;
mod outsider;
mod scene;
mod submitter;
mod voter;
