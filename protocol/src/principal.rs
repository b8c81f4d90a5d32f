//! Principals: who may use the API under a name, and how much of it.
//!
//! Always: what is kept of a key is a hash; the key itself is shown once, to whoever had it made.
//! A principal that was revoked stays revoked.

mod key;

use serde::{Deserialize, Serialize};

use crate::clock::Wall;
use crate::id::{Hash, PrincipalId};
use crate::limits::{MAX_PRINCIPAL_NAME, MAX_TEXT_BYTES};

pub use key::{ApiKey, KeyError};

/// What a principal may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Submit jobs, and see, cancel and replay its own.
    Submit,
    /// Deploy services, and see, change and remove its own.
    Deploy,
    /// See all jobs, services, hosts and peers.
    Read,
    /// Everything, principals included.
    Admin,
    /// What a host that talks HTTP asks of its coordinator.
    Host,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Submit, Self::Deploy, Self::Read, Self::Admin, Self::Host];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Deploy => "deploy",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Host => "host",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a principal may use; nothing said is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Jobs of it that wait at once, in the whole network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// Jobs of it that run at once, in the whole network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// Submissions and deployments in a minute, at each coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<u32>,
    /// Bytes of payloads and blobs it may send in a day, at each coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
}

impl Quotas {
    /// True if nothing is bounded.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }
}

/// Who may use the API under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// Names it for good.
    pub id: PrincipalId,
    /// What it is called; a name is free again once its principal was revoked.
    pub name: String,
    /// What it may do; sorted, unique, at least one.
    pub scopes: Vec<Scope>,
    /// [`ApiKey::hash`] of its key. The secret is 256 random bits, which nobody finds by trying:
    /// a slow hash would add nothing but a way to keep coordinators busy.
    pub secret_hash: Hash,
    /// How much it may use.
    #[serde(default, skip_serializing_if = "Quotas::is_unbounded")]
    pub quotas: Quotas,
    /// When it was made.
    pub created: Wall,
    /// Display name of the coordinator that made it.
    pub created_by: String,
    /// From when on its key is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    /// Since when its key is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Wall>,
}

impl Principal {
    /// True if its key counts at that time.
    #[must_use]
    pub fn is_valid(&self, now: Wall) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// True if it may do this. Whoever is an administrator may do everything.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether `key` is its key. Takes the same time however much of it is right.
    #[must_use]
    pub fn has(&self, key: &ApiKey) -> bool {
        let kept = blake3::Hash::from_bytes(self.secret_hash.0);
        key.id == self.id && blake3::Hash::from_bytes(key.hash().0) == kept
    }

    /// Who submitted its jobs, as jobs say it.
    #[must_use]
    pub fn submitter(&self) -> String {
        submitter(&self.name)
    }

    /// Checks its bounds.
    ///
    /// # Errors
    /// Why it is none.
    pub fn check(&self) -> Result<(), &'static str> {
        if !is_name(&self.name) {
            return Err("a principal's name is 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'");
        }
        if self.scopes.is_empty() || !self.scopes.is_sorted_by(|a, b| a < b) {
            return Err("scopes are at least one, sorted and unique");
        }
        if !key::is_id(self.id.as_str()) {
            return Err("a principal's id is 1 to 32 of a-z and 0-9");
        }
        if self.created_by.len() > MAX_TEXT_BYTES / 16 {
            return Err("the coordinator's name is too long");
        }
        Ok(())
    }
}

/// Who submitted the jobs of a principal of this name.
#[must_use]
pub fn submitter(name: &str) -> String {
    format!("key:{name}")
}

/// The name of the principal that a submitter is; `None` if it is none.
#[must_use]
pub fn name_of(submitter: &str) -> Option<&str> {
    submitter.strip_prefix("key:")
}

/// Whether a principal may be called so: the name stands in logs, lists and command lines.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let may = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    (1..=MAX_PRINCIPAL_NAME).contains(&name.len()) && name.bytes().all(may)
}

#[cfg(test)]
mod tests;
