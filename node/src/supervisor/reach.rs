//! The network of one run: what it asks for, what the owner grants, what the sandbox can keep.
//!
//! Always: where the sandbox cannot keep a run to what it may reach, the run does not start.

use std::path::Path;

use skyclaw_protocol::SandboxLevel;
use skyclaw_protocol::egress::NetworkAsk;

use super::policy::{Reach, Whose};
use super::{HostFault, Inner};
use crate::egress::Door;
use crate::sandbox::Network;

impl Inner {
    /// What a run may reach.
    ///
    /// # Errors
    /// It may not run here: a sentence for its submitter.
    pub(super) fn reach(&self, whose: Whose, asked: Option<&NetworkAsk>) -> Result<Reach, String> {
        let level = self.sandbox.level();
        if level == SandboxLevel::None {
            return match asked {
                // Nothing is kept apart here, and nobody was promised that it is.
                None | Some(NetworkAsk::Any) => Ok(Reach::Any),
                Some(asked) => Err(beyond(&asked.to_string(), level)),
            };
        }
        if let (Whose::Services, Some(NetworkAsk::Hosts(_))) = (whose, asked) {
            return Err("network not allowed: a list of hosts is for jobs, not for services".into());
        }
        match self.policy.reach(whose, asked)? {
            Reach::Hosts(_) if level < SandboxLevel::Isolated => match (asked, whose) {
                // It may do well without, and was promised nothing.
                (None, Whose::Jobs | Whose::Services) => Ok(Reach::None),
                (None, Whose::Agents) => Err(beyond("the hosts that its policy names", level)),
                (Some(asked), _) => Err(beyond(&asked.to_string(), level)),
            },
            reach => Ok(reach),
        }
    }

    /// Opens the way out of a run with its folder, where it has one. It is to be kept as long as the run
    /// lasts.
    pub(super) fn way_out(
        &self,
        reach: Reach,
        folder: &Path,
    ) -> Result<(Network, Option<Door>), HostFault> {
        match reach {
            Reach::None => Ok((Network::None, None)),
            Reach::Any => Ok((Network::Host, None)),
            Reach::Hosts(rules) => {
                let door = self.egress.open(rules, folder).map_err(|error| {
                    let folder = folder.display();
                    HostFault(format!(
                        "cannot make the socket of a run's proxy in {folder}: {error}"
                    ))
                })?;
                Ok((Network::Proxy(door.path().to_owned()), Some(door)))
            }
        }
    }
}

/// What is said where the sandbox is too weak.
fn beyond(what: &str, level: SandboxLevel) -> String {
    format!(
        "network not allowed: {what} (this host keeps its runs at level {level}, which cannot hold them \
         to that)"
    )
}
