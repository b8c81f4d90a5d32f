//! What a job writes, read while it runs and after, from any coordinator: of its own host, of a host over
//! libp2p, and why not of one that talks HTTP only.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_node::net::{Duty, OpenError};
use skyclaw_node::output::OutputHeader;
use skyclaw_protocol::{JobId, codec};
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{Node, Setup, Shell, eventually, resident_kib};

use crate::{cluster, text};

const SOON: Duration = Duration::from_secs(30);

/// Leases that a test can wait for, and longer than it takes to find out that a host cannot be reached.
const LEASE_MS: u64 = 20_000;

/// An open stream of output.
struct Output(BufReader<TcpStream>);

impl Output {
    fn open(node: &Node, target: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(node.api.address()).expect("the API listens");
        stream.set_read_timeout(Some(SOON)).expect("a socket");
        let ask = format!("GET {target} HTTP/1.0\r\nhost: x\r\n{headers}\r\n");
        stream.write_all(ask.as_bytes()).expect("it reads");
        Self(BufReader::new(stream))
    }

    fn follow(node: &Node, id: &str, from: &str) -> Self {
        let target = format!("/v1/jobs/{id}/logs?follow=1{from}");
        Self::open(node, &target, "x-skyclaw-token: secret\r\n")
    }

    /// The next event: its name, its id and its data.
    fn next(&mut self) -> Option<(String, String, Value)> {
        let (mut name, mut id) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("it goes on in time") == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(word) = line.strip_prefix("event: ") {
                word.clone_into(&mut name);
            } else if let Some(word) = line.strip_prefix("id: ") {
                word.clone_into(&mut id);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, id, serde_json::from_str(data).expect("JSON")));
            }
        }
    }

    /// Reads until so much was written to a stream since; its last id.
    #[track_caller]
    fn until(&mut self, stream: &str, want: &str) -> String {
        let mut seen = String::new();
        loop {
            let (name, id, data) = self.next().expect("it goes on");
            if name.is_empty() && data["stream"] == stream {
                seen.push_str(text(&data, "text"));
                assert!(want.starts_with(&seen), "{seen:?} is not the beginning of {want:?}");
                if seen == want {
                    return id;
                }
            }
        }
    }

    /// Reads until so much was written to both since; its last id.
    #[track_caller]
    fn until_both(&mut self, stdout: &str, stderr: &str) -> String {
        let (mut out, mut err) = (String::new(), String::new());
        loop {
            let (name, id, data) = self.next().expect("it goes on");
            if name.is_empty() {
                let seen = if data["stream"] == "stderr" { &mut err } else { &mut out };
                seen.push_str(text(&data, "text"));
                if (out.as_str(), err.as_str()) == (stdout, stderr) {
                    return id;
                }
            }
        }
    }

    /// All of it.
    fn rest(mut self) -> Vec<(String, Value)> {
        let next = || self.next().map(|(name, _, data)| (name, data));
        std::iter::from_fn(next).collect()
    }
}

fn told(events: &[(String, Value)], stream: &str) -> String {
    let of = |(name, data): &&(String, Value)| name.is_empty() && data["stream"] == stream;
    events.iter().filter(of).map(|(_, data)| text(data, "text")).collect()
}

/// A host that has no HTTP API.
fn host(coordinator: &Node) -> Setup {
    Setup::new("host")
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_BOOTSTRAP", cluster::address(coordinator))
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_STOP_GRACE_MS", 500)
}

/// Waits in the middle until that file is there.
fn waits_for(file: &Path) -> String {
    let file = file.display();
    format!("printf 'one\\n'; echo err >&2; until [ -e {file} ]; do sleep 0.02; done; echo two")
}

fn until_leased(node: &Node, id: &str) {
    cluster::until_status(node, id, "leased");
}

#[test]
fn a_running_job_is_read_at_any_coordinator_and_a_reader_that_comes_back_misses_nothing() {
    let nodes = cluster::nodes(2, 2);
    let host = host(&nodes[0]).start();
    let go = host.folder().join("go");
    let id = nodes[0].api.submit_shell(&waits_for(&go));
    until_leased(&nodes[1], &id);
    let (mut all, mut ids): (Vec<Output>, Vec<String>) = (Vec::new(), Vec::new());
    for node in &nodes {
        let mut output = Output::follow(node, &id, "");
        let (name, _, data) = output.next().expect("its run is named");
        assert_eq!((name.as_str(), &data["attempt"]), ("attempt", &json!(1)));
        ids.push(output.until_both("one\n", "err\n"));
        all.push(output);
    }
    // What there is, without what is to come.
    let path = format!("/v1/jobs/{id}/logs");
    let now = Output::open(&nodes[1], &path, "x-skyclaw-token: secret\r\n").rest();
    assert_eq!((told(&now, "stdout"), told(&now, "stderr")), ("one\n".into(), "err\n".into()));
    assert!(now.iter().all(|(name, _)| name != "end"), "{now:?}");
    // One reader hangs up and comes back at the other node, by its last id.
    drop(all.remove(0));
    let last = format!("x-skyclaw-token: secret\r\nlast-event-id: {}\r\n", ids[0]);
    let mut again = Output::open(&nodes[1], &format!("{path}?follow=1"), &last);
    assert_eq!(again.next().expect("its run is named").0, "attempt");
    fs::write(&go, "").expect("it is written");
    let (first, again) = (all.remove(0).rest(), again.rest());
    assert_eq!(told(&first, "stdout"), "two\n");
    assert_eq!(told(&again, "stdout"), "two\n", "nothing comes twice");
    for events in [&first, &again] {
        let end = events.last().expect("it ends");
        assert_eq!((end.0.as_str(), &end.1), ("end", &json!({ "status": "completed" })));
    }
    // After its end it is read from its result, by the same offsets.
    let after = Output::follow(&nodes[0], &id, "&attempt=1&stdout=4&stderr=0").rest();
    assert_eq!((told(&after, "stdout"), told(&after, "stderr")), ("two\n".into(), "err\n".into()));
    assert_eq!(nodes[0].api.get(&path.replace(&id, "job_none")).error(404), "job not found");
}

/// A host that is a part of a coordinator is reached through that, also at another one.
#[test]
fn what_runs_beside_another_coordinator_is_read_here() {
    let first = cluster::node("n0", 1).start();
    let second = Setup::both()
        .env("SKYCLAW_TOKEN", "secret")
        .env("SKYCLAW_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0")
        .env("SKYCLAW_MIN_REPLICATIONS", 2)
        .env("SKYCLAW_BOOTSTRAP", cluster::address(&first))
        .start();
    cluster::until_peers(&first, 1);
    // Whichever of them leads the job.
    for (turn, home) in [&second, &first].into_iter().enumerate() {
        let go = second.folder().join(format!("go{turn}"));
        let id = home.api.submit_shell(&waits_for(&go));
        cluster::until_status(&first, &id, "leased");
        let mut output = Output::follow(&first, &id, "");
        output.until("stdout", "one\n");
        fs::write(&go, "").expect("it is written");
        let rest = output.rest();
        assert_eq!(told(&rest, "stdout"), "two\n");
        assert!(rest.iter().all(|(name, _)| name != "note"), "{rest:?}");
    }
}

/// A job whose first run says `first` and waits until that file is there, then does `ends` and fails, and
/// whose second run does `second`; its id.
fn retried(node: &Node, (mark, go): (&Path, &Path), [first, ends, second]: [&str; 3]) -> String {
    let script = format!(
        "if [ -e {0} ]; then {second}; fi; touch {0}; echo {first}; \
         until [ -e {1} ]; do sleep 0.02; done; {ends}; exit 3",
        mark.display(),
        go.display()
    );
    let payload = json!({ "kind": "shell", "command": "sh", "args": ["-c", script] });
    let job = json!({ "payload": payload, "retry": 1,
                      "requirement": { "requiredCapabilities": ["shell"] } });
    text(&node.api.submit(&job), "id").to_owned()
}

/// What a run wrote last is told, though another one counts a moment later; and the result of a run before
/// is not taken for that of one that left none.
#[test]
fn no_attempt_is_told_as_another() {
    let node = cluster::node("n", 1).start();
    let host = host(&node).start();
    let (go, mark) = (host.folder().join("go"), host.folder().join("mark"));
    let does =
        ["first attempt", "echo 'its last words, a line of some length'", "echo second; sleep 600"];
    let id = retried(&node, (&mark, &go), does);
    let mut output = Output::follow(&node, &id, "");
    output.until("stdout", "first attempt\n");
    fs::write(&go, "").expect("it is written");
    output.until("stdout", "its last words, a line of some length\n");
    output.until("stdout", "second\n");
    node.api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
    let rest = output.rest();
    assert_eq!(told(&rest, "stdout"), "", "{rest:?}");
    let note = rest.iter().find(|(name, _)| name == "note").expect("it is said");
    assert!(text(&note.1, "message").contains("the result is of attempt 1"), "{note:?}");
    let anew = Output::follow(&node, &id, "").rest();
    assert_eq!(anew[0].1["attempt"], 1, "{anew:?}");
    assert!(told(&anew, "stdout").starts_with("first attempt\n"), "{anew:?}");
}

#[test]
fn each_attempt_is_told_from_its_beginning() {
    let node = cluster::node("n", 1).start();
    let host = host(&node).start();
    let (go, mark) = (host.folder().join("go"), host.folder().join("mark"));
    let id = retried(&node, (&mark, &go), ["first", "true", "echo second; exit 0"]);
    let mut output = Output::follow(&node, &id, "");
    output.until("stdout", "first\n");
    fs::write(&go, "").expect("it is written");
    let rest = output.rest();
    assert_eq!(told(&rest, "stdout"), "second\n");
    let second = rest.iter().find(|(name, _)| name == "attempt").expect("it is named");
    assert_eq!(second.1["attempt"], 2);
}

#[test]
fn more_than_is_kept_is_told_as_far_as_it_is_kept_and_holds_up_nobody() {
    let node = cluster::node("n", 1).start();
    let host = host(&node).env("SKYCLAW_MAX_OUTPUT_BYTES", 500_000).start();
    let go = host.folder().join("go");
    let script = format!(
        "head -c 3000000 /dev/zero | tr '\\0' x; until [ -e {} ]; do sleep 0.02; done",
        go.display()
    );
    let id = node.api.submit_shell(&script);
    until_leased(&node, &id);
    // Readers that read nothing hold what fits on their way, and the job goes on.
    let deaf: Vec<Output> = (0..30).map(|_| Output::follow(&node, &id, "")).collect();
    let mut output = Output::follow(&node, &id, "");
    let mut seen = 0;
    loop {
        let (name, _, data) = output.next().expect("it goes on");
        match name.as_str() {
            "" => seen += text(&data, "text").len(),
            "note" if text(&data, "message").contains("no more of stdout is kept") => break,
            _ => {}
        }
    }
    fs::write(&go, "").expect("it is written");
    let rest = output.rest();
    let mark = told(&rest, "stdout");
    assert_eq!((seen + mark.len(), mark.as_str()), (500_000, "\n[output truncated]\n"));
    assert!(resident_kib(node.process.pid()) < 400 << 10);
    drop(deaf);
}

/// Each reader has a place, and a key has few.
#[test]
fn readers_are_bounded_and_a_key_that_is_revoked_reads_no_more() {
    let node = Setup::both().env("SKYCLAW_TOKEN", "secret").start();
    let eye = json!({ "name": "eye", "scopes": ["read"] });
    let made = node.api.post("/v1/principals", &eye).ok();
    let token = format!("x-skyclaw-token: {}\r\n", text(&made, "key"));
    let go = node.folder().join("go");
    let id = node.api.submit_shell(&format!(
        "echo a; until [ -e {} ]; do sleep 0.02; done; echo b",
        go.display()
    ));
    until_leased(&node, &id);
    let path = format!("/v1/jobs/{id}/logs?follow=1");
    let mut held: Vec<Output> = (0..8).map(|_| Output::open(&node, &path, &token)).collect();
    for output in &mut held {
        output.until("stdout", "a\n");
    }
    let mut refused = String::new();
    let mut ninth = Output::open(&node, &path, &token);
    ninth.0.read_to_string(&mut refused).expect("it answers");
    assert!(refused.starts_with("HTTP/1.0 503") && refused.contains("with one key"), "{refused}");
    let principal = text(&made["principal"], "id").to_owned();
    node.api.delete(&format!("/v1/principals/{principal}")).ok();
    fs::write(&go, "").expect("it is written");
    for output in held {
        assert_eq!(told(&output.rest(), "stdout"), "");
    }
    node.api.until_job_ended(&id);
}

#[test]
fn a_node_that_stops_ends_what_is_read_and_waits_for_nobody() {
    let mut node = Setup::coordinator().start();
    let id = node.api.submit_shell("true");
    let mut output = Output::open(&node, &format!("/v1/jobs/{id}/logs?follow=1"), "");
    let (name, _, data) = output.next().expect("it is said that it waits");
    assert_eq!((name.as_str(), text(&data, "message")), ("note", "the job waits for a host"));
    let begun = Instant::now();
    assert_eq!(node.stop().code, Some(0));
    // Less than the grace of two seconds that requests under way have.
    assert!(begun.elapsed() < Duration::from_millis(1900), "{:?}", begun.elapsed());
    output.rest();
}

#[test]
fn what_runs_on_a_host_that_talks_http_only_is_told_when_it_ended() {
    let node = Setup::coordinator().start();
    let host = Setup::host(&[&node.url()]).start();
    let go = host.folder().join("go");
    let id = node.api.submit_shell(&waits_for(&go));
    cluster::until_status(&node, &id, "leased");
    said_to_come_at_its_end(&node, "", &id, &go);
}

/// The same at a coordinator that the host does not talk to.
#[test]
fn a_host_that_talks_http_only_is_known_as_one_at_every_coordinator() {
    let nodes = cluster::nodes(2, 2);
    let host = Setup::host(&[&nodes[0].url()]).env("SKYCLAW_TOKEN", "secret").start();
    // It hears of the host by gossip.
    nodes[1].api.until_hosts(1);
    let go = host.folder().join("go");
    let id = nodes[0].api.submit_shell(&waits_for(&go));
    until_leased(&nodes[1], &id);
    said_to_come_at_its_end(&nodes[1], "x-skyclaw-token: secret\r\n", &id, &go);
}

/// It is the first that a reader is told of the run, not what a wait ends with.
#[track_caller]
fn said_to_come_at_its_end(node: &Node, token: &str, id: &str, go: &Path) {
    let mut output = Output::open(node, &format!("/v1/jobs/{id}/logs?follow=1"), token);
    assert_eq!(output.next().expect("its run is named").0, "attempt");
    let begun = Instant::now();
    let (name, _, data) = output.next().expect("it goes on");
    let said = text(&data, "message");
    assert!(name == "note" && said.ends_with("reports output only when the job ends"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    fs::write(go, "").expect("it is written");
    let rest = output.rest();
    assert_eq!(
        (told(&rest, "stdout"), told(&rest, "stderr")),
        ("one\ntwo\n".into(), "err\n".into())
    );
    assert!(rest.iter().all(|(name, _)| name != "note"), "{rest:?}");
}

/// Whoever follows a job whose host was killed hears in one short sentence what becomes of it, also where the job
/// is not led; and goes on with the next run.
#[test]
fn a_reader_hears_what_becomes_of_a_job_whose_host_was_killed() {
    let nodes: Vec<Node> = {
        let first = cluster::node("n0", 2).env("SKYCLAW_P2P_LEASE_MS", LEASE_MS).start();
        let second = cluster::node("n1", 2).env("SKYCLAW_P2P_LEASE_MS", LEASE_MS);
        let second = second.env("SKYCLAW_BOOTSTRAP", cluster::address(&first)).start();
        cluster::until_peers(&second, 1);
        vec![first, second]
    };
    let mut killed = host(&nodes[0]).env("SKYCLAW_MAX_PARALLEL", 2).start();
    let go = killed.folder().join("go");
    let jobs = [json!({}), json!({ "maxAttempts": 1 })].map(|mut job| {
        job["payload"] =
            json!({ "kind": "shell", "command": "sh", "args": ["-c", waits_for(&go)] });
        job["requirement"] = json!({ "requiredCapabilities": ["shell"] });
        text(&nodes[0].api.submit(&job), "id").to_owned()
    });
    let mut followed = Vec::new();
    for (id, then) in jobs.iter().zip([
        "it waits for another host",
        "it fails if this counts as lost: no attempt may be (maxAttempts 1)",
    ]) {
        for node in &nodes {
            until_leased(node, id);
            let mut output = Output::follow(node, id, "");
            output.until_both("one\n", "err\n");
            followed.push((output, then));
        }
    }
    // They were extended since, which their leader alone has written down.
    for id in &jobs {
        eventually("the lease as it was granted is over", || {
            let job = nodes[1].api.get(&format!("/v1/jobs/{id}")).ok()["job"].clone();
            let ends: jiff::Timestamp = text(&job, "leaseExpiresAt").parse().expect("a time");
            if ends < jiff::Timestamp::now() { Ok(()) } else { Err(job.to_string()) }
        });
    }
    killed.kill();
    for (output, then) in &mut followed {
        let (name, _, data) = output.next().expect("it goes on");
        let told = text(&data, "message");
        assert_eq!(name, "note", "{data}");
        let (host, rest) = told.split_once(" cannot be reached").expect(told);
        assert!(host.starts_with("host ") && told.len() < 180, "{told}");
        // On a busy machine it may take as long as a lease to find that out.
        if rest != format!(", and its lease should be over: {then}") {
            let rest = rest.strip_prefix("; its lease ends within about ").expect(told);
            let (seconds, rest) = rest.split_once(' ').expect(told);
            assert_eq!(rest, format!("s, then {then}"), "{told}");
            let seconds: u64 = seconds.parse().expect(told);
            // With what its leader may not have written down, and the owner's extra wait.
            assert!((1..=LEASE_MS / 1000 + 5).contains(&seconds), "{told}");
        }
    }
    let another = host(&nodes[0]).start();
    fs::write(&go, "").expect("it is written");
    for (output, then) in followed {
        let rest = output.rest();
        let (end, fails) = (&rest.last().expect("it ends").1, then.contains("fails"));
        assert_eq!(end["status"], if fails { "failed" } else { "completed" }, "{rest:?}");
        let again = rest.iter().find(|(name, _)| name == "attempt");
        assert_eq!(again.map(|(_, data)| &data["attempt"]), (!fails).then_some(&json!(2)));
    }
    drop(another);
}

/// Members that are no coordinators are not given what others' jobs write.
#[test]
fn the_output_of_jobs_is_for_coordinators() {
    let node = Setup::both()
        .env("SKYCLAW_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0")
        .env("SKYCLAW_TOKEN", "secret")
        .start();
    let go = node.folder().join("go");
    let id = node.api.submit_shell(&waits_for(&go));
    until_leased(&node, &id);
    let open = |role: &str| {
        let mallory = Mallory::join(role, &[cluster::address(&node)]);
        let to = *mallory.handle.coordinators().borrow().first().expect("she is in");
        let job = JobId::new(id.as_str()).expect("an id");
        let header = OutputHeader { job, attempt: 1, stdout: 0, stderr: 0, follow: true };
        mallory.open(to, Duty::Output, codec::encode(&header)).map(drop)
    };
    for role in ["gateway", "host"] {
        let why = open(role).expect_err("it is refused");
        assert!(
            matches!(&why, OpenError::Refused(why) if why.contains("for coordinators")),
            "{why}"
        );
    }
    fs::write(&go, "").expect("it is written");
    node.api.until_job_ended(&id);
}

/// The program shows it as it comes and ends as the job does.
#[test]
fn the_command_line_follows_a_job_to_its_end() {
    let node = Setup::both().start();
    let go = node.folder().join("go");
    let script = format!("{}; exit 4", waits_for(&go));
    let mut child = std::process::Command::new(skyclaw_tests::binary("skyclaw"))
        .args(["submit", "--follow", "--", "sh", "-c", &script])
        .env("SKYCLAW_COORDINATOR_URL", node.url())
        .env_remove("SKYCLAW_TOKEN")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("it is read"));
    let mut line = String::new();
    out.read_line(&mut line).expect("it comes while the job runs");
    assert_eq!(line, "one\n");
    fs::write(&go, "").expect("it is written");
    let (mut rest, mut said) = (String::new(), String::new());
    out.read_to_string(&mut rest).expect("it ends");
    child.stderr.take().expect("it is read").read_to_string(&mut said).expect("it ends");
    assert_eq!(rest, "two\n");
    assert!(said.contains("submitted") && said.contains("err\n"), "{said}");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let id = eventually("the job is listed", || {
        let jobs = node.api.get("/v1/jobs").ok();
        jobs["jobs"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| jobs.to_string())
    });
    let log = Shell::of(&node).run(&["logs", &id]);
    assert_eq!(log.stdout, "one\ntwo\n");
    assert_eq!(log.code, Some(0), "looking at it is no failure");
}
