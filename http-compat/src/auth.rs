//! Who may ask: the shared token and the keys of principals on private routes, the keys of the public ones.
//!
//! Always: secrets are held as hashes only and compared in constant time; none is ever printed.

mod who;

use std::fmt;

use axum::http::{HeaderMap, HeaderName, header};
use skyclaw_protocol::Hash;
use subtle::ConstantTimeEq;

use crate::error::ApiError;
use crate::text::{capability_list, trim};
pub(crate) use who::{Enough, Who};

pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-skyclaw-token");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a key may ask for where its entry names nothing.
const DEFAULT_CAPABILITY: &str = "openclaw";

/// A token or key that callers must know. Holds its BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(Hash);

impl Secret {
    /// The secret of that text; `None` for the empty text, which stands for no check at all.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(Hash::of(text.as_bytes())))
    }

    /// Whether a caller showed this secret. Header bytes count as UTF-8 or as Latin-1, which is
    /// how the original's clients send them.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let mut same = self.0.0.ct_eq(blake3::hash(shown).as_bytes());
        if !shown.is_ascii() {
            let latin: String = shown.iter().map(|&byte| char::from(byte)).collect();
            same |= self.0.0.ct_eq(blake3::hash(latin.as_bytes()).as_bytes());
        }
        same.into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key of the public API and what it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    secret: Secret,
    label: String,
    capabilities: Vec<String>,
    /// The same as they were written, in that order and as often.
    named: Vec<String>,
    shell: bool,
}

impl PublicKey {
    /// Reads the text of `SKYCLAW_PUBLIC_API_KEYS`: entries `key:label:cap|cap:flag`, separated
    /// by commas. Entries without a key are dropped; an empty label is `anonymous`, empty
    /// capabilities are `openclaw`, only the flag `shell` allows shell jobs.
    #[must_use]
    pub fn parse_list(text: &str) -> Vec<Self> {
        trim(text).split(',').filter_map(Self::parse).collect()
    }

    fn parse(entry: &str) -> Option<Self> {
        let mut parts = entry.split(':').map(trim);
        let mut part = || parts.next().unwrap_or_default();
        let secret = Secret::new(part())?;
        let label = match part() {
            "" => "anonymous",
            label => label,
        };
        let named = part().split('|').map(trim).filter(|text| !text.is_empty());
        let mut named: Vec<String> = named.map(str::to_owned).collect();
        if named.is_empty() {
            named.push(DEFAULT_CAPABILITY.to_owned());
        }
        let capabilities = capability_list(named.iter().map(String::as_str));
        let shell = part() == "shell";
        Some(Self { secret, label: label.to_owned(), capabilities, named, shell })
    }

    /// Its label; jobs belong to the label, not to the key.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What it may ask for; sorted, unique, never empty.
    #[must_use]
    pub fn capabilities(&self) -> &[String] {
        &self.capabilities
    }

    /// What the original took an absent requirement to be.
    pub(crate) fn named(&self) -> &[String] {
        &self.named
    }

    /// Whether it may submit shell jobs.
    #[must_use]
    pub const fn allows_shell(&self) -> bool {
        self.shell
    }

    /// Whether that text is this key.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.secret.is(shown)
    }

    /// The submitter its jobs carry.
    pub(crate) fn submitter(&self) -> String {
        format!("public:{}", self.label)
    }

    /// What tells this caller from others in idempotency scopes.
    pub(crate) const fn asker(&self) -> Asker {
        Asker::Key(self.secret.0)
    }
}

/// Whose idempotency keys these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// All who know the shared token.
    Token,
    /// Who knows the public key of this hash, or is the principal whose id has this hash.
    Key(Hash),
}

/// All values of a header as one, as Node shows them.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut all = values.next()?.as_bytes().to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value.as_bytes());
    }
    Some(all)
}

/// The public key the caller shows: a bearer token, else `x-api-key`. A wrong bearer token is not
/// rescued by the other header.
pub(crate) fn find_key<'a>(
    keys: &'a [PublicKey],
    headers: &HeaderMap,
) -> Result<&'a PublicKey, ApiError> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .map(|value| value.trim_ascii().to_vec())
        .filter(|value| !value.is_empty());
    let shown = bearer
        .or_else(|| joined(headers, &API_KEY).map(|value| value.trim_ascii().to_vec()))
        .ok_or(ApiError::InvalidApiKey)?;
    // Every key is compared, so the time taken does not tell which one came near.
    keys.iter()
        .fold(None, |found, key| if key.secret.is(&shown) { found.or(Some(key)) } else { found })
        .ok_or(ApiError::InvalidApiKey)
}
