//! Thirty-two secret bytes.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::NodeId;
use crate::key::NodeKey;

/// Secret bytes: of the admin's key, of an invite, of a network. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// Keeps these bytes from now on.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Whoever calls this answers for where they go.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The signing key that it stands for.
    #[must_use]
    pub fn key(&self) -> NodeKey {
        NodeKey::from_seed(&self.0)
    }

    /// The public half of that key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.key().id()
    }

    /// As text: base32, which files hold.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(self.expose()));
        text.make_ascii_lowercase();
        text
    }

    /// From that text; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let upper = Zeroizing::new(text.trim().to_ascii_uppercase());
        let bytes = Zeroizing::new(data_encoding::BASE32_NOPAD.decode(upper.as_bytes()).ok()?);
        Some(Self::new(bytes.as_slice().try_into().ok()?))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(***)")
    }
}

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.expose())
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde_bytes::deserialize::<[u8; 32], D>(from).map(Self::new)
    }
}
