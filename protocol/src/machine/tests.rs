//! Behaviour of machines, seen from outside and checked inside after each turn.

mod bounds;
mod claims;
mod jobs;
mod keys;
mod leases;
mod restart;
mod services;
mod world;
