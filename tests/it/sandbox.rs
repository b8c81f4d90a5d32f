//! What runs is kept apart: at each level that is named, as root and as an ordinary user, from outside
//! with real nodes and real jobs.

mod attempts;
mod disturbers;
mod escapes;
mod following;
mod levels;

use std::fs;

use serde_json::{Value, json};
use skyclaw_tests::{Need, Node, Setup, can};

/// An ordinary user: of the numbers that no system gives to anybody.
const NOBODY: u32 = 65_534;

/// Who the node runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Root,
    Ordinary,
}

impl Who {
    const BOTH: [Self; 2] = [Self::Root, Self::Ordinary];

    /// Both need root: to be it, or to become somebody else.
    fn can_be(self) -> bool {
        can(&[Need::Root, Need::Tool("setpriv")])
    }
}

/// A host of that level and user. What it lends is a shell and Perl, which reaches every system call.
fn kept(level: &str, who: Who) -> Setup {
    let setup = Setup::both()
        .env("SKYCLAW_SANDBOX", level)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh,perl,true,node,npm,gcc")
        .env("SKYCLAW_MAX_PARALLEL", 4)
        .passable();
    match who {
        Who::Root => setup,
        Who::Ordinary => setup.user(NOBODY),
    }
}

/// Runs a script to its end; its record.
fn run(node: &Node, script: &str) -> Value {
    let job = node.api.submit_shell(script);
    node.api.until_job_ended(&job)
}

fn stdout(job: &Value) -> &str {
    job["result"]["stdout"].as_str().unwrap_or_default()
}

/// Where the node lays out its runs.
fn work_root(node: &Node) -> std::path::PathBuf {
    let entries = fs::read_dir(node.folder().join("tmp")).expect("the node's own folder");
    let mut roots = entries.flatten().map(|entry| entry.path());
    roots.find(|path| path.to_string_lossy().contains("/skyclaw-")).expect("it lays out runs")
}

fn shell_with(script: &str, more: Value) -> Value {
    let mut payload = json!({ "kind": "shell", "command": "sh", "args": ["-c", script] });
    for (name, value) in more.as_object().into_iter().flatten() {
        payload[name] = value.clone();
    }
    json!({ "payload": payload })
}
