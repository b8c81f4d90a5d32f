//! The way out for runs that may reach some hosts and no others: a proxy of HTTP and of tunnels, one
//! door to it for each run.
//!
//! ```text
//!   run ──HTTP_PROXY──> sandbox ──unix socket──> Door ──> Dial: list, name, address ──> the outside
//! ```
//!
//! Always: a door is one run's and goes with it, and so does all that went through it. A name is
//! resolved here, once, and the address that was judged is the one connected to, so that no answer of a
//! name server leads a run to this machine or its neighbours.

mod dial;
mod door;
mod limits;
mod numbers;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::collector::Collector;

use dial::{Dial, Resolve, System};
pub(crate) use door::Door;
pub(crate) use limits::CONNECTIONS;
use numbers::{Numbers, Shown};
pub(crate) use rules::Rules;

/// What all doors of a host have in common. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Egress {
    numbers: Arc<Numbers>,
    names: Arc<dyn Resolve>,
}

impl Default for Egress {
    fn default() -> Self {
        Self::with(Arc::new(System))
    }
}

impl Egress {
    fn with(names: Arc<dyn Resolve>) -> Self {
        Self { numbers: Arc::default(), names }
    }

    /// Opens a door for one run, as a socket in `folder` that nobody can guess. It closes, and ends
    /// all that went through it, when it is dropped. To be called within the runtime.
    ///
    /// # Errors
    /// The socket cannot be made, as where the folder's path is too long for one.
    pub(crate) fn open(&self, rules: Rules, folder: &Path) -> io::Result<Door> {
        let (numbers, names) = (Arc::clone(&self.numbers), Arc::clone(&self.names));
        Door::open(Arc::new(Dial::new(rules, numbers, names)), folder)
    }

    /// What it has done, read when the metrics are.
    #[must_use]
    pub(crate) fn metrics(&self) -> Box<dyn Collector> {
        Box::new(Shown(Arc::clone(&self.numbers)))
    }
}
