//! Principals at the port.

use skyclaw_protocol::principal::{Quotas, Scope};

/// A principal that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrincipal {
    /// What it is called; its form was checked.
    pub name: String,
    /// What it may do; sorted, unique, at least one.
    pub scopes: Vec<Scope>,
    /// How much it may use.
    pub quotas: Quotas,
    /// How long its key counts, in milliseconds; for ever if nothing is said.
    pub expires_in_ms: Option<u64>,
}
