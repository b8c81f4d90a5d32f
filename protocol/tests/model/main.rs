//! The protocol's own code under a model checker.

mod register;
mod timed;
mod verdict;
mod word;
