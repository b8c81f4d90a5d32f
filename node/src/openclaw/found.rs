//! What was found of OpenClaw on this host, and what follows from it.

use std::sync::Arc;

use skyclaw_protocol::OpenclawInstall;
use skyclaw_protocol::limits::{MAX_CAPABILITIES, MAX_CAPABILITY_BYTES, MAX_TEXT_BYTES};
use skyclaw_protocol::placement::capability_list;

use super::shared::Shared;
use super::version::{EXEC_SINCE, JSON_SINCE, Version};

/// Jobs of kind `openclaw-run`; the owner's word.
const OPENCLAW: &str = "openclaw";
/// Jobs of kind `openclaw-agent`.
const EXEC: &str = "openclaw.exec";
/// The same at the Gateway.
const GATEWAY: &str = "openclaw.gateway";

/// Models that are known: more than any list of an owner has. As many are advertised as a host's list
/// of capabilities has room for.
pub(super) const MAX_MODELS: usize = 1000;

/// What stands under the name of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Install {
    /// Nothing.
    #[default]
    Missing,
    /// Another program: jobs of kind `openclaw-run` run it as it is.
    Other,
    /// OpenClaw, which cannot be used for this reason.
    Unusable(String),
    /// OpenClaw.
    Usable(Version),
}

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// What stands under its name.
    pub install: Install,
    /// The version of Node that it runs on.
    pub node: Option<String>,
    /// The configuration that jobs may use; the error says why there is none.
    pub(crate) shared: Option<Result<Shared, String>>,
    /// The state in which its list of commands stands, as OpenClaw itself wrote it.
    pub(crate) approvals: Option<Arc<Vec<u8>>>,
    /// Models that can be used with the shared configuration.
    pub models: Vec<String>,
    /// Why they are not known.
    pub(crate) trouble: Option<String>,
    /// The Gateway answers, and jobs may be asked of it.
    pub gateway: bool,
}

impl Found {
    /// The version, where it is OpenClaw that can be used.
    #[must_use]
    pub const fn version(&self) -> Option<&Version> {
        match &self.install {
            Install::Usable(version) => Some(version),
            _ => None,
        }
    }

    /// True if it is OpenClaw, usable or not: jobs are then run by its rules.
    #[must_use]
    pub const fn is_openclaw(&self) -> bool {
        matches!(self.install, Install::Usable(_) | Install::Unusable(_))
    }

    /// The configuration with which agent jobs run.
    ///
    /// # Errors
    /// Why none can run here.
    pub(crate) fn exec(&self) -> Result<&Shared, String> {
        let version = match &self.install {
            Install::Usable(version) => version,
            Install::Unusable(reason) => return Err(reason.clone()),
            Install::Missing => return Err("openclaw is not installed here".to_owned()),
            Install::Other => return Err("what is called openclaw here is not OpenClaw".to_owned()),
        };
        if *version < EXEC_SINCE {
            return Err(format!(
                "OpenClaw {version} has no `agent exec`: {EXEC_SINCE} or newer has \
                 (npm install -g openclaw@latest)"
            ));
        }
        match &self.shared {
            None => {
                Err("no configuration is shared with jobs (SKYCLAW_OPENCLAW_CONFIG)".to_owned())
            }
            Some(Err(reason)) => Err(reason.clone()),
            Some(Ok(shared)) => Ok(shared),
        }
    }

    /// True if turns can be asked of the Gateway.
    pub(crate) fn asks_gateway(&self) -> bool {
        self.gateway && self.version().is_some_and(|version| *version >= JSON_SINCE)
    }

    /// The state for a run whose commands a list decides.
    pub(crate) fn approvals(&self) -> Option<&[u8]> {
        self.approvals.as_deref().map(Vec::as_slice)
    }

    /// What the host says it can do: the owner's list, in which `openclaw` means that jobs may use it.
    #[must_use]
    pub fn capabilities(&self, owner: &[String]) -> Vec<String> {
        let mut list = owner.to_vec();
        if !owner.iter().any(|word| word == OPENCLAW) {
            return list;
        }
        if matches!(self.install, Install::Unusable(_)) {
            list.retain(|word| word != OPENCLAW);
        }
        if self.exec().is_ok() && list.len() < MAX_CAPABILITIES {
            list.push(EXEC.to_owned());
            let room = MAX_CAPABILITIES.saturating_sub(list.len() + 1);
            let models = self.models.iter().map(|key| format!("model:{key}"));
            list.extend(models.filter(|word| word.len() <= MAX_CAPABILITY_BYTES).take(room));
        }
        if self.asks_gateway() && list.len() < MAX_CAPABILITIES {
            list.push(GATEWAY.to_owned());
        }
        capability_list(list)
    }

    /// What others are told; none where there is nothing to tell.
    #[must_use]
    pub fn told(&self) -> Option<OpenclawInstall> {
        let (version, trouble) = match &self.install {
            Install::Missing | Install::Other => return None,
            Install::Unusable(reason) => (None, Some(reason.clone())),
            Install::Usable(version) => {
                (Some(version.to_string()), self.exec().err().or_else(|| self.trouble.clone()))
            }
        };
        let short = |text: String| text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned();
        Some(OpenclawInstall {
            version: version.map(short),
            node: self.node.clone().map(short),
            gateway: self.asks_gateway(),
            trouble: trouble.map(short),
        })
    }
}

/// The capabilities that a host withholds while it has no room for agents.
#[must_use]
pub(crate) fn of_agents() -> Vec<String> {
    [OPENCLAW, EXEC, GATEWAY].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(version: &str) -> Found {
        let version = Version::find(&format!("OpenClaw {version}")).unwrap();
        let shared = Some(Ok(Shared::empty()));
        let models = vec!["mock/mock-1".to_owned()];
        Found { install: Install::Usable(version), shared, models, ..Found::default() }
    }

    fn shown(found: &Found, owner: &str) -> String {
        let owner: Vec<String> = owner.split(' ').map(str::to_owned).collect();
        found.capabilities(&owner).join(" ")
    }

    #[test]
    fn what_can_be_done_is_added_to_the_owners_list() {
        let found = Found { gateway: true, ..usable("2026.9.6") };
        let all = "model:mock/mock-1 openclaw openclaw.exec openclaw.gateway shell";
        assert_eq!(shown(&found, "shell openclaw"), all);
        assert_eq!(shown(&found, "shell"), "shell");
        assert_eq!(found.told().unwrap().trouble, None);
    }

    #[test]
    fn an_old_version_and_one_without_a_shared_configuration_run_no_agents_and_say_why() {
        let old = usable("2026.7.35");
        assert_eq!(shown(&old, "shell openclaw"), "openclaw shell");
        let told = old.told().unwrap();
        assert_eq!(told.version.as_deref(), Some("2026.7.35"));
        assert!(told.trouble.unwrap().contains("has no `agent exec`"));
        let closed = Found { shared: None, ..usable("2026.9.6") };
        assert_eq!(shown(&closed, "openclaw"), "openclaw");
        assert!(closed.told().unwrap().trouble.unwrap().contains("SKYCLAW_OPENCLAW_CONFIG"));
    }

    #[test]
    fn an_unusable_one_is_not_advertised_and_another_program_is_the_owners_word() {
        let broken = Found { install: Install::Unusable("Node 20".into()), ..Found::default() };
        assert_eq!(shown(&broken, "shell openclaw"), "shell");
        assert_eq!(broken.told().unwrap().trouble.as_deref(), Some("Node 20"));
        for install in [Install::Missing, Install::Other] {
            let found = Found { install, ..Found::default() };
            assert_eq!(
                (shown(&found, "shell openclaw").as_str(), found.told()),
                ("openclaw shell", None)
            );
        }
    }
}
