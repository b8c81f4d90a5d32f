//! Completions as shells take them, and man pages as `groff` does.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use skyclaw_tests::{Need, binary, can};

const PROGRAMS: [&str; 2] = ["skyclaw", "skyclaw-node"];

/// Runs a shell that finds the programs under test.
fn shell(shell: &str, args: &[&str]) -> Output {
    let folder = binary("skyclaw").parent().map(Path::to_owned).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder).chain(std::env::split_paths(&path));
    Command::new(shell)
        .args(args)
        .env("PATH", std::env::join_paths(path).expect("folders without colons"))
        .output()
        .expect("the shell starts")
}

#[track_caller]
fn said(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.is_empty(), "{words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What bash offers for the last of these words, when TAB is pressed behind it.
fn offered(words: &[&str]) -> Vec<String> {
    let program = words[0];
    let script = format!(
        "source <({program} completions bash)
         function_of_it=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
         COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))
         $function_of_it {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let mut args = vec!["-c", &script, "bash"];
    args.extend(words);
    said(&shell("bash", &args)).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    assert_eq!(offered(&["skyclaw", "dep"]), ["deploy", "deploy-service"]);
    assert_eq!(offered(&["skyclaw", "enqueue-s"]), ["enqueue-shell"]);
    assert_eq!(offered(&["skyclaw", "network", "cr"]), ["create"]);
    assert_eq!(offered(&["skyclaw", "submit", "--queue"]), ["--queue-timeout-ms"]);
    assert_eq!(offered(&["skyclaw", "jobs", "--status", "le"]), ["leased"]);
    assert_eq!(offered(&["skyclaw-node", "back"]), ["backup"]);
    assert_eq!(offered(&["skyclaw-node", "--gateway-p"]), ["--gateway-port"]);
    // It does nothing there.
    assert!(offered(&["skyclaw-node", "completions", "--db"]).concat().is_empty());
}

#[test]
fn zsh_and_fish_read_their_completions() {
    for (name, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        if !can(&[Need::Tool(name)]) {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        for program in PROGRAMS {
            let made = Command::new(binary(program)).args(["completions", name]).output();
            let file = folder.path().join(program);
            fs::write(&file, said(&made.expect("it starts"))).expect("it is writable");
            said(&shell(name, &[check, file.to_str().expect("text")]));
        }
    }
}

/// Without a network and whatever the settings are.
#[test]
fn completions_and_pages_need_no_settings() {
    for program in PROGRAMS {
        for args in [&["completions", "bash"][..], &["man"]] {
            let made = Command::new(binary(program))
                .args(args)
                .env("SKYCLAW_CONFIG", "nowhere.toml")
                .output()
                .expect("it starts");
            assert!(said(&made).len() > 1000);
        }
        let refused = Command::new(binary(program)).args(["completions", "tcsh"]).output();
        assert_eq!(refused.expect("it starts").status.code(), Some(1));
    }
}

#[test]
fn man_pages_are_set_without_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    for program in PROGRAMS {
        let made = Command::new(binary(program)).arg("man").arg(folder.path()).status();
        assert!(made.expect("it starts").success());
    }
    let pages = fs::read_dir(folder.path()).expect("they are there").flatten();
    let pages: Vec<_> = pages.map(|entry| entry.path()).collect();
    let named = |name: &str| pages.iter().any(|page| page.ends_with(name));
    for name in ["skyclaw.1", "skyclaw-deploy.1", "skyclaw-network-create.1", "skyclaw-node.1"] {
        assert!(named(name), "{name} in {pages:?}");
    }
    assert!(!named("skyclaw-node-testnet-service.1"), "it is nobody's to call");
    if !can(&[Need::Tool("groff")]) {
        return;
    }
    for page in pages {
        let page = page.to_str().expect("text");
        said(&shell("groff", &["-man", "-ww", "-z", "-Tutf8", "-K", "utf8", page]));
    }
}
