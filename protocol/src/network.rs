//! Membership of a ticket network: who may be what in it, by whose word, and until when.
//!
//! ```text
//!   admin's key ──signs──> capability of an issuer ──┬──signs──> capability of a member
//!              └─────────────────────────────────────┴──signs──> invite, revocation
//!   ticket = the network's name and admin, addresses, an invite, and the secret that proves it
//! ```
//!
//! Always: whatever counts leads back to the admin's key over at most one issuer; only the admin's
//! key makes issuers. A capability names the one node it is for, so that the connection of that node
//! proves it and a copy is of no use to others. An invite names a key whose secret half stands in the
//! ticket: it is proven, never told. Time is an argument, everything is bounded, nothing panics.

mod capability;
mod invite;
mod notices;
mod revocation;
mod role;
mod seed;
#[cfg(test)]
mod tests;
mod ticket;
mod vouched;

pub use capability::{Capability, Serial};
pub use invite::{Admission, Invite, newcomer_proof, proof_holds};
pub use notices::{Notice, Notices, Taken};
pub use revocation::{Revocation, Revoked, Target};
pub use role::{MemberRole, Roles, UnknownRole};
pub use seed::Seed;
pub use ticket::{Ticket, TicketError, network_name_holds};
pub use vouched::{Doubt, Law, Vouched, Warrant};
