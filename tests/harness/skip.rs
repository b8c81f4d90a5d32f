//! Tests that need what a machine may not have.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use skyclaw_node::sandbox::{Sandbox, Wanted};

use crate::binary::binary;

/// Something a test needs.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// The user is root.
    Root,
    /// A program is in `PATH`.
    Tool(&'static str),
    /// Python 3 can make a place of its own for what is installed.
    PythonVenv,
    /// The machine is of this architecture.
    Machine(&'static str),
    /// Nodes keep what they run at this level at least.
    Sandbox(&'static str),
    /// This variable, which leaves such tests out, is not set to 1.
    NotLeftOutBy(&'static str),
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Root => rustix::process::geteuid().is_root(),
            Self::Tool(name) => std::env::var_os("PATH")
                .is_some_and(|path| std::env::split_paths(&path).any(|dir| is_in(&dir, name))),
            Self::PythonVenv => {
                let mut python = Command::new("python3");
                python.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null());
                python.output().is_ok_and(|output| output.status.success())
            }
            Self::Sandbox(name) => level() >= rank(name),
            Self::Machine(name) => std::env::consts::ARCH == name,
            Self::NotLeftOutBy(name) => std::env::var_os(name).is_none_or(|value| value != "1"),
        }
    }
}

/// The level that this machine reaches, by trial.
fn level() -> usize {
    static LEVEL: OnceLock<usize> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wanted = Wanted { shim: Some(binary("skyclaw-node")), ..Wanted::default() };
        rank(Sandbox::probe(wanted).level().as_str())
    })
}

fn rank(name: &str) -> usize {
    let names = ["none", "basic", "landlock", "isolated"];
    names.iter().position(|known| *known == name).unwrap_or(names.len())
}

fn is_in(dir: &Path, name: &str) -> bool {
    dir.join(name).is_file()
}

/// Whether the test can run here. Says why not; with `SKYCLAW_TEST_REQUIRE_ALL=1` that is a
/// failure.
#[must_use]
#[track_caller]
pub fn can(needs: &[Need]) -> bool {
    let missing: Vec<_> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var("SKYCLAW_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "this test must run but lacks {missing:?}");
    eprintln!("skipped: lacks {missing:?}");
    false
}
