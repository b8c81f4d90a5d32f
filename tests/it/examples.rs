//! Examples that are scripts, started as their README says.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use skyclaw_tests::{Need, Process, binary, can, processes_with, workspace_root};

/// Longer than all that a script waits for, so that it says itself what it waited for in vain.
const DEADLINE: Duration = Duration::from_secs(120);

/// Whatever still runs with this text in its environment ends with the test.
struct Started(String);

impl Drop for Started {
    fn drop(&mut self) {
        for pid in processes_with(&self.0) {
            // It may end in this moment.
            _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// Types what the README of an example says, where it says so. Returns what came of it.
#[track_caller]
fn run(name: &str, env: &[(&str, &str)]) -> String {
    let readme = workspace_root().join("examples").join(name).join("README.md");
    let readme = fs::read_to_string(readme).expect("it has a README");
    let mut blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let command = blocks.next().expect("it says what to type");
    assert!(blocks.next().is_none(), "and nothing else");
    let folder = binary("skyclaw").parent().map(Path::to_owned).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).expect("folders without colons");
    let home = tempfile::tempdir().expect("a folder");
    let started = Started(home.path().display().to_string());
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
    let env: Vec<_> = env.chain([("PATH".to_owned(), path)]).collect();
    let args = ["-c", command];
    let mut script = Process::start(Path::new("bash"), &args, &env, workspace_root(), home.path());
    let ended = script.wait(DEADLINE);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let left = fs::read_dir(home.path().join("tmp")).expect("it is there").count();
    assert_eq!(left, 0, "files are left");
    assert!(processes_with(&started.0).is_empty(), "processes are left");
    ended.stdout
}

#[test]
fn two_nodes_find_each_other_and_share_a_job() {
    let said = run("two_nodes", &[]);
    assert!(said.contains(" connected "), "{said}");
    assert!(said.contains("completed") && said.contains("hello from a job"), "{said}");
}

#[test]
fn a_service_is_deployed_and_called_through_a_gateway() {
    if !can(&[Need::Tool("node"), Need::Tool("curl")]) {
        return;
    }
    // Where no other test has its services.
    let said = run("serve_behind_gateway", &[("BASE_PORT", "23100")]);
    for n in 1..=4 {
        assert!(said.contains(&format!("you asked for /?n={n}")), "{said}");
    }
    assert!(said.contains("hello removed"), "{said}");
}
