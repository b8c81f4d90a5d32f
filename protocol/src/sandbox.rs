//! How far a host keeps what it runs apart from itself: levels in order, each holding all of those below.
//!
//! Always: a host says each level it reaches as a capability, so a job that asks for one asks for a
//! capability, and nodes that know no levels place it all the same.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One level. A stronger one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxLevel {
    /// A clean environment and folders of its own; files and network of the node's user.
    None,
    /// No new privileges, a filter of system calls, limits of processes, files and memory, and where
    /// the node runs as root another user.
    Basic,
    /// Also only the folders that are its own or that the owner opens, and no TCP that is not allowed.
    Landlock,
    /// Also its own processes, mounts, network and names: nothing else of the machine is seen.
    Isolated,
}

impl SandboxLevel {
    /// What its capabilities begin with.
    pub const CAPABILITY: &'static str = "sandbox:";

    /// All, weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Basic, Self::Landlock, Self::Isolated];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Landlock => "landlock",
            Self::Isolated => "isolated",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// The capability of hosts that reach it. There is none for the weakest: every host does.
    #[must_use]
    pub fn capability(self) -> Option<String> {
        (self != Self::None).then(|| format!("{}{}", Self::CAPABILITY, self.as_str()))
    }

    /// The strongest level among the capabilities of a host.
    #[must_use]
    pub fn among(capabilities: &[String]) -> Self {
        let names = capabilities.iter().filter_map(|word| word.strip_prefix(Self::CAPABILITY));
        names.filter_map(Self::of).max().unwrap_or(Self::None)
    }

    /// The capabilities of a host that reaches this level.
    pub fn capabilities(self) -> impl Iterator<Item = String> {
        Self::ALL.into_iter().filter(move |level| *level <= self).filter_map(Self::capability)
    }
}

impl fmt::Display for SandboxLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_capabilities_of_all_weaker_levels() {
        let of = |level: SandboxLevel| level.capabilities().collect::<Vec<_>>();
        assert_eq!(of(SandboxLevel::None), Vec::<String>::new());
        assert_eq!(of(SandboxLevel::Landlock), ["sandbox:basic", "sandbox:landlock"]);
        assert_eq!(of(SandboxLevel::Isolated).len(), 3);
        for level in SandboxLevel::ALL {
            assert_eq!(SandboxLevel::among(&of(level)), level);
        }
        let other = ["sandbox:steel".to_owned(), "shell".to_owned()];
        assert_eq!(SandboxLevel::among(&other), SandboxLevel::None);
    }

    #[test]
    fn names_are_read_back_and_others_are_no_level() {
        for level in SandboxLevel::ALL {
            assert_eq!(SandboxLevel::of(level.as_str()), Some(level));
        }
        assert_eq!(SandboxLevel::of("Isolated"), None);
        assert!(SandboxLevel::None < SandboxLevel::Basic);
    }
}
