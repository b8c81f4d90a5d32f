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
    let said = host_without_coordinator(&[("SKYCLAW_SANDBOX", "none")]);
    let expected = usize::from(rustix::process::geteuid().is_root());
    assert_eq!(said.matches("runs as root").count(), expected, "{said}");
    // Kept apart, what runs there is not root.
    let kept = host_without_coordinator(&[("SKYCLAW_SANDBOX", "basic")]);
    assert!(!kept.contains("runs as root"), "{kept}");
    let idle = node(&[], &["config"]);
    assert!(!text(&idle.stderr).contains("root"), "only where jobs run");
}

#[test]
fn a_flag_that_does_nothing_for_a_subcommand_is_refused_by_name() {
    for (args, flag) in [
        (&["testnet", "--http-port", "9000"][..], "--http-port"),
        (&["--http-port", "9000", "testnet", "--once"], "--http-port"),
        (&["--role", "host", "testnet"], "--role"),
        (&["testnet", "--once", "--capabilities", "a", "--capabilities", "b"], "--capabilities"),
        (&["config", "--stop-with-parent", "1"], "--stop-with-parent"),
    ] {
        let output = node(&[], args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{flag} does nothing for `")), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_help_of_a_subcommand_shows_what_it_uses() {
    let flags_in = |args: &[&str]| {
        let help = text(&node(&[], args).stdout);
        let words = help.split_whitespace().filter(|word| word.starts_with("--"));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let own = ["--nodes", "--mdns", "--once", "--stop-with-parent", "--help"];
    assert_eq!(flags_in(&["testnet", "--help"]), own);
    assert_eq!(flags_in(&["help", "testnet"]), own);
    let config = flags_in(&["config", "--help"]);
    assert!(config.iter().any(|flag| flag == "--http-port"), "{config:?}");
    assert!(!config.iter().any(|flag| flag == "--stop-with-parent"), "{config:?}");
    let all = flags_in(&["--help"]);
    for flag in ["--http-port", "--stop-with-parent", "--role"] {
        assert!(all.iter().any(|known| known == flag), "{all:?}");
    }
}

#[test]
fn a_filter_that_is_none_is_told_and_does_not_turn_logging_off() {
    let said = host_without_coordinator(&[("SKYCLAW_LOG", "tra ce")]);
    let warning =
        "WARN SKYCLAW_LOG is no filter (`tra ce` does not begin with a level or a module)";
    assert!(said.contains(warning), "{said}");
    assert!(said.contains("allowed command is not found"), "other lines are there too: {said}");
    let quiet = host_without_coordinator(&[("SKYCLAW_LOG", "off")]);
    assert!(!quiet.contains("WARN"), "{quiet}");
}
