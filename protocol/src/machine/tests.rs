//! Behaviour of machines, seen from outside and checked inside after each turn.

mod bounds;
mod claims;
mod frames;
mod jobs;
mod keys;
mod leases;
mod quorum;
mod random;
mod recovery;
mod restart;
mod services;
mod world;
