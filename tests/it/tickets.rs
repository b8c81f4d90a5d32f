//! Networks whose members come by tickets: real nodes, and the command line as people type it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{Ended, Node, PATIENCE, Setup, Shell, eventually, within};
use tempfile::TempDir;

use crate::{holds, text};

/// Longest wait for a job on a host that has to be let in first.
const DONE: Duration = Duration::from_secs(60);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

/// `skyclaw` in a folder, as a node there would be started.
fn skyclaw(folder: &Path) -> Shell {
    Shell::bare().with("SKYCLAW_TOKEN", "http-only").cwd(folder)
}

/// A network with its first coordinator.
struct Network {
    first: Node,
    folder: TempDir,
}

impl Network {
    fn new() -> Self {
        let folder = folder();
        let made = skyclaw(folder.path()).json(&["network", "create", "home"]);
        assert_eq!(made["network"], "home");
        let first = coordinator(folder.path()).start();
        Self { first, folder }
    }

    #[track_caller]
    fn cli(&self, args: &[&str]) -> Ended {
        let shell = skyclaw(self.folder.path());
        shell.with("SKYCLAW_COORDINATOR_URL", self.first.url()).run(args)
    }

    /// A ticket as `skyclaw invite` prints it to a program.
    fn ticket(&self, args: &[&str]) -> String {
        let mut all = vec!["invite"];
        all.extend(args);
        let ended = self.cli(&all);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        ended.stdout.trim().to_owned()
    }

    /// A machine that joined, not started.
    fn joined(&self, args: &[&str]) -> TempDir {
        let folder = folder();
        let ticket = self.ticket(args);
        skyclaw(folder.path()).json(&["join", &ticket]);
        folder
    }

    fn members(&self) -> Vec<Value> {
        members(&self.first)
    }
}

fn members(of: &Node) -> Vec<Value> {
    let answer = of.api.get("/v1/network/members").ok();
    answer["members"].as_array().expect("a list").clone()
}

fn coordinator(folder: &Path) -> Setup {
    Setup::coordinator()
        .cwd(folder)
        .env("SKYCLAW_MIN_REPLICATIONS", 1)
        .env("SKYCLAW_TOKEN", "http-only")
}

fn host(folder: &Path, name: &str) -> Setup {
    Setup::new("host")
        .cwd(folder)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh,true")
        .env("SKYCLAW_HOST_NAME", name)
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
        .env("SKYCLAW_STOP_GRACE_MS", 500)
}

fn peer_of(node: &Node) -> String {
    let network = node.api.get("/v1/network").ok();
    text(&network, "peerId").to_owned()
}

/// The id of the member that goes by this name.
#[track_caller]
fn peer_named(node: &Node, name: &str) -> String {
    eventually("it is a member", || {
        let all = members(node);
        let found = all.iter().find(|member| member["label"] == name);
        found.map(|it| text(it, "peerId").to_owned()).ok_or_else(|| format!("{all:?}"))
    })
}

#[test]
fn a_newcomer_joins_by_one_line_and_runs_a_job() {
    let network = Network::new();
    let folder = network.joined(&["--role", "host", "--expires", "7d"]);
    // Nothing but that one line: no address, no token, no role.
    let host = host(folder.path(), "lent").start();
    let id = network.first.api.submit_shell_for(&["shell"], "echo hello");
    let job = network.first.api.until_job_is_within(DONE, &id, "completed");
    assert_eq!(job["result"]["stdout"], "hello\n", "{job}");
    let lent = peer_named(&network.first, "lent");
    let members = network.members();
    let member = members.iter().find(|it| it["peerId"] == *lent).expect("it is listed");
    assert_eq!((&member["roles"], &member["connected"]), (&json!(["host"]), &json!(true)));
    assert_eq!(members.len(), 2);
    // The ticket, a bearer's, is nowhere any more, and was in no log.
    let file =
        fs::read_to_string(folder.path().join(".skyclaw/node.db.network")).expect("it is there");
    assert!(!file.contains("skyclaw1"), "{file}");
    for process in [&host.process, &network.first.process] {
        assert!(!process.log().contains("skyclaw1"), "{}", process.log());
    }
    // It comes back without one.
    let mut host = host;
    host.stop();
    host.start_again();
    let id = network.first.api.submit_shell_for(&["shell"], "echo again");
    network.first.api.until_job_is_within(DONE, &id, "completed");
}

#[test]
fn a_ticket_in_the_environment_is_enough_and_roles_are_those_of_the_ticket() {
    let network = Network::new();
    let ticket = network.ticket(&["--role", "host"]);
    let here = folder();
    let refused = coordinator(here.path()).env("SKYCLAW_TICKET", &ticket);
    let ended = refused.run(here.path());
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("may be host in the network home, not coordinator"),
        "{}",
        ended.stderr
    );
    let _host = host(here.path(), "lent").env("SKYCLAW_TICKET", &ticket).start();
    let id = network.first.api.submit_shell_for(&["shell"], "true");
    network.first.api.until_job_is_within(DONE, &id, "completed");
}

#[test]
fn strangers_and_bad_tickets_stay_out_and_both_sides_say_why() {
    let network = Network::new();
    let first = &network.first;
    let addresses = first.api.get("/v1/network").ok()["addresses"].clone();
    let address = addresses[0].as_str().expect("it listens").to_owned();

    // Of a token network, with the token of this one's API.
    let here = folder();
    let stranger = host(here.path(), "stranger")
        .env("SKYCLAW_TOKEN", "http-only")
        .env("SKYCLAW_BOOTSTRAP", &address)
        .spawn(here.path());
    stranger.until_logged("another network");
    first.process.until_logged("another network");

    // Used up by another.
    let once = network.ticket(&["--role", "host"]);
    let here = [folder(), folder()];
    for folder in &here {
        skyclaw(folder.path()).json(&["join", &once]);
    }
    let _one = host(here[0].path(), "one").start();
    let two = host(here[1].path(), "two").spawn(here[1].path());
    two.until_logged("ticket used up");
    first.process.until_logged("ticket used up");

    // Bound to a node that is another.
    let bound = network.joined(&["--role", "host", "--peer", &peer_of(first)]);
    let bound_host = host(bound.path(), "bound").spawn(bound.path());
    bound_host.until_logged("ticket or capability of another node");
    first.process.until_logged("ticket or capability of another node");

    // Revoked before it was used.
    let wish = json!({ "roles": ["host"], "expiresMs": 60_000 });
    let made = first.api.post("/v1/network/invites", &wish).ok();
    let withdrawn = folder();
    skyclaw(withdrawn.path()).json(&["join", text(&made, "ticket")]);
    assert_eq!(network.cli(&["network", "revoke", text(&made, "serial")]).code, Some(0));
    let withdrawn_host = host(withdrawn.path(), "withdrawn").spawn(withdrawn.path());
    withdrawn_host.until_logged("revoked");
    first.process.until_logged("revoked");

    // Damaged, or over: told before anything is started.
    let here = folder();
    let mut damaged = network.ticket(&["--role", "host"]);
    let last = damaged.pop().expect("it is long");
    damaged.push(if last == 'a' { 'e' } else { 'a' });
    let ended = skyclaw(here.path()).run(&["join", &damaged]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the ticket is damaged"), "{}", ended.stderr);
    let short = network.ticket(&["--role", "host", "--expires", "1s"]);
    let ended = within(PATIENCE, "it is over", || {
        let ended = skyclaw(here.path()).run(&["join", &short]);
        if ended.code == Some(1) { Ok(ended) } else { Err(ended.stderr) }
    });
    assert!(ended.stderr.contains("its time is over"), "{}", ended.stderr);
    // Nobody came in but the one.
    let connected = network.members().iter().filter(|it| it["connected"] == json!(true)).count();
    assert_eq!(connected, 2);
    let refused = first.api.get("/v1/network").ok()["refused"].to_string();
    for why in ["another network", "ticket used up", "another node", "revoked"] {
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

#[test]
fn a_revoked_host_loses_its_job_at_once_to_another_and_stays_out_wherever_it_comes() {
    let network = Network::new();
    let first = &network.first;
    let at_b = network.joined(&["--role", "coordinator"]);
    let mut b = coordinator(at_b.path()).start();
    let at_lent = network.joined(&["--role", "host"]);
    let mut lent = host(at_lent.path(), "lent").start();
    let lent_id = peer_named(first, "lent");
    let marks = folder();
    let mark = marks.path().join("began");
    let script = format!("[ -e {0} ] && exit 0; touch {0}; sleep 120", mark.display());
    let id = first.api.submit_shell_for(&["shell"], &script);
    eventually("it runs", || if mark.exists() { Ok(()) } else { Err("not yet".into()) });
    let at_other = network.joined(&["--role", "host"]);
    let _other = host(at_other.path(), "other").start();
    for node in [first, &b] {
        eventually("both hosts are known", || {
            let hosts = node.api.get("/v1/hosts").ok()["hosts"].as_array().map_or(0, Vec::len);
            if hosts == 2 { Ok(()) } else { Err(hosts.to_string()) }
        });
    }

    // Its lease would last half a minute.
    assert_eq!(network.cli(&["network", "revoke", &lent_id]).code, Some(0));
    for node in [first, &b] {
        within(Duration::from_secs(5), "it is gone", || {
            let hosts = node.api.get("/v1/hosts").ok()["hosts"].clone();
            let names: Vec<&str> =
                hosts.as_array().into_iter().flatten().map(|it| text(it, "name")).collect();
            let peers = node.api.get("/v1/network").ok()["peers"].clone();
            let connected = peers
                .as_array()
                .into_iter()
                .flatten()
                .any(|it| it["peerId"] == *lent_id && it["connected"] == json!(true));
            if names == ["other"] && !connected {
                Ok(())
            } else {
                Err(format!("{names:?} {peers}"))
            }
        });
    }
    let job = within(Duration::from_secs(10), "another host has run it", || {
        let job = first.api.get(&format!("/v1/jobs/{id}")).ok()["job"].clone();
        if job["status"] == "completed" { Ok(job) } else { Err(job.to_string()) }
    });
    assert_eq!((&job["result"]["exitCode"], &job["attempts"]), (&json!(0), &json!(2)), "{job}");

    // It does not come back, here or at a coordinator that was away and knows it from others.
    b.stop();
    lent.kill();
    let _ = lent.wait(PATIENCE);
    b.start_again();
    let logs = folder();
    let back = host(at_lent.path(), "lent").spawn(logs.path());
    back.until_logged("revoked");
    within(PATIENCE, "whom it calls refuses it", || {
        let refused = first.api.get("/v1/network").ok()["refused"].clone();
        let found = refused
            .as_array()
            .into_iter()
            .flatten()
            .any(|it| it["peerId"] == *lent_id && it["why"] == "revoked");
        if found { Ok(()) } else { Err(refused.to_string()) }
    });
    for node in [first, &b] {
        let member = members(node).into_iter().find(|it| it["peerId"] == *lent_id);
        assert!(member.is_some_and(|it| it["revokedAt"].is_string()));
    }
}

/// The token of a coordinator is for callers of its API; members by ticket have another, or none.
#[test]
fn a_newcomer_runs_a_service_whose_environment_only_members_can_read() {
    let mut network = Network::new();
    let folder = network.joined(&["--role", "host"]);
    let lent = host(folder.path(), "lent")
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .env("SKYCLAW_SERVICE_BASE_PORT", 27_140)
        .start();
    peer_named(&network.first, "lent");
    let canary = format!("canary{}", std::process::id());
    let service = json!({
        "serviceId": "a", "name": "a", "command": "sh",
        "args": ["-c", "echo got-$CANARY; exec sleep 600"],
        "env": { "CANARY": canary }, "requiredCapabilities": ["service-host"],
    });
    let made = network.first.api.post("/v1/services", &service).ok();
    assert_eq!(made["service"]["env"], json!({ "CANARY": "***" }));
    within(Duration::from_secs(60), "it was told", || {
        let log = network.cli(&["logs", "a"]).stdout;
        if log.contains(&format!("got-{canary}")) { Ok(()) } else { Err(log) }
    });
    network.first.stop();
    let database = network.folder.path().join(".skyclaw/coordinator.db");
    let bytes = fs::read(database).expect("a database");
    assert!(holds(&bytes, "sealed:1:"), "here it would be");
    assert!(!holds(&bytes, &canary) && !lent.process.log().contains(&canary));
}

#[test]
fn a_coordinator_that_was_down_during_a_revocation_hears_of_it_when_it_is_back() {
    let network = Network::new();
    let first = &network.first;
    let at_b = network.joined(&["--role", "coordinator,issuer"]);
    let mut b = coordinator(at_b.path()).start();
    let at_lent = network.joined(&["--role", "host"]);
    let lent = host(at_lent.path(), "lent").start();
    let lent_id = peer_named(first, "lent");
    eventually("b has met it", || {
        let all = members(&b);
        let met = all.iter().any(|it| it["peerId"] == *lent_id && it["connected"] == json!(true));
        if met { Ok(()) } else { Err(format!("{all:?}")) }
    });
    b.stop();
    assert_eq!(network.cli(&["network", "revoke", &lent_id]).code, Some(0));
    b.start_again();
    within(PATIENCE, "b knows", || {
        let all = members(&b);
        let known = all.iter().any(|it| it["peerId"] == *lent_id && it["revokedAt"].is_string());
        if known { Ok(()) } else { Err(format!("{all:?}")) }
    });
    // The host, which runs on, tries; it is let in nowhere.
    within(Duration::from_secs(60), "it is refused at b", || {
        let network = b.api.get("/v1/network").ok();
        let all = |list: &str| network[list].as_array().cloned().unwrap_or_default();
        let is = |it: &Value| it["peerId"] == *lent_id;
        let refused = all("refused").iter().any(|it| is(it) && it["why"] == "revoked");
        let connected = all("peers").iter().any(|it| is(it) && it["connected"] == json!(true));
        if refused && !connected { Ok(()) } else { Err(network.to_string()) }
    });
    // An issuer beside the first lets others in, and revokes.
    let wish = json!({ "roles": ["host"] });
    let made = b.api.post("/v1/network/invites", &wish).ok();
    let revoked = b.api.post("/v1/network/revocations", &json!({ "serial": made["serial"] })).ok();
    assert_eq!(revoked["revoked"], made["serial"]);
    drop(lent);
}

#[test]
fn the_api_says_what_it_does_not_do() {
    let network = Network::new();
    let api = &network.first.api;
    let invite = |body: Value| api.post("/v1/network/invites", &body);
    assert!(invite(json!({})).error(400).contains("roles"));
    assert!(invite(json!({ "roles": ["root"] })).error(400).contains("`root` is no role"));
    assert!(invite(json!({ "roles": ["host"], "uses": 0 })).error(400).contains("uses"));
    assert!(
        invite(json!({ "roles": ["host"], "expiresMs": 1 })).error(400).contains("a ticket lasts")
    );
    assert!(invite(json!({ "roles": ["host"], "peer": "x" })).error(400).contains("no peer's id"));
    let revoke = |body: Value| api.post("/v1/network/revocations", &body);
    assert!(revoke(json!({})).error(400).contains("required"));
    assert!(revoke(json!({ "peer": "nobody" })).error(400).contains("neither"));
    // A coordinator without the role.
    let at_b = network.joined(&["--role", "coordinator"]);
    let b = coordinator(at_b.path()).start();
    eventually("it is a member", || {
        let refused = b.api.post("/v1/network/invites", &json!({ "roles": ["host"] }));
        if refused.status == 409 { Ok(()) } else { Err(format!("{refused:?}")) }
    });
    // A token network has none of it.
    let token = Setup::coordinator().start();
    let error = token.api.post("/v1/network/invites", &json!({ "roles": ["host"] })).error(409);
    assert!(error.contains("this network has no tickets"), "{error}");
    assert_eq!(token.api.get("/v1/network/members").status, 409);
}

#[test]
fn a_machine_belongs_to_one_network() {
    let here = folder();
    skyclaw(here.path()).json(&["network", "create", "one"]);
    let key = here.path().join(".skyclaw/admin.key");
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&here.path().join(".skyclaw/coordinator.db.network")), 0o600);
    let again = skyclaw(here.path()).run(&["network", "create", "two"]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    let other = Network::new();
    let ticket = other.ticket(&["--role", "host"]);
    let ended = skyclaw(here.path()).run(&["join", &ticket]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("belongs to the network one"), "{}", ended.stderr);
    let ended = coordinator(here.path()).env("SKYCLAW_NETWORK", "two").run(here.path());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("SKYCLAW_NETWORK"), "{}", ended.stderr);
}
