//! Behaviour of machines, seen from outside and checked inside after each turn.

mod adopting;
mod attached;
mod bounds;
mod cancelling;
mod claims;
mod elsewhere;
mod equal_keys;
mod expiry;
mod frames;
mod jobs;
mod keys;
mod leases;
mod once;
mod outside;
mod patching;
mod placing;
mod quorum;
mod random;
mod recovery;
mod restart;
mod retention;
mod retry;
mod services;
mod takeover;
mod without;
mod world;
