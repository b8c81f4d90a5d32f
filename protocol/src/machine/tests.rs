//! Behaviour of machines, seen from outside and checked inside after each turn.

mod attached;
mod bounds;
mod claims;
mod elsewhere;
mod frames;
mod jobs;
mod keys;
mod leases;
mod quorum;
mod random;
mod recovery;
mod restart;
mod retention;
mod services;
mod world;
