//! What was taken over from the database of an original, beside its records.

use serde::{Deserialize, Serialize};

use crate::clock::Wall;

/// An answer that an original remembered for an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedKey {
    /// The route, with the id in it as it was decoded.
    pub route: String,
    /// The key.
    pub key: String,
    /// SHA-256 of the request as the original writes it.
    #[serde(with = "serde_bytes")]
    pub hash: Vec<u8>,
    /// Status of the answer.
    pub status: u16,
    /// Its JSON text.
    #[serde(with = "serde_bytes")]
    pub response: Vec<u8>,
    /// From then on it counts no more.
    pub expires: Wall,
}
