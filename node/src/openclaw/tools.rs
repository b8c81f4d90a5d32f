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
        // It looks for a match anywhere; the owner's pattern is about the whole.
        Some(args) => json!({ "pattern": entry.pattern, "argPattern": format!("^(?:{args})$") }),
        None => json!({ "pattern": entry.pattern }),
    };
    let list: Vec<_> = rules.allowlist.iter().map(entry).collect();
    json!({
        "version": 1,
        "defaults": { "security": "allowlist", "ask": "off", "askFallback": "deny" },
        "agents": { "*": { "allowlist": list } },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_arguments_is_about_the_whole_of_them() {
        let entry = |args: Option<&str>| Entry {
            pattern: "uname".to_owned(),
            arg_pattern: args.map(str::to_owned),
        };
        let allowlist = vec![entry(Some("-s|-a")), entry(None)];
        let document = approvals(&AgentRules { security: Security::Allowlist, allowlist });
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["agents"]["*"]["allowlist"][0]["argPattern"], "^(?:-s|-a)$");
        assert_eq!(document["agents"]["*"]["allowlist"][1], json!({ "pattern": "uname" }));
    }

    #[test]
    fn what_is_weaker_comes_first() {
        assert!(ToolPolicy::from(Security::Deny) < ToolPolicy::from(Security::Allowlist));
        assert_eq!(ToolPolicy::parse("full"), Some(ToolPolicy::from(Security::Full)));
        assert_eq!(ToolPolicy::parse("Full"), None);
    }
}
