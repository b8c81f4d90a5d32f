//! The local network of the README.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use skyclaw_tests::{Connection, Process, Setup, binary, eventually, processes_with};

use skyclaw_tests::lan::Lan;

/// Six nodes, a job and a service: seconds, on a loaded machine more.
const CHECK: Duration = Duration::from_secs(90);

fn start(folder: &Path, args: &[&str]) -> Process {
    Setup::new("gateway").args(&["testnet"]).args(args).spawn(folder)
}

/// Folders of networks below a test's own temporary folder.
fn left_in(folder: &Path) -> usize {
    fs::read_dir(folder.join("tmp")).map_or(0, Iterator::count)
}

#[track_caller]
fn until_nothing_is_left(folder: &Path) {
    // Its processes inherit the TMPDIR of the test.
    let mark = folder.join("tmp").display().to_string();
    eventually("no process is left", || {
        let left = processes_with(&mark);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn the_check_ends_well_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = start(folder.path(), &["--once"]).wait(CHECK);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for said in [
        "coordinator-1 is up at http://127.0.0.1:",
        "coordinator-2 is up at http://127.0.0.1:",
        "the coordinators are connected with each other",
        "both coordinators know all 3 hosts",
        "it ran on testnet-host-",
        "said: hello from ",
        "coordinator-2 has it too, with its output",
        "the gateway is up at http://127.0.0.1:",
        "hello runs on testnet-host-",
        "through the gateway it says: hello from a service that travelled",
    ] {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
    }
    until_nothing_is_left(folder.path());
    assert_eq!(left_in(folder.path()), 0);
}

/// What it prints for the other terminal is what works there.
#[test]
fn the_network_can_be_used_as_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &["--nodes", "2"]);
    let said = until_up(&mut net);
    let line = said.lines().find_map(|line| line.split_once("export SKYCLAW_COORDINATOR_URLS="));
    let (_, urls) = line.expect("it names the urls");
    let skyclaw = |args: &[&str]| {
        let mut command = Command::new(binary("skyclaw"));
        command.args(args).env_clear().env("SKYCLAW_COORDINATOR_URLS", urls);
        let output = command.output().expect("the client starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let peers = skyclaw(&["peers"]);
    let line = peers.lines().find(|line| line.contains(" testnet-coordinator-2 "));
    assert!(line.is_some_and(|line| line.contains(" connected ")), "{peers}");
    assert_eq!(skyclaw(&["hosts"]).matches("testnet-host-").count(), 2);
    assert!(skyclaw(&["submit", "--wait", "--", "sh", "-c", "date; echo done"]).contains("done"));
    assert_eq!(skyclaw(&["jobs"]).matches("completed").count(), 2);
    assert!(skyclaw(&["service", "hello"]).contains("running      2 of 2"));
    let curl = said.lines().find_map(|line| line.split_once("  curl http://"));
    let (host, path) = curl.and_then(|(_, url)| url.split_once('/')).expect("it names a url");
    let mut gateway = Connection::open(host.parse().expect("an address")).expect("it listens");
    let answer = gateway.exchange("GET", &format!("/{path}"), &[], b"").expect("an answer").ok();
    assert_eq!(answer["hello"], "hello from a service that travelled");
    let scaled = skyclaw(&["scale", "hello", "1"]);
    assert!(scaled.starts_with("hello: 1 wanted"), "{scaled}");
    assert_eq!(skyclaw(&["remove", "hello"]), "hello removed\n");
    assert_eq!(skyclaw(&["services"]).lines().count(), 1, "the header alone");
}

/// A node that dies is named, and its log is shown.
#[test]
fn a_dead_node_ends_the_network_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &[]);
    until_up(&mut net);
    let node = format!("{}/host-2/", folder_of_the_network(folder.path()));
    // What it runs has the folder in its environment too.
    let parent = format!(" {} ", net.pid());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name: state, then the parent.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest[2..].starts_with(&parent))
    };
    let found: Vec<u32> = processes_with(&node).into_iter().filter(is_child).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let pid = rustix::process::Pid::from_raw(found[0].cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    let ended = net.wait(CHECK);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("host-2 has ended. Its log ends:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("INFO peer admitted"), "{}", ended.stderr);
    until_nothing_is_left(folder.path());
    assert_eq!(left_in(folder.path()), 0);
}

/// Told no addresses, its nodes find each other. On a machine of its own: elsewhere it would ask
/// everybody on the LAN.
#[test]
fn nodes_that_are_told_nothing_find_each_other_by_mdns() {
    let Some(lan) = Lan::make(1) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::new("gateway").args(&["testnet", "--mdns"]);
    let mut net = setup.under(&lan.on(1).each_ref().map(String::as_str)).spawn(folder.path());
    let said = until_up(&mut net);
    assert!(said.contains("coordinator-2 has it too"), "{said}");
    // What others on the LAN can reach needs a token, which is not printed.
    let file = said.lines().find_map(|line| line.split_once("export SKYCLAW_TOKEN=$(cat "));
    let file = file.and_then(|(_, rest)| rest.strip_suffix(')')).expect("it names the file");
    let token = fs::read_to_string(file).expect("the token is there");
    assert!(token.len() == 32 && !said.contains(&token), "{said}");
}

/// A folder below the test's own one.
fn folder_of_the_network(folder: &Path) -> String {
    let all = fs::read_dir(folder.join("tmp")).expect("it is there").flatten();
    let mut paths = all.map(|entry| entry.path().display().to_string());
    paths.find(|path| path.contains("skyclaw-testnet-")).expect("it has a folder")
}

/// What it said until then.
#[track_caller]
fn until_up(net: &mut Process) -> String {
    skyclaw_tests::within(CHECK, "the network is up", || {
        let said = net.stdout();
        assert!(net.is_running(), "it ended: {said}{}", net.log_tail());
        if said.contains("/v1/state") { Ok(said) } else { Err(said + &net.log_tail()) }
    })
}

/// Killed with its nodes running, it leaves no process.
#[test]
fn a_killed_network_leaves_no_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &[]);
    until_up(&mut net);
    net.kill();
    until_nothing_is_left(folder.path());
}

/// Ctrl-C ends it with 0 and cleans up.
#[test]
fn an_interrupted_network_cleans_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &[]);
    until_up(&mut net);
    net.signal(rustix::process::Signal::INT);
    assert_eq!(net.wait(CHECK).code, Some(0));
    until_nothing_is_left(folder.path());
    assert_eq!(left_in(folder.path()), 0);
}
