//! What the tools of an agent may do, in the words of submitters and of the host's owner.

use serde_json::json;

use crate::supervisor::policy::{AgentRules, Entry, Security};

/// The weaker one comes first: what happens is the weaker of what was asked for and what the host
/// allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ToolPolicy {
    /// No command is run and no file is touched.
    None,
    /// Files of its own folder, and commands of the host's list.
    Allowlist,
    /// All that OpenClaw offers.
    Full,
}

impl ToolPolicy {
    /// Reads the word of a payload.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Allowlist, Self::Full].into_iter().find(|policy| policy.as_str() == word)
    }

    /// Its word in payloads and results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Allowlist => "allowlist",
            Self::Full => "full",
        }
    }
}

impl From<Security> for ToolPolicy {
    fn from(security: Security) -> Self {
        match security {
            Security::Deny => Self::None,
            Security::Allowlist => Self::Allowlist,
            Security::Full => Self::Full,
        }
    }
}

/// The document that tells OpenClaw of the host's list.
pub(super) fn approvals(rules: &AgentRules) -> String {
    let entry = |entry: &Entry| match &entry.arg_pattern {
        Some(args) => json!({ "pattern": entry.pattern, "argPattern": args }),
        None => json!({ "pattern": entry.pattern }),
    };
    let list: Vec<_> = rules.allowlist.iter().map(entry).collect();
    json!({
        "version": 1,
        "defaults": { "security": "allowlist", "ask": "off", "askFallback": "deny" },
        "agents": { "main": { "allowlist": list } },
    })
    .to_string()
}
