//! Where what runs may connect to: the names a submitter asks for and those an owner allows.
//!
//! Always: a text has one meaning or is refused. A name is compared in lower case and without its
//! last dot, and nothing that a resolver might take for an address passes as a name.

mod address;
mod ask;
mod rule;

pub use address::is_public;
pub use ask::{AskFault, NetworkAsk};
pub use rule::{HostFault, HostRule, Place};
