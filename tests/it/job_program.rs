//! The small program that runs hang under: used if it is there and of the same build, done without if not.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use skyclaw_tests::{Node, Setup, binary, eventually};
use tempfile::TempDir;

/// A folder with a node's program, as somebody installed it.
struct Installed {
    folder: TempDir,
}

impl Installed {
    fn alone() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let installed = Self { folder };
        let (from, to) = (binary("skyclaw-node"), installed.node());
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(from, to).expect("the test's folder is writable");
        }
        installed
    }

    fn with(job: &[u8]) -> Self {
        let installed = Self::alone();
        install(&installed.job(), job);
        installed
    }

    fn node(&self) -> PathBuf {
        self.folder.path().join("skyclaw-node")
    }

    fn job(&self) -> PathBuf {
        self.folder.path().join("skyclaw-job")
    }

    fn start(&self) -> Node {
        let node = Setup::both().program(&self.node()).start();
        node.api.until_hosts(1);
        node
    }
}

fn install(path: &Path, program: &[u8]) {
    let mut file = File::create(path).expect("the test's folder is writable");
    file.write_all(program).expect("the test's folder is writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn built() -> Vec<u8> {
    fs::read(binary("skyclaw-job")).expect("it was built")
}

/// The same program under the name of another build.
fn of_another_build() -> Vec<u8> {
    let mut program = built();
    let version = concat!(env!("CARGO_PKG_VERSION"), "-").as_bytes();
    let names_a_build = |at: &usize| {
        let name = program.get(at + version.len()..at + version.len() + 16);
        program[*at..].starts_with(version)
            && name.is_some_and(|name| name.iter().all(u8::is_ascii_hexdigit))
    };
    let found: Vec<usize> = (0..program.len()).filter(names_a_build).collect();
    assert!(!found.is_empty(), "it knows the name of its build");
    for at in found {
        let digit = &mut program[at + version.len()];
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
    program
}

/// The shim that waits for the next job, and the file that it was started from.
fn waiting(node: &Node) -> (Pid, String) {
    let tasks = format!("/proc/{}/task", node.process.pid());
    eventually("a shim waits", || {
        let tasks = fs::read_dir(&tasks).into_iter().flatten().flatten();
        let children =
            tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<i32> = children
            .flat_map(|all| all.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
            .collect();
        let [child] = children[..] else { return Err(format!("{children:?}")) };
        // Until then it is the node still, about to become one.
        let named = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        if !named.contains("__skyclaw-job-shim") {
            return Err(named);
        }
        let file = fs::read_link(format!("/proc/{child}/exe"));
        let file = file.map_err(|error| error.to_string())?.to_string_lossy().into_owned();
        Pid::from_raw(child).map(|pid| (pid, file)).ok_or_else(String::new)
    })
}

#[track_caller]
fn works(node: &Node) {
    let job = node.api.submit_shell("echo on");
    assert_eq!(node.api.until_job_ended(&job)["result"]["stdout"], "on\n");
}

#[test]
fn runs_hang_under_the_small_program() {
    let installed = Installed::with(&built());
    let node = installed.start();
    works(&node);
    assert_eq!(Path::new(&waiting(&node).1), installed.job());
    assert!(!node.process.log().contains("start slower"), "{}", node.process.log());
}

#[test]
fn a_node_without_it_runs_jobs_all_the_same() {
    let installed = Installed::alone();
    let node = installed.start();
    works(&node);
    assert_eq!(Path::new(&waiting(&node).1), installed.node());
    assert_eq!(node.process.log().matches("start slower").count(), 1, "{}", node.process.log());
}

#[test]
fn one_of_another_build_or_that_is_no_such_program_or_that_others_may_write_is_not_used() {
    let others = Installed::with(&built());
    fs::set_permissions(others.job(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let cases = [
        (Installed::with(&of_another_build()), "is of another build"),
        (Installed::with(&fs::read("/bin/false").expect("it is there")), "does not answer"),
        (Installed::with(b"#!/bin/sh\nexit 0\n"), "skyclaw-job"),
        (others, "is not kept from others"),
    ];
    for (installed, reason) in cases {
        let node = installed.start();
        works(&node);
        assert_eq!(Path::new(&waiting(&node).1), installed.node(), "{reason}");
        let log = node.process.log();
        let said = log.lines().find(|line| line.contains("start slower"));
        assert!(said.is_some_and(|line| line.contains(reason)), "{reason}: {log}");
    }
}

/// As packages and `cargo install` do it: another file takes its name.
#[test]
fn an_upgrade_under_a_running_node_changes_nothing_for_its_runs() {
    let installed = Installed::with(&built());
    let node = installed.start();
    let new = installed.folder.path().join("new");
    install(&new, &of_another_build());
    fs::rename(&new, installed.job()).expect("the folder is ours");
    fs::remove_file(installed.node()).expect("the folder is ours");
    for _ in 0..2 {
        let (shim, file) = waiting(&node);
        assert!(file.ends_with("skyclaw-job (deleted)"), "{file}");
        // Another one is started, from what lies there no more.
        kill_process(shim, Signal::KILL).expect("it is ours");
        works(&node);
    }
}

/// As `cp` does it, which the kernel allows while no shim lives.
#[test]
fn a_file_that_is_written_over_is_noticed_and_given_up() {
    let installed = Installed::with(&built());
    let node = installed.start();
    let (shim, _) = waiting(&node);
    kill_process(shim, Signal::KILL).expect("it is ours");
    eventually("nothing runs it", || {
        File::options().write(true).open(installed.job()).map(drop).map_err(|e| e.to_string())
    });
    install(&installed.job(), &of_another_build());
    works(&node);
    works(&node);
    assert_eq!(Path::new(&waiting(&node).1), installed.node());
    let log = node.process.log();
    assert_eq!(log.matches("it is not used any more").count(), 1, "{log}");
}
