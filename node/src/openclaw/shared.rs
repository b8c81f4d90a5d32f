//! The configuration that the owner of a host shares with agent jobs, and what becomes of it for each.
//!
//! Always: a job gets models and credentials of it, never channels, the Gateway's token or an agent's
//! own workspace; and its tools are those that were agreed on, whatever the owner's file says of tools
//! elsewhere. Submitters have no part in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::tools::ToolPolicy;

/// Longest configuration in bytes. Theirs are a few KiB.
const MAX_BYTES: u64 = 1 << 20;

/// What every job needs: which models there are, and how one gets in.
const ALWAYS: [&str; 5] = ["models", "auth", "env", "secrets", "agents"];

/// What goes along where tools may do anything.
const WITH_ALL_TOOLS: [&str; 4] = ["tools", "mcp", "plugins", "skills"];

/// Settings of agents by which a run would leave its folder, its tools, or the agent whose commands the
/// list is about. Where tools may do anything they may also do it in the owner's sandbox.
const OF_AGENT: [&str; 6] = ["workspace", "repoRoot", "tools", "sandbox", "cwd", "systemAgent"];

/// Tools that work on the folder of a job.
const OF_FOLDER: [&str; 7] = ["exec", "process", "read", "write", "edit", "apply_patch", "ls"];

/// A configuration, read.
#[derive(Clone, PartialEq)]
pub(crate) struct Shared(Map<String, Value>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It holds keys of models.
        f.write_str("Shared(..)")
    }
}

impl Shared {
    /// Reads a file in JSON5, as OpenClaw writes it.
    ///
    /// # Errors
    /// Why it cannot be used, without a word of what is in it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let at = path.display();
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| format!("{at} cannot be read: {error}"))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(format!("{at} is longer than {MAX_BYTES} bytes"));
        }
        match json5::from_str(&text) {
            Ok(Value::Object(members)) if members.contains_key("$include") => Err(format!(
                "{at} includes other files, which jobs do not get: write what they need into it"
            )),
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(format!("{at} is no object")),
            // The parser's words may quote the file.
            Err(_) => Err(format!("{at} is no JSON5: see `openclaw config validate`")),
        }
    }

    /// One that says nothing.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self(Map::new())
    }

    /// The configuration of one job, as JSON.
    #[must_use]
    pub(crate) fn of_job(&self, tools: ToolPolicy) -> String {
        let more: &[&str] = if tools == ToolPolicy::Full { &WITH_ALL_TOOLS } else { &[] };
        let mut config: Map<String, Value> = ALWAYS
            .iter()
            .chain(more)
            .filter_map(|name| Some(((*name).to_owned(), self.0.get(*name)?.clone())))
            .collect();
        if let Some(Value::Object(agents)) = config.get_mut("agents") {
            // Named agents have folders and tools of their own.
            agents.retain(|name, _| name == "defaults");
            if let Some(Value::Object(defaults)) = agents.get_mut("defaults") {
                for name in OF_AGENT {
                    if tools != ToolPolicy::Full || name != "sandbox" {
                        defaults.remove(name);
                    }
                }
            }
        }
        match tools {
            ToolPolicy::None => {
                config.insert("tools".to_owned(), json!({ "deny": ["*"] }));
            }
            ToolPolicy::Allowlist => {
                // Without the search further tools would be found that no list names.
                let tools = json!({
                    "profile": "coding",
                    "allow": OF_FOLDER,
                    "exec": { "mode": "allowlist", "host": "gateway" },
                    "fs": { "workspaceOnly": true },
                    "toolSearch": false,
                });
                config.insert("tools".to_owned(), tools);
            }
            ToolPolicy::Full => {}
        }
        // Its sessions go with its folder. To look whether old ones are to be deleted costs it several threads,
        // and a third of the processor of a short run (2026.9.6; the setting is there since before `EXEC_SINCE`).
        config.insert("session".to_owned(), json!({ "maintenance": { "mode": "warn" } }));
        Value::Object(config).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(text: &str) -> Result<Shared, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("openclaw.json");
        std::fs::write(&path, text).unwrap();
        Shared::read(&path)
    }

    const OWNERS: &str = "{ // json5
        models: { providers: { mock: { apiKey: 'sk-local' } } },
        agents: { defaults: { model: { primary: 'mock/mock-1' }, workspace: '/srv/me', tools: { allow: ['exec'] }, systemAgent: { agentId: 'x' } },
            list: [{ id: 'main', tools: { allow: ['*'] } }] },
        tools: { exec: { mode: 'full' } }, mcp: { servers: {} },
        gateway: { auth: { token: 'secret' } }, channels: { telegram: { botToken: 'secret' } } }";

    fn of_job(tools: ToolPolicy) -> Value {
        serde_json::from_str(&shared(OWNERS).unwrap().of_job(tools)).unwrap()
    }

    #[test]
    fn models_go_along_and_channels_gateway_and_workspaces_never() {
        for tools in [ToolPolicy::None, ToolPolicy::Allowlist, ToolPolicy::Full] {
            let config = of_job(tools);
            assert_eq!(config["models"]["providers"]["mock"]["apiKey"], "sk-local");
            assert_eq!(
                config["agents"],
                json!({ "defaults": { "model": { "primary": "mock/mock-1" } } })
            );
            assert!(!config.to_string().contains("secret"));
        }
    }

    #[test]
    fn no_time_is_lost_on_old_sessions_whatever_the_file_says() {
        let shared = shared("{ session: { maintenance: { mode: 'enforce' } } }").unwrap();
        let config: Value = serde_json::from_str(&shared.of_job(ToolPolicy::None)).unwrap();
        assert_eq!(config["session"], json!({ "maintenance": { "mode": "warn" } }));
    }

    #[test]
    fn the_tools_are_those_agreed_on_whatever_the_file_says() {
        assert_eq!(of_job(ToolPolicy::None)["tools"], json!({ "deny": ["*"] }));
        let listed = of_job(ToolPolicy::Allowlist);
        assert_eq!(listed["tools"]["exec"]["mode"], "allowlist");
        assert_eq!(
            (&listed["tools"]["fs"]["workspaceOnly"], listed.get("mcp")),
            (&json!(true), None)
        );
        assert_eq!(of_job(ToolPolicy::Full)["tools"]["exec"]["mode"], "full");
    }

    #[test]
    fn what_cannot_be_read_says_why_and_quotes_nothing() {
        let error = shared("{ apiKey: 'sk-secret' oops }").unwrap_err();
        assert!(error.ends_with("is no JSON5: see `openclaw config validate`"), "{error}");
        assert!(shared("{ $include: './x.json' }").unwrap_err().contains("includes other files"));
        assert!(shared("[]").unwrap_err().ends_with("is no object"));
        assert!(shared(&" ".repeat(2 << 20)).unwrap_err().contains("is longer than"));
        assert!(Shared::read(Path::new("/nonexistent/x")).unwrap_err().contains("cannot be read"));
    }
}
