//! What a host lets jobs and services start, by the rules of its owner.
//!
//! Always: the program is chosen by the host's own settings, read once at start, never by anything
//! in a payload. A payload says a name or a path; a rule allows it, or it does not run.

mod arguments;
mod document;
mod environment;
mod error;
mod file;
mod folders;
mod network;
mod resolve;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;

use rustix::io::Errno;
use skyclaw_protocol::Hash;
use skyclaw_protocol::egress::NetworkAsk;

pub use document::Bounds;
use environment::Environment;
pub use error::PolicyError;
pub use file::{Folders, Place, PolicyFile};
use network::NetworkRules;
pub use network::{Reach, Whose};
use resolve::Programs;
pub use rules::{AgentRules, Entry};
use rules::{Reason, Ruling};
pub use words::{Section, Security};

/// Where the rules come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Names that may be run (`SKYCLAW_ALLOWED_COMMANDS`).
    pub names: Vec<String>,
    /// Whether the owner wrote that list. Its default has no say beside a policy file.
    pub names_are_set: bool,
    /// The policy file, if there is one.
    pub file: Option<PolicyFile>,
}

/// The rules of a host, and the part of the environment every job gets.
#[derive(Clone, Debug)]
pub struct Policy {
    /// None where the file alone decides.
    names: Option<BTreeSet<String>>,
    file: Option<PolicyFile>,
    programs: Programs,
    environment: Environment,
    digest: Hash,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Run this path.
    Run(String),
    /// It is allowed but nothing stands for it: what the system would answer (`ENOENT`, `EACCES`).
    Missing(Errno),
    /// It is not allowed, in words that begin as the original's did.
    Refused(String),
}

impl Policy {
    /// Resolves the names that rules give, with the daemon's `PATH`; warns about those that stand
    /// for nothing.
    #[must_use]
    pub fn new(sources: &Sources, daemon: &[(String, String)]) -> Self {
        let Sources { names, names_are_set, file } = sources;
        let names = (file.is_none() || *names_are_set).then(|| names.iter().cloned().collect());
        let wanted: BTreeSet<&str> = match (&names, file) {
            (Some(names), _) => BTreeSet::iter(names).map(String::as_str).collect(),
            (None, Some(file)) => file.names().collect(),
            (None, None) => BTreeSet::new(),
        };
        Self {
            programs: Programs::new(wanted, daemon),
            environment: Environment::new(daemon),
            digest: digest(names.as_ref(), file.as_ref()),
            names,
            file: file.clone(),
        }
    }

    /// Whether this may run, and what it is. Names equal or do not: `/bin/sh` is not `sh`.
    #[must_use]
    pub fn judge(&self, section: Section, command: &str, args: &[String]) -> Verdict {
        self.explain(section, command, args).0
    }

    /// The same with the rule that decided.
    #[must_use]
    pub fn explain(&self, section: Section, command: &str, args: &[String]) -> (Verdict, String) {
        let rule = |reason: Reason<'_>| format!("policy {}: {reason}", section.as_str());
        let refused = |rule: String| {
            let told = format!("command not allowed: {command}");
            // Clients of the original know these words alone; only a policy file adds to them.
            let told = if self.file.is_some() { format!("{told} ({rule})") } else { told };
            (Verdict::Refused(told), rule)
        };
        let (found, decided) = match &self.file {
            None => (None, String::new()),
            Some(file) => match file.section(section).decide(command, args, &self.programs) {
                Ruling::Allowed(found, reason) => (Some(found), rule(reason)),
                Ruling::Refused(reason) => return refused(rule(reason)),
            },
        };
        let decided = match &self.names {
            Some(names) if !names.contains(command) => {
                return refused("SKYCLAW_ALLOWED_COMMANDS does not name it".to_owned());
            }
            Some(_) if decided.is_empty() => "SKYCLAW_ALLOWED_COMMANDS names it".to_owned(),
            Some(_) => format!("{decided}, and SKYCLAW_ALLOWED_COMMANDS names it"),
            None => decided,
        };
        match found.unwrap_or_else(|| self.programs.find(command)) {
            Ok(path) => (Verdict::Run(path), decided),
            Err(errno) => (Verdict::Missing(errno), decided),
        }
    }

    /// A program that the host starts by its own settings, with arguments of its own making: a file's
    /// patterns are about what jobs write. A list of names that the owner wrote bars it all the same.
    #[must_use]
    pub fn hosts_own(&self, command: &str) -> Verdict {
        if self.names.as_ref().is_some_and(|names| !names.contains(command)) {
            return Verdict::Refused(format!("command not allowed: {command}"));
        }
        match self.programs.find(command) {
            Ok(path) => Verdict::Run(path),
            Err(errno) => Verdict::Missing(errno),
        }
    }

    /// The programs that were found for the names of the rules, and the `PATH` they were found in.
    pub(super) fn programs(&self) -> (Vec<String>, &str) {
        self.programs.all()
    }

    /// Arguments as an `argPattern` sees them; none if no pattern can match them.
    #[must_use]
    pub fn written(args: &[String]) -> Option<String> {
        arguments::written(args)
    }

    /// Names these rules: the list of commands and the text of the file, as far as they have a say.
    #[must_use]
    pub const fn digest(&self) -> Hash {
        self.digest
    }

    /// What an agent's own tools may do here. Without a policy file: nothing.
    #[must_use]
    pub fn agents(&self) -> AgentRules {
        self.file.as_ref().map_or_else(AgentRules::default, PolicyFile::agents)
    }

    /// What a run may reach that asks for this, or for nothing.
    ///
    /// # Errors
    /// It asks for more than it may have: a sentence for its submitter.
    pub fn reach(&self, whose: Whose, asked: Option<&NetworkAsk>) -> Result<Reach, String> {
        self.network(whose).judge(whose, asked)
    }

    /// Whether all of what these runs reach goes over the proxy.
    #[must_use]
    pub fn has_list(&self, whose: Whose) -> bool {
        self.network(whose).is_list()
    }

    fn network(&self, whose: Whose) -> NetworkRules {
        let usual = || NetworkRules::usual(whose);
        self.file.as_ref().map_or_else(usual, |file| file.network(whose).clone())
    }

    /// The rules in a few lines, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut lines = self.file.as_ref().map_or_else(Vec::new, PolicyFile::summary);
        lines.extend(Whose::ALL.map(|whose| self.network(whose).summary(whose)));
        lines.extend(self.file.iter().flat_map(PolicyFile::opens));
        if let Some(names) = &self.names {
            let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            lines.push(format!("SKYCLAW_ALLOWED_COMMANDS: {names}"));
        }
        lines.join("\n")
    }

    /// The whole environment of a job.
    pub(super) fn environment(
        &self,
        asked: &[(String, String)],
        home: &str,
        tmp: &str,
    ) -> Vec<(String, String)> {
        self.environment.of_job(asked, home, tmp)
    }
}

/// A hash of the rules that counts neither the order of names nor where the file lies.
fn digest(names: Option<&BTreeSet<String>>, file: Option<&PolicyFile>) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("skyclaw/1 host policy");
    let mut put = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    let of_file = file.map(PolicyFile::digest);
    put(of_file.as_ref().map_or(&[][..], |digest| &digest.0));
    put(if names.is_some() { b"names" } else { b"" });
    for name in names.into_iter().flatten() {
        put(name.as_bytes());
    }
    Hash(*hasher.finalize().as_bytes())
}
