//! What a member may be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing a member may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberRole {
    /// It takes jobs, votes, leads, and tells news.
    Coordinator,
    /// It runs jobs and services.
    Host,
    /// It leads requests to services.
    Gateway,
    /// It invites others, lets them in, and revokes.
    Issuer,
}

impl MemberRole {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Coordinator, Self::Host, Self::Gateway, Self::Issuer];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Host => "host",
            Self::Gateway => "gateway",
            Self::Issuer => "issuer",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Coordinator => 1,
            Self::Host => 2,
            Self::Gateway => 4,
            Self::Issuer => 8,
        }
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(u8);

/// A word that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; there are coordinator, host, gateway and issuer")]
pub struct UnknownRole(pub String);

impl Roles {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self(15);

    /// Of these.
    #[must_use]
    pub fn of(roles: &[MemberRole]) -> Self {
        Self(roles.iter().fold(0, |bits, role| bits | role.bit()))
    }

    /// Reads words.
    ///
    /// # Errors
    /// The first word that names no role.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownRole> {
        let mut roles = Self::NONE;
        for word in words {
            let role = MemberRole::ALL.into_iter().find(|role| role.as_str() == word);
            let Some(role) = role else {
                // Cut: it is shown, and may be anything.
                return Err(UnknownRole(word.chars().take(32).collect()));
            };
            roles.0 |= role.bit();
        }
        Ok(roles)
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, role: MemberRole) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether a word names one of them.
    #[must_use]
    pub fn has_word(self, word: &str) -> bool {
        self.list().any(|role| role.as_str() == word)
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The roles in order.
    pub fn list(self) -> impl Iterator<Item = MemberRole> {
        MemberRole::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// The words in order.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        self.list().map(|role| role.as_str().to_owned()).collect()
    }

    /// Whether this version knows all of them, and there is one.
    pub(super) const fn holds(self) -> bool {
        self.0 != 0 && self.0 <= Self::ALL.0
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roles({self})")
    }
}
