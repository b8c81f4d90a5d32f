//! Examples that are scripts, started as their README says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use skyclaw_tests::{Need, binary, can, processes_with, workspace_root};

/// Types what the README of an example says, where it says so.
fn run(name: &str, env: &[(&str, &str)]) -> Output {
    let readme = workspace_root().join("examples").join(name).join("README.md");
    let readme = fs::read_to_string(readme).expect("it has a README");
    let mut blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let command = blocks.next().expect("it says what to type");
    assert!(blocks.next().is_none(), "and nothing else");
    let folder = binary("skyclaw").parent().map(Path::to_owned).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder).chain(std::env::split_paths(&path));
    let home = tempfile::tempdir().expect("a folder");
    let ended = Command::new("bash")
        .args(["-c", command])
        .current_dir(workspace_root())
        .env_clear()
        .env("PATH", std::env::join_paths(path).expect("folders without colons"))
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .envs(env.iter().copied())
        .output()
        .expect("bash starts");
    let left = fs::read_dir(home.path()).expect("it is there").count();
    assert_eq!(left, 0, "files are left");
    let processes = processes_with(&home.path().display().to_string());
    assert!(processes.is_empty(), "processes are left");
    ended
}

#[track_caller]
fn said(ended: &Output) -> String {
    let out = String::from_utf8_lossy(&ended.stdout).into_owned();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{out}{err}");
    out
}

#[test]
fn two_nodes_find_each_other_and_share_a_job() {
    let said = said(&run("two_nodes", &[]));
    assert!(said.contains(" connected "), "{said}");
    assert!(said.contains("completed") && said.contains("hello from a job"), "{said}");
}

#[test]
fn a_service_is_deployed_and_called_through_a_gateway() {
    if !can(&[Need::Tool("node"), Need::Tool("curl")]) {
        return;
    }
    // Where no other test has its services.
    let said = said(&run("serve_behind_gateway", &[("BASE_PORT", "23100")]));
    for n in 1..=4 {
        assert!(said.contains(&format!("you asked for /?n={n}")), "{said}");
    }
    assert!(said.contains("hello removed"), "{said}");
}
