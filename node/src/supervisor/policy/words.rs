//! The words of a policy file, which are OpenClaw's.

use serde::Deserialize;

/// How much may be run; the stricter is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Security {
    /// Nothing.
    Deny,
    /// What the allowlist matches.
    Allowlist,
    /// Everything.
    Full,
}

/// When a person would be asked, if there were one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Ask {
    /// Never.
    Off,
    /// Where nothing on the allowlist matches.
    OnMiss,
    /// Every time.
    Always,
}

/// Which rules a command is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Those for jobs.
    Jobs,
    /// Those for services.
    Services,
}

impl Security {
    const ALL: [Self; 3] = [Self::Deny, Self::Allowlist, Self::Full];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allowlist => "allowlist",
            Self::Full => "full",
        }
    }
}

impl Ask {
    const ALL: [Self; 3] = [Self::Off, Self::OnMiss, Self::Always];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OnMiss => "on-miss",
            Self::Always => "always",
        }
    }
}

impl Section {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Services => "services",
        }
    }
}

impl TryFrom<String> for Security {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == word);
        known.ok_or_else(|| unknown(&word, &Self::ALL.map(Self::as_str)))
    }
}

impl TryFrom<String> for Ask {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == word);
        known.ok_or_else(|| unknown(&word, &Self::ALL.map(Self::as_str)))
    }
}

pub(super) fn unknown(word: &str, allowed: &[&str]) -> String {
    format!("unknown word `{word}`, allowed is one of {}", allowed.join(", "))
}
