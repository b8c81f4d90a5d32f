//! What the tools of an agent may do, in the words of submitters and of the host's owner.

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

/// What the owner of a host allows the tools of agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRules {
    /// The most they may do.
    pub most: ToolPolicy,
    /// The commands they may run where a list decides.
    pub allowlist: Vec<Entry>,
}

impl Default for ToolRules {
    /// Nothing: a stranger's agent runs no commands unless the owner says so.
    fn default() -> Self {
        Self { most: ToolPolicy::None, allowlist: Vec::new() }
    }
}

/// A command on the list, in OpenClaw's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which command.
    pub pattern: String,
    /// Which arguments; none for any.
    pub arg_pattern: Option<String>,
}

impl ToolRules {
    /// The document that tells OpenClaw of the list.
    pub(super) fn approvals(&self) -> String {
        let entry = |entry: &Entry| match &entry.arg_pattern {
            Some(args) => serde_json::json!({ "pattern": entry.pattern, "argPattern": args }),
            None => serde_json::json!({ "pattern": entry.pattern }),
        };
        let list: Vec<_> = self.allowlist.iter().map(entry).collect();
        serde_json::json!({
            "version": 1,
            "defaults": { "security": "allowlist", "ask": "off", "askFallback": "deny" },
            "agents": { "main": { "allowlist": list } },
        })
        .to_string()
    }
}
