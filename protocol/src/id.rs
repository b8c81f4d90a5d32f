//! A type per id. Text that users and old records chose is kept as it is, within bounds.
//!
//! Always: an id is 1 to [`MAX_ID_BYTES`] bytes and holds no control character, so it can stand
//! in a log line, a path and a table key. Clones share the text: one id stands in many indexes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Hlc;
use crate::limits::MAX_ID_BYTES;

/// Why a text is no id. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text was empty.
    #[error("an id must not be empty")]
    Empty,
    /// The text was longer than [`MAX_ID_BYTES`].
    #[error("an id must not be longer than {MAX_ID_BYTES} bytes")]
    TooLong,
    /// The text held a control character.
    #[error("an id must not hold control characters")]
    Control,
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text from outside.
            ///
            /// # Errors
            /// [`IdError`] if it is empty, too long or holds control characters.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text.into()))
            }

            /// A new id: the kind's prefix and a UUID v7 whose time is `at`, so that ids of one
            /// node sort in the order they were minted.
            #[must_use]
            pub fn mint(at: Hlc, chance: u64) -> Self {
                Self(format!(concat!($prefix, "{}"), uuid_v7(at, chance)).into())
            }

            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A job. Minted ones read `job_` + UUID v7.
    JobId,
    "job_"
);
text_id!(
    /// A service. Minted ones read `svc_` + UUID v7.
    ServiceId,
    "svc_"
);
text_id!(
    /// A principal. Its id is drawn together with its key
    /// ([`ApiKey::id_of`](crate::principal::ApiKey::id_of)).
    PrincipalId,
    ""
);
text_id!(
    /// A host as the HTTP API knows it. Minted ones read `host_` + UUID v7.
    HostId,
    "host_"
);

/// UUID version 7 (RFC 9562): 48 bits of milliseconds, the stamp's counter in the 12 bits of
/// `rand_a`, 62 random bits.
fn uuid_v7(at: Hlc, chance: u64) -> String {
    let a = at.ms & 0xffff_ffff_ffff;
    let b = 0x7000 | (at.count & 0x0fff);
    let c = 0x8000_0000_0000_0000 | (chance >> 2);
    format!(
        "{:08x}-{:04x}-{b:04x}-{:04x}-{:012x}",
        a >> 16,
        a & 0xffff,
        c >> 48,
        c & 0xffff_ffff_ffff
    )
}

/// A node: the public half of the ed25519 key that its store holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl NodeId {
    /// The first characters, for logs.
    #[must_use]
    pub fn fmt_short(&self) -> String {
        data_encoding::BASE32_NOPAD.encode(&self.0[..5]).to_lowercase()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::BASE32_NOPAD.encode(&self.0).to_lowercase())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node:{}", self.fmt_short())
    }
}

/// A network: what signatures and protocol names are bound to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl NetworkId {
    /// The id of the network of that name among those who share a token. The token is no part of
    /// it: it is proven when nodes meet, and may change while the network stays the same.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 token network");
        hash.update(name.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// The id of the network of that name that was made with an admin's key.
    #[must_use]
    pub fn of_admin(admin: NodeId, name: &str) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 ticket network");
        hash.update(&admin.0);
        hash.update(name.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        Self(id)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:{}", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// A BLAKE3 hash of content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hash:{}", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_are_uuid_v7_and_sort_by_stamp() {
        let early = JobId::mint(Hlc { ms: 0x0192_3456_789a, count: 1 }, u64::MAX);
        let late = JobId::mint(Hlc { ms: 0x0192_3456_789a, count: 2 }, 0);
        assert_eq!(early.as_str(), "job_01923456-789a-7001-bfff-ffffffffffff");
        assert_eq!(late.as_str(), "job_01923456-789a-7002-8000-000000000000");
        assert!(early < late);
    }

    #[test]
    fn text_out_of_bounds_is_no_id() {
        assert_eq!(HostId::new(""), Err(IdError::Empty));
        assert_eq!(HostId::new("a\nb"), Err(IdError::Control));
        assert_eq!(HostId::new("x".repeat(MAX_ID_BYTES + 1)), Err(IdError::TooLong));
        assert!(HostId::new("any text / ünïcode").is_ok());
    }

    #[test]
    fn networks_of_other_names_are_other_networks() {
        assert_eq!(NetworkId::of_name("a"), NetworkId::of_name("a"));
        assert_ne!(NetworkId::of_name("a"), NetworkId::of_name("b"));
    }
}
