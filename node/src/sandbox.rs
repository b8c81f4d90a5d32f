//! What a run is kept in: its level, its folders, its network, its limits.
//!
//! Built once at start by [`Sandbox::probe`], which tries the levels on this machine instead of
//! guessing from versions. Always: a run is made at the level that [`Sandbox::level`] names or it
//! is not made; a level that was asked for and cannot be had is a [`Finding`], never a weaker run.

mod finding;
pub mod limits;
mod profile;

use std::path::PathBuf;
use std::sync::Arc;

use skyclaw_protocol::SandboxLevel;

pub use finding::{Finding, NotReached};
pub use profile::{Limits, Network, Profile};

/// What the settings say about the sandbox.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The level to run at; none for the strongest that the machine allows.
    pub level: Option<SandboxLevel>,
    /// Most that one run may take.
    pub limits: Limits,
    /// Folders that the owner opens to every run for reading.
    pub readable: Vec<PathBuf>,
    /// The same for writing.
    pub writable: Vec<PathBuf>,
    /// Files and folders of the node that no run may see, wherever they lie: database, settings, rules.
    pub hidden: Vec<PathBuf>,
    /// Where the folders of runs are made; none for the system's folder for temporary files.
    pub work_dir: Option<PathBuf>,
    /// The binary that becomes a shim; none for this process's own.
    pub shim: Option<PathBuf>,
}

/// What this machine can keep runs in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wanted: Wanted,
    level: SandboxLevel,
    findings: Vec<Finding>,
}

impl Sandbox {
    /// Tries the levels from the strongest down to the first that works, or the one that is wanted.
    #[must_use]
    pub fn probe(wanted: Wanted) -> Self {
        Self(Arc::new(Inner { wanted, level: SandboxLevel::None, findings: Vec::new() }))
    }

    /// No sandbox at all: the node's own user, files and network.
    #[must_use]
    pub fn none() -> Self {
        let wanted = Wanted { level: Some(SandboxLevel::None), ..Wanted::default() };
        Self(Arc::new(Inner { wanted, level: SandboxLevel::None, findings: Vec::new() }))
    }

    /// The level that runs are made at.
    #[must_use]
    pub fn level(&self) -> SandboxLevel {
        self.0.level
    }

    /// What is missing to a stronger level, or to the whole of this one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0.findings
    }

    /// Whether the level that was wanted is reached.
    ///
    /// # Errors
    /// It is not; a node must not start then.
    pub fn check(&self) -> Result<(), NotReached> {
        let wanted = self.0.wanted.level.unwrap_or(SandboxLevel::None);
        if self.0.level >= wanted {
            return Ok(());
        }
        Err(NotReached { wanted, reached: self.0.level, findings: self.0.findings.clone() })
    }

    /// What a run gets that asks for nothing: no network, the limits of the settings.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let wanted = &self.0.wanted;
        Profile {
            level: self.0.level,
            readable: wanted.readable.clone(),
            writable: wanted.writable.clone(),
            network: Network::None,
            port: None,
            limits: wanted.limits.clone(),
        }
    }
}
