//! Values that only nodes of the network may read, wherever they lie: the environment of services.
//!
//! A sealed value is text, `sealed:1:` and base64 of nonce and ciphertext (XChaCha20-Poly1305, bound to
//! the variable's name), so that it travels and is kept as any value is. The nonce is a keyed hash of name
//! and value instead of chance: a definition that is deployed again is then the same definition, and no
//! new deployment. What that tells is whether a variable has the value it had before.
//!
//! Always: what is sealed opens under the key it was sealed with and the name it was sealed for, or not
//! at all; without keys nothing is sealed, and clear values pass.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::view::ServiceDef;

/// Shown instead of a value, and sent to keep the one that is there.
pub const MASK: &str = "***";

/// How sealed values begin.
const PREFIX: &str = "sealed:1:";

/// Bytes of a nonce.
const NONCE: usize = 24;

/// The keys under which values are sealed: the first seals, any opens.
#[derive(Clone, Default)]
pub struct SealKeys(Vec<Zeroizing<[u8; 32]>>);

/// A value does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it was sealed under another token or network than this node has: set SKYCLAW_TOKEN, or \
     SKYCLAW_TOKEN_OLD, to that one, or deploy the service again"
)]
pub struct Unreadable;

impl SealKeys {
    /// Those of a network that shares a token; `old` is the one it had before. None without a token.
    #[must_use]
    pub fn of_tokens(token: Option<&str>, old: Option<&str>) -> Self {
        let key =
            |token: &str| blake3::derive_key("skyclaw/1 seal of values at rest", token.as_bytes());
        // What an old token sealed is of no use to a network that is open.
        let old = old.filter(|_| token.is_some());
        Self([token, old].into_iter().flatten().map(|token| Zeroizing::new(key(token))).collect())
    }

    /// Those of a network that has a secret for this. What was sealed before under keys of `old` opens too.
    #[must_use]
    pub fn of_secret(secret: &[u8; 32], old: &Self) -> Self {
        let first = Zeroizing::new(*secret);
        Self(std::iter::once(first).chain(old.0.iter().cloned()).collect())
    }

    /// True if values stay clear.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A value as it is kept. A mask stays one: it stands for what is kept already.
    #[must_use]
    pub fn seal(&self, name: &str, value: &str) -> String {
        let Some(key) = self.0.first().filter(|_| value != MASK) else { return value.to_owned() };
        let nonce = nonce(key, name, value);
        let payload = Payload { msg: value.as_bytes(), aad: name.as_bytes() };
        let sealed = cipher(key).encrypt(&XNonce::from(nonce), payload);
        // It fails for values beyond 256 GiB alone; what is not sealed is not kept either.
        let sealed = sealed.unwrap_or_default();
        let bytes = [&nonce[..], &sealed].concat();
        format!("{PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&bytes))
    }

    /// The value of a kept one.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn open(&self, name: &str, kept: &str) -> Result<Zeroizing<String>, Unreadable> {
        let Some(text) = kept.strip_prefix(PREFIX).filter(|_| !self.is_empty()) else {
            return Ok(Zeroizing::new(kept.to_owned()));
        };
        let bytes =
            data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Unreadable)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or(Unreadable)?;
        for key in &self.0 {
            let payload = Payload { msg: sealed, aad: name.as_bytes() };
            if let Ok(value) = cipher(key).decrypt(&XNonce::from(*nonce), payload) {
                return String::from_utf8(value).map(Zeroizing::new).map_err(|_| Unreadable);
            }
        }
        Err(Unreadable)
    }

    /// A definition as it is kept.
    pub fn seal_all(&self, def: &mut ServiceDef) {
        for (name, value) in def.env.iter_mut().flatten() {
            *value = self.seal(name, value);
        }
    }

    /// A definition as it is run.
    ///
    /// # Errors
    /// The first variable that is [`Unreadable`].
    pub fn open_all(&self, def: &mut ServiceDef) -> Result<(), String> {
        for (name, value) in def.env.iter_mut().flatten() {
            let open = self.open(name, value).map_err(|why| format!("env.{name}: {why}"))?;
            value.clone_from(&open);
        }
        Ok(())
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeys({})", self.0.len())
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn nonce(key: &[u8; 32], name: &str, value: &str) -> [u8; NONCE] {
    let mut hash = blake3::Hasher::new_keyed(key);
    hash.update(b"skyclaw/1 nonce of a sealed value");
    hash.update(&(name.len() as u64).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(value.as_bytes());
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&hash.finalize().as_bytes()[..NONCE]);
    nonce
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(token: &str) -> SealKeys {
        SealKeys::of_tokens(Some(token), None)
    }

    #[test]
    fn a_value_opens_under_its_key_and_name_alone() {
        let kept = keys("a").seal("DB_URL", "postgres://canary");
        assert!(!kept.contains("canary") && kept.starts_with(PREFIX));
        assert_eq!(keys("a").open("DB_URL", &kept).unwrap().as_str(), "postgres://canary");
        assert_eq!(keys("b").open("DB_URL", &kept), Err(Unreadable));
        assert_eq!(keys("a").open("DB_URI", &kept), Err(Unreadable));
        let both = SealKeys::of_tokens(Some("b"), Some("a"));
        assert_eq!(both.open("DB_URL", &kept).unwrap().as_str(), "postgres://canary");
        assert_ne!(both.seal("DB_URL", "postgres://canary"), kept, "the new one seals");
        assert_eq!(format!("{both:?}"), "SealKeys(2)");
    }

    #[test]
    fn the_secret_of_a_network_seals_and_what_a_token_sealed_before_opens() {
        let before = keys("a").seal("A", "1");
        let keys = SealKeys::of_secret(&[7; 32], &keys("a"));
        assert_eq!(keys.open("A", &before).unwrap().as_str(), "1");
        let kept = keys.seal("A", "1");
        assert_ne!(kept, before);
        let members = SealKeys::of_secret(&[7; 32], &SealKeys::default());
        assert_eq!(members.open("A", &kept).unwrap().as_str(), "1");
    }

    #[test]
    fn the_same_is_sealed_the_same_and_another_otherwise() {
        let keys = keys("a");
        assert_eq!(keys.seal("A", "1"), keys.seal("A", "1"));
        assert_ne!(keys.seal("A", "1"), keys.seal("A", "2"));
        assert_ne!(keys.seal("A", "1")[PREFIX.len()..], keys.seal("B", "1")[PREFIX.len()..]);
    }

    #[test]
    fn masks_stay_and_without_keys_all_does() {
        assert_eq!(keys("a").seal("A", MASK), MASK);
        let open = SealKeys::of_tokens(None, Some("a"));
        assert!(open.is_empty());
        assert_eq!(open.seal("A", "x"), "x");
        assert_eq!(open.open("A", "sealed:1:x").unwrap().as_str(), "sealed:1:x");
        // What was kept before there was a token is clear, and a text that only looks sealed is sealed.
        assert_eq!(keys("a").open("A", "clear").unwrap().as_str(), "clear");
        let odd = keys("a").seal("A", "sealed:1:x");
        assert_eq!(keys("a").open("A", &odd).unwrap().as_str(), "sealed:1:x");
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens(name in "\\PC{0,20}", value in "\\PC{0,200}") {
            prop_assume!(value != MASK);
            let kept = keys("a").seal(&name, &value);
            let opened = keys("a").open(&name, &kept).unwrap();
            prop_assert_eq!(opened.as_str(), value);
        }

        #[test]
        fn no_text_is_more_than_an_error(text in "\\PC{0,100}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = keys("a").open("A", &format!("{PREFIX}{text}"));
            let sealed = format!("{PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&bytes));
            prop_assert_eq!(keys("a").open("A", &sealed), Err(Unreadable));
        }
    }
}
