//! What a machine lacks for a level, in words that say what would give it.

use std::fmt;

use skyclaw_protocol::SandboxLevel;

/// One part of a level that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The level it belongs to.
    pub level: SandboxLevel,
    /// Which part, such as `user namespaces` or `memory cgroup`.
    pub part: String,
    /// Why it cannot be had, with the system's own words.
    pub reason: String,
    /// What would give it.
    pub remedy: String,
    /// Whether the level is not reached for it; else the level holds without this part, by the
    /// means that `remedy` names.
    pub decides: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.level, self.part, self.reason)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// The level that the settings ask for is not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReached {
    /// What was asked for.
    pub wanted: SandboxLevel,
    /// What is reached.
    pub reached: SandboxLevel,
    /// Why.
    pub findings: Vec<Finding>,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, reached, findings } = self;
        write!(f, "SKYCLAW_SANDBOX={wanted} cannot be had here, only {reached}")?;
        for finding in findings.iter().filter(|finding| finding.decides) {
            write!(f, "\n{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotReached {}
