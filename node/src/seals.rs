//! Under what this node seals values that only nodes of its network may read.
//!
//! Always: a token network seals under its token. A ticket network seals under a secret of its own, which a
//! node has from the moment it is let in: its token, if there is one, is for callers of the API alone, and
//! members have another or none. Until then nothing is sealed, and nothing kept that should be.

use std::fmt;
use std::sync::Arc;

use skyclaw_protocol::seal::SealKeys;

use crate::net::Tickets;

/// The keys of one node, as far as it has them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Seals {
    tokens: SealKeys,
    tickets: Option<Arc<Tickets>>,
}

impl Seals {
    /// Those of a node with these tokens, in that ticket network if it is in one.
    #[must_use]
    pub const fn new(tokens: SealKeys, tickets: Option<Arc<Tickets>>) -> Self {
        Self { tokens, tickets }
    }

    /// The keys now; none if this node has yet to be let into its network.
    #[must_use]
    pub fn keys(&self) -> Option<SealKeys> {
        match &self.tickets {
            None => Some(self.tokens.clone()),
            Some(tickets) => {
                tickets.seal().map(|secret| SealKeys::of_secret(secret.expose(), &self.tokens))
            }
        }
    }

    /// What opens values: nothing if this node has no keys yet.
    #[must_use]
    pub fn opening(&self) -> SealKeys {
        self.keys().unwrap_or_else(|| self.tokens.clone())
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.tickets.is_some() { "a ticket network" } else { "a token network" };
        f.debug_tuple("Seals").field(&of).finish()
    }
}
