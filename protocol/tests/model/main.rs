//! The protocol's own code under a model checker.

mod register;
mod word;
