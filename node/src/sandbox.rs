//! What a run is kept in: its level, its folders, its network, its limits.
//!
//! Built once at start by [`Sandbox::probe`], which tries the levels on this machine instead of
//! guessing from versions. Always: a run is made at the level that [`Sandbox::level`] names or it
//! is not made; a level that was asked for and cannot be had is a [`Finding`], never a weaker run.

pub(crate) mod cgroup;
mod disk;
pub(crate) mod fault;
pub(crate) mod filter;
mod finding;
pub(crate) mod forward;
mod ground;
pub mod limits;
pub(crate) mod mounts;
pub(crate) mod namespaces;
mod probe;
mod profile;
pub(crate) mod restrict;
pub(crate) mod rules;
pub(crate) mod user;
pub(crate) mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use skyclaw_protocol::SandboxLevel;

pub(crate) use cgroup::settle;
pub use finding::{Finding, NotReached};
pub(crate) use ground::{Ground, Places, around, beside};
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
        let (level, findings) = probe::probe(&wanted);
        Self(Arc::new(Inner { wanted, level, findings }))
    }

    /// No sandbox at all: the node's own user, files and network.
    #[must_use]
    pub fn none() -> Self {
        let wanted = Wanted { level: Some(SandboxLevel::None), ..Wanted::default() };
        Self(Arc::new(Inner { wanted, level: SandboxLevel::None, findings: Vec::new() }))
    }

    /// The same with other files of the node that no run may see: some are made only as it starts.
    #[must_use]
    pub fn hiding(&self, hidden: Vec<PathBuf>) -> Self {
        let Inner { wanted, level, findings } = &*self.0;
        let wanted = Wanted { hidden, ..wanted.clone() };
        Self(Arc::new(Inner { wanted, level: *level, findings: findings.clone() }))
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
        self.0.wanted.profile(self.0.level)
    }

    /// What every run stands on; `programs` are the folders of those that may be run.
    pub(crate) fn ground(&self, programs: impl IntoIterator<Item = PathBuf>) -> Ground {
        if self.0.level == SandboxLevel::None {
            return Ground::none();
        }
        let wanted = &self.0.wanted;
        let programs = programs.into_iter().filter(|path| ground::is_folder_to_open(path));
        let folders = wanted.readable.iter().cloned().chain(programs);
        Ground::new(&self.profile(), folders, &wanted.hidden)
    }
}

impl Wanted {
    /// A run that asks for nothing, at this level.
    fn profile(&self, level: SandboxLevel) -> Profile {
        Profile {
            level,
            readable: self.readable.clone(),
            writable: self.writable.clone(),
            network: Network::None,
            port: None,
            limits: self.limits.clone(),
        }
    }
}
