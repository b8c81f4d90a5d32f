//! The local network of the README.

use std::fs;
use std::path::Path;
use std::time::Duration;

use skyclaw_tests::{Api, Connection, Process, Setup, Shell, eventually, processes_with};

use skyclaw_tests::lan::Lan;

/// Seven nodes, a job and a service: seconds, on a loaded machine more.
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
        "all coordinators know all 3 hosts",
        "it ran on testnet-host-",
        "said: hello from ",
        "coordinator-2 has it too, with its output",
        "coordinator-3 has it too, with its output",
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
    let shell = skyclaw(urls(&said));
    let peers = shell.ok(&["peers"]);
    let line = peers.lines().find(|line| line.contains(" testnet-coordinator-2 "));
    assert!(line.is_some_and(|line| line.contains(" connected ")), "{peers}");
    assert_eq!(shell.ok(&["hosts"]).matches("testnet-host-").count(), 2);
    assert!(shell.ok(&["submit", "--wait", "--", "sh", "-c", "date; echo done"]).contains("done"));
    assert_eq!(shell.ok(&["jobs"]).matches("completed").count(), 2);
    assert!(shell.ok(&["service", "hello"]).contains("running      2 of 2"));
    let curl = said.lines().find_map(|line| line.split_once("  curl http://"));
    let (host, path) = curl.and_then(|(_, url)| url.split_once('/')).expect("it names a url");
    let mut gateway = Connection::open(host.parse().expect("an address")).expect("it listens");
    let answer = gateway.exchange("GET", &format!("/{path}"), &[], b"").expect("an answer").ok();
    assert_eq!(answer["hello"], "hello from a service that travelled");
    let scaled = shell.ok(&["scale", "hello", "1"]);
    assert!(scaled.starts_with("hello: 1 wanted"), "{scaled}");
    assert_eq!(shell.ok(&["remove", "hello"]), "hello removed\n");
    assert_eq!(shell.ok(&["services"]).lines().count(), 1, "the header alone");
}

/// A host that dies is named, and the others go on.
#[test]
fn a_dead_host_is_named_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &[]);
    let said = until_up(&mut net);
    kill(&net, folder.path(), "host-2");
    until_said(&mut net, "host-2 has ended (signal 9); the others go on");
    let output = skyclaw(urls(&said)).ok(&["submit", "--wait", "--", "sh", "-c", "echo still"]);
    assert!(output.contains("still"), "{output}");
    net.signal(rustix::process::Signal::INT);
    assert_eq!(net.wait(CHECK).code, Some(0));
    until_nothing_is_left(folder.path());
    assert_eq!(left_in(folder.path()), 0);
}

/// The coordinator that took a job is killed while it runs: another one leads it, it ends, and the page
/// of another one is there.
#[test]
fn a_dead_coordinator_is_named_and_what_it_led_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &[]);
    let said = until_up(&mut net);
    let urls: Vec<&str> = urls(&said).split(',').collect();
    // It has to outlast the kill, which is looked at below.
    let id = skyclaw(urls[0]).ok(&["submit", "--", "sh", "-c", "sleep 12; echo went on"]);
    let id = id.trim();
    let path = format!("/v1/jobs/{id}");
    let api = |url: &str| {
        let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
        Api::new(address.expect("an address"), None)
    };
    eventually("it runs", || match api(urls[1]).get(&path) {
        answer if answer.status == 200 && answer.json()["job"]["status"] == "leased" => Ok(()),
        answer => Err(answer.text()),
    });
    kill(&net, folder.path(), "coordinator-1");
    until_said(&mut net, "coordinator-1 has ended (signal 9); the others go on");
    until_said(&mut net, &format!("the dashboard is at {}/ now", urls[1]));
    assert!(said.contains(&format!("the dashboard, in a browser, is at {}/", urls[0])), "{said}");
    let job = api(urls[1]).get(&path).ok()["job"].clone();
    assert_eq!(job["status"], "leased", "{job}");
    let ended = skyclaw_tests::within(CHECK, "the job ends", || {
        let job = api(urls[1]).get(&path).ok()["job"].clone();
        if job["status"] == "completed" { Ok(job) } else { Err(job.to_string()) }
    });
    assert_eq!(ended["result"]["stdout"], "went on\n");
    assert_eq!(ended["attempts"], 1, "it was not begun again: {ended}");
    let page = api(urls[2]).send("GET", "/", &[("accept", "text/html")], b"");
    assert!(page.text().contains("<html"), "{}", page.text());
    net.signal(rustix::process::Signal::INT);
    assert_eq!(net.wait(CHECK).code, Some(0));
    until_nothing_is_left(folder.path());
}

/// With the last coordinator it ends, whichever that is, and says how that one did. Where the dashboard is
/// is said anew only when it is elsewhere.
#[test]
fn without_a_coordinator_the_network_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut net = start(folder.path(), &["--nodes", "2"]);
    until_up(&mut net);
    for name in ["coordinator-3", "coordinator-1", "host-1"] {
        kill(&net, folder.path(), name);
        until_said(&mut net, &format!("{name} has ended (signal 9); the others go on"));
    }
    kill(&net, folder.path(), "coordinator-2");
    let ended = net.wait(CHECK);
    assert_eq!(ended.code, Some(1));
    let last = "coordinator-2 has ended, as the last coordinator. Its log ends:";
    assert!(ended.stderr.contains(last), "{}", ended.stderr);
    assert!(ended.stdout.contains("coordinator-2 has ended (signal 9)\n"), "{}", ended.stdout);
    for once in ["the dashboard is at ", "one coordinator alone decides nothing"] {
        assert_eq!(ended.stdout.matches(once).count(), 1, "{once}: {}", ended.stdout);
    }
    until_nothing_is_left(folder.path());
    assert_eq!(left_in(folder.path()), 0);
}

/// Kills a node of the network.
#[track_caller]
fn kill(net: &Process, folder: &Path, name: &str) {
    let node = format!("{}/{name}/", folder_of_the_network(folder));
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
}

#[track_caller]
fn until_said(net: &mut Process, words: &str) {
    eventually("it says so", || {
        let said = net.stdout();
        assert!(net.is_running(), "it ended: {said}");
        if said.contains(words) { Ok(()) } else { Err(said) }
    });
}

/// The urls of its coordinators, as it names them for another terminal.
#[track_caller]
fn urls(said: &str) -> &str {
    let line = said.lines().find_map(|line| line.split_once("export SKYCLAW_COORDINATOR_URLS="));
    line.expect("it names the urls").1
}

/// The other terminal.
fn skyclaw(urls: &str) -> Shell {
    Shell::bare().with("SKYCLAW_COORDINATOR_URLS", urls).patience(CHECK)
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
        if said.contains("# coordinator-1") { Ok(said) } else { Err(said + &net.log_tail()) }
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
