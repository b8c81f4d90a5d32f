//! Keys as their owners hold them: `sk_ID_SECRET`, with a checksum at the end.
//!
//! The prefix and the fixed length let scanners find keys that were published by mistake; the
//! checksum tells a slip of the pen from a wrong key without asking anybody.
//!
//! Always: a key shows in no `Debug` output, and is gone from memory once it is dropped.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::{Hash, PrincipalId};

/// How keys begin.
const PREFIX: &str = "sk_";
/// Bytes of the checksum.
const SUM: usize = 4;
/// Bytes of the secret.
const SECRET: usize = 32;
/// Longest id within a key.
const MAX_ID: usize = 32;

/// A principal's key.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ApiKey {
    /// Whose.
    #[zeroize(skip)]
    pub id: PrincipalId,
    secret: [u8; SECRET],
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not look like one.
    #[error("this is no key of a principal: those read sk_ID_SECRET")]
    NotAKey,
    /// It looks like one, but a character is wrong.
    #[error("this key is mistyped: its checksum does not hold")]
    Mistyped,
}

impl ApiKey {
    /// The key of this principal whose secret is these random bytes.
    #[must_use]
    pub const fn new(id: PrincipalId, secret: [u8; SECRET]) -> Self {
        Self { id, secret }
    }

    /// A new id, of these random bytes.
    #[must_use]
    pub fn id_of(chance: [u8; 10]) -> Option<PrincipalId> {
        PrincipalId::new(encode(&chance)).ok()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`KeyError`], which tells nothing of the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (id, rest) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(KeyError::NotAKey)?;
        let id = Some(id).filter(|id| is_id(id)).and_then(|id| PrincipalId::new(id).ok());
        let id = id.ok_or(KeyError::NotAKey)?;
        // Of another length it is none; nothing long is decoded.
        let is_long = rest.len() == length(SECRET + SUM);
        let bytes = is_long.then(|| decode(rest)).flatten().ok_or(KeyError::Mistyped)?;
        let (secret, sum) = bytes.split_first_chunk::<SECRET>().ok_or(KeyError::Mistyped)?;
        let key = Self { id, secret: *secret };
        if *sum != key.sum() {
            return Err(KeyError::Mistyped);
        }
        Ok(key)
    }

    /// Its text: to be shown to its owner, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([&self.secret[..], &self.sum()].concat());
        Zeroizing::new(format!("{PREFIX}{}_{}", self.id, encode(&bytes)))
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.derive("skyclaw/1 key of a principal")
    }

    fn sum(&self) -> [u8; SUM] {
        let mut sum = [0; SUM];
        sum.copy_from_slice(&self.derive("skyclaw/1 checksum of a principal's key").0[..SUM]);
        sum
    }

    fn derive(&self, what: &str) -> Hash {
        let mut hash = blake3::Hasher::new_derive_key(what);
        // The id is last: the secret has one length.
        hash.update(&self.secret);
        hash.update(self.id.as_str().as_bytes());
        Hash(*hash.finalize().as_bytes())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(super) fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// Characters of so many bytes.
const fn length(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

fn encode(bytes: &[u8]) -> String {
    let mut text = data_encoding::BASE32_NOPAD.encode(bytes);
    text.make_ascii_lowercase();
    text
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return None;
    }
    let upper = Zeroizing::new(text.to_ascii_uppercase());
    data_encoding::BASE32_NOPAD.decode(upper.as_bytes()).ok().map(Zeroizing::new)
}
