//! The real `skyclaw-node`, as far as it gets without a network.

use std::process::{Command, Output, Stdio};

/// Nothing listens there: the port is reserved and never served.
const NOBODY: &str = "http://127.0.0.1:1";

fn node(vars: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw-node"));
    command.env_clear().envs(vars.iter().copied()).args(args);
    // No skyclaw.toml lies there.
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command.output().expect("the program starts")
}

/// A host that finds no coordinator and ends; what it said.
fn host_without_coordinator(vars: &[(&str, &str)]) -> String {
    let output = node(vars, &["--role", "host", "--coordinator-url", NOBODY]);
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn a_host_that_is_root_says_so_once() {
    let said = host_without_coordinator(&[]);
    let expected = usize::from(rustix::process::geteuid().is_root());
    assert_eq!(said.matches("runs as root").count(), expected, "{said}");
    let idle = node(&[], &["config"]);
    assert!(!text(&idle.stderr).contains("root"), "only where jobs run");
}
