//! What one run is kept in, as the supervisor says it to the shim.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skyclaw_protocol::SandboxLevel;

use super::limits;

/// What a run may see, reach and take. Its own folders are not named here: they are its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// How it is kept.
    pub level: SandboxLevel,
    /// Files and folders it may read and run, beside the system's.
    pub readable: Vec<PathBuf>,
    /// Folders it may write.
    pub writable: Vec<PathBuf>,
    /// What it may reach.
    pub network: Network,
    /// The port on which it answers, of a service.
    pub port: Option<u16>,
    /// Most it may take.
    pub limits: Limits,
}

impl Profile {
    /// Whether an isolated run is given a network namespace. A service that reaches nothing shares the
    /// machine's, where its callers are, held to its port by rules of Landlock and to answering by the
    /// filter.
    pub(crate) fn has_own_network(&self) -> bool {
        match self.network {
            Network::Host => false,
            Network::None => self.port.is_none(),
            Network::Proxy(_) => true,
        }
    }
}

/// What a run may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Nothing but itself; a service is reached on its port all the same.
    None,
    /// What the machine reaches.
    Host,
    /// The proxy that listens on this unix socket, and through it what that allows. At `isolated` only:
    /// below it nothing keeps a run from going round a proxy, so it is refused there. Where the node
    /// is root the socket must be writable by all; the folder it lies in may be closed.
    Proxy(PathBuf),
}

/// Most that a run may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads at once.
    pub processes: u64,
    /// Memory of all of them.
    pub memory_bytes: u64,
    /// What its folders take on the disk.
    pub disk_bytes: u64,
    /// What its folder for temporary files takes, where that is in memory.
    pub tmp_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Size of one file.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: limits::PROCESSES,
            memory_bytes: limits::MEMORY_BYTES,
            disk_bytes: limits::DISK_BYTES,
            tmp_bytes: limits::TMP_BYTES,
            open_files: limits::OPEN_FILES,
            file_bytes: limits::FILE_BYTES,
        }
    }
}
