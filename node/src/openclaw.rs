//! OpenClaw on this host: whether it is there, what it can do, and how agent jobs are run with it.
//!
//! Always: what is believed of an install was seen by running it (`probe`). Configuration, state,
//! folder and tools of a run are laid out by the host (`shared`, `command`); a submitter chooses the
//! message and a few options (`job`). What a run says of itself is read from its whole output
//! (`report`), and only so many run at once as there is room for (`room`).

mod command;
mod found;
mod gateway;
mod job;
mod probe;
mod report;
mod room;
mod shared;
mod tools;
mod version;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::supervisor::policy::AgentRules;

pub(crate) use command::{Places, QUIET, Run, laid_out, of_agent, of_run};
pub(crate) use found::of_agents;
pub use found::{Found, Install};
pub(crate) use gateway::gateway_variables;
pub(crate) use job::{AgentJob, Mode};
pub use probe::watch;
pub(crate) use report::{About, End, Left, MAX_STDOUT_BYTES, Report, is_whole};
pub(crate) use room::{Room, Ticket};
pub use tools::ToolPolicy;
pub use version::Version;

/// What the settings say about OpenClaw.
#[derive(Clone, Debug)]
pub struct OpenclawConfig {
    /// The program.
    pub command: String,
    /// The configuration that agent jobs may use; none if the owner shares none.
    pub config: Option<PathBuf>,
    /// Jobs may also be asked of the Gateway on this machine.
    pub gateway: bool,
    /// Agents at once.
    pub most: usize,
    /// Memory that one takes, in bytes.
    pub bytes: u64,
    /// What tools of agents may do here.
    pub rules: AgentRules,
}

impl Default for OpenclawConfig {
    /// Nothing is shared.
    fn default() -> Self {
        Self {
            command: "openclaw".into(),
            config: None,
            gateway: false,
            most: 1,
            bytes: 1280 << 20,
            rules: AgentRules::default(),
        }
    }
}

/// The OpenClaw of this host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Openclaw(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: OpenclawConfig,
    room: Room,
    found: watch::Sender<Option<Arc<Found>>>,
}

impl Openclaw {
    /// Knows nothing until [`watch()`] has looked.
    #[must_use]
    pub fn new(config: OpenclawConfig) -> Self {
        let room = Room::new(config.most, config.bytes);
        Self(Arc::new(Inner { config, room, found: watch::Sender::new(None) }))
    }

    /// Taken at its owner's word: whatever stands under the name is run as jobs say it, and no agents are.
    #[must_use]
    pub fn unseen(config: OpenclawConfig) -> Self {
        let openclaw = Self::new(config);
        openclaw.found(Found { install: Install::Other, ..Found::default() });
        openclaw
    }

    /// What was found, once something was: looking takes seconds at most.
    pub async fn known(&self) -> Arc<Found> {
        let mut found = self.0.found.subscribe();
        let known = found.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        // The sender lives as long as this: something was found.
        known.unwrap_or_default()
    }

    /// What was found last; none until it was looked for.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Found>> {
        self.0.found.borrow().clone()
    }

    /// Tells each time when something else is found.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Arc<Found>>> {
        self.0.found.subscribe()
    }

    /// How many more agents could begin now.
    #[must_use]
    pub fn free_room(&self) -> usize {
        self.0.room.free()
    }

    pub(crate) fn command(&self) -> &str {
        &self.0.config.command
    }

    pub(crate) fn room(&self) -> &Room {
        &self.0.room
    }

    /// The most that tools may do here.
    pub(crate) fn most(&self) -> ToolPolicy {
        self.0.config.rules.security.into()
    }

    fn found(&self, found: Found) {
        self.0.found.send_if_modified(|last| {
            let news = last.as_deref() != Some(&found);
            if news {
                *last = Some(Arc::new(found));
            }
            news
        });
    }
}
