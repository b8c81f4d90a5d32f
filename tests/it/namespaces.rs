//! Machines of their own on one LAN: nodes that know no address, and cables that are cut.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use skyclaw_tests::lan::{FOUND, Lan, Machine, coordinator, host};
use skyclaw_tests::{Api, shell, within};

use crate::{number, text};

/// Longest wait for nodes to be at one again after a cable was out for some seconds: the pauses
/// between their attempts, and the next question of mDNS.
const HEALED: Duration = Duration::from_secs(60);

/// A write that can reach its quorum, and the refusal of one that cannot: the time that is given to
/// a quorum, and as much again for a loaded machine.
const WRITE: Duration = Duration::from_secs(5);

/// The ids and records of all jobs, in order.
fn jobs(machine: &Machine) -> Vec<Value> {
    let listed = machine.get("/v1/jobs?limit=1000");
    let mut jobs = listed["jobs"].as_array().cloned().unwrap_or_default();
    jobs.sort_by_key(|job| text(job, "id").to_owned());
    jobs
}

#[track_caller]
fn until_job(machine: &Machine, id: &str, patience: Duration, status: &str) -> Value {
    within(patience, status, || {
        let job = machine.get(&format!("/v1/jobs/{id}"))["job"].take();
        if job["status"] == *status { Ok(job) } else { Err(job.to_string()) }
    })
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_job_runs_on_a_host_without_http_that_was_found_by_mdns_alone() {
    let Some(lan) = Lan::make(2) else { return };
    let a = lan.start(1, coordinator("a", 1));
    let b = lan.start(2, host("b"));
    let hosts = a.until_hosts(1);
    assert_eq!(text(&hosts[0], "name"), "b");
    // It says on which machine it runs.
    let submit = ["submit", "--wait", "--json", "--", "sh", "-c", "ip -4 -o addr show dev eth0"];
    let (went_well, stdout, stderr) = a.skyclaw(&submit);
    assert!(went_well, "{stdout}{stderr}");
    let answer: Value = serde_json::from_str(&stdout).expect("JSON");
    let job = &answer["job"];
    assert_eq!(job["assignedHostId"], hosts[0]["id"], "{job}");
    assert!(text(&job["result"], "stdout").contains("10.77.0.2/"), "{job}");
    assert!(b.process.stdout().contains(text(job, "id")), "{}", b.process.stdout());
    let (_, shown, _) = a.skyclaw(&["job", text(job, "id")]);
    assert!(shown.contains("completed"), "{shown}");
}

/// Submits a job and follows how long the answer takes; its id, or the text of the 503.
#[track_caller]
fn submit(api: &Api, script: &str) -> Result<String, String> {
    let begun = Instant::now();
    let answer = api.post("/v1/jobs", &shell(script));
    assert!(begun.elapsed() < WRITE, "{:?}: {}", begun.elapsed(), answer.text());
    match answer.status {
        200 => Ok(text(&answer.json()["job"], "id").to_owned()),
        _ => Err(answer.error(503)),
    }
}

#[test]
fn a_coordinator_whose_cable_is_cut_stops_nobody_and_catches_up() {
    let Some(lan) = Lan::make(4) else { return };
    let names = ["a", "b", "c"];
    let nodes: Vec<Machine> =
        (1..).zip(names).map(|(at, name)| lan.start(at, coordinator(name, 2))).collect();
    let host = lan.start(4, host("h").env("SKYCLAW_MAX_PARALLEL", 4));
    for (node, others) in nodes.iter().zip([["b", "c"], ["a", "c"], ["a", "b"]]) {
        node.until_connected(&others);
        node.until_hosts(1);
    }
    let ran = host.path("ran");
    let mut ids = Vec::new();
    let mut take = |at: usize| {
        let script = format!("echo {} >> {}; echo done", ids.len(), ran.display());
        ids.push(nodes[at].here(|api| submit(api, &script)).expect("it is taken"));
    };
    (0..3).for_each(&mut take);
    lan.cut(3);
    let cut = Instant::now();
    // Before the others have noticed and after.
    let mut refused = Vec::new();
    while cut.elapsed() < Duration::from_secs(12) {
        (0..2).for_each(&mut take);
        let refusal = nodes[2].here(|api| submit(api, "echo never")).expect_err("nobody hears it");
        assert!(refusal.contains("replication") || refusal.contains("peers"), "{refusal}");
        refused.push(refusal);
    }
    lan.mend(3);
    let mended = Instant::now();
    let late =
        within(HEALED, "it takes writes again", || nodes[2].here(|api| submit(api, "echo late")));
    println!("{} refusals; a write after {:?}", refused.len(), mended.elapsed());
    for id in &ids {
        let job = until_job(&nodes[0], id, HEALED, "completed");
        // A grant that got lost with the cable counts as an attempt; no run does twice, see below.
        assert!(number(&job, "attempts") <= 2, "{job}");
        assert_eq!(text(&job["result"], "stdout"), "done\n");
    }
    within(HEALED, "all hold the same", || {
        let [a, b, c] = [0, 1, 2].map(|at| jobs(&nodes[at]));
        if a == b && b == c && a.iter().all(|job| job["status"] != "queued") {
            return Ok(());
        }
        let brief = |jobs: &[Value]| {
            let brief = jobs.iter().map(|job| format!("{} {}", job["id"], job["status"]));
            brief.collect::<Vec<_>>().join(", ")
        };
        Err([a, b, c].map(|jobs| brief(&jobs)).join("\n"))
    });
    println!("all hold the same after {:?}", mended.elapsed());
    until_job(&nodes[0], &late, HEALED, "completed");
    let mut said = lines(&ran);
    said.sort_by_key(|line| line.parse::<usize>().ok());
    let once: Vec<String> = (0..ids.len()).map(|n| n.to_string()).collect();
    assert_eq!(said, once, "each ran once");
    let held = jobs(&nodes[2]);
    for job in held.iter().filter(|job| job["payload"]["args"][1] == "echo never") {
        assert_eq!((text(job, "status"), number(job, "attempts")), ("failed", 0), "{job}");
    }
}

/// The lease is 5 s: the host ends its run in that time, and only then does another begin.
#[test]
fn a_host_whose_cable_is_cut_gives_its_job_to_another() {
    let Some(lan) = Lan::make(4) else { return };
    let lease = |name| coordinator(name, 2).env("SKYCLAW_P2P_LEASE_MS", 5000);
    let nodes = [lan.start(1, lease("a")), lan.start(2, lease("b"))];
    let hosts = [lan.start(3, host("h3")), lan.start(4, host("h4"))];
    for (node, other) in nodes.iter().zip(["b", "a"]) {
        node.until_connected(&[other]);
        node.until_hosts(2);
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name);
    // Each host writes to files of its own.
    let script = format!(
        "cd {}; case \"$(ip -4 -o addr show dev eth0)\" in *10.77.0.3/*) me=3;; *) me=4;; esac; \
         echo $$ >> begun.$me; while [ ! -e go ]; do date >> beat.$me; sleep 0.1; done; \
         echo done on $me",
        folder.path().display()
    );
    let id = nodes[0].here(|api| submit(api, &script)).expect("it is taken");
    let (first, second) = within(FOUND, "it runs", || {
        let on = |me: usize| path(&format!("beat.{me}")).exists();
        if on(3) {
            Ok((3, 4))
        } else if on(4) {
            Ok((4, 3))
        } else {
            Err("no host".to_owned())
        }
    });
    let modified = |name: String| fs::metadata(path(&name)).and_then(|file| file.modified()).ok();
    lan.cut(first);
    let cut = SystemTime::now();
    // The lease, its guard of 2 s, and time to spare.
    within(Duration::from_secs(15), "the other runs it", || {
        if path(&format!("beat.{second}")).exists() { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let ended = modified(format!("beat.{first}")).expect("it ran");
    let begun = modified(format!("begun.{second}")).expect("it runs");
    println!(
        "ended after {:?}, begun after {:?}",
        ended.duration_since(cut),
        begun.duration_since(cut)
    );
    let ran_on = ended.duration_since(cut).unwrap_or_default();
    assert!(ran_on < Duration::from_secs(6), "the run ends with its lease: {ran_on:?}");
    assert!(ended < begun, "two ran it at once: {ended:?} {begun:?}");
    lan.mend(first);
    fs::write(path("go"), "").expect("it is writable");
    let job = until_job(&nodes[0], &id, FOUND, "completed");
    assert_eq!(text(&job["result"], "stdout"), format!("done on {second}\n"));
    // A grant for a claim that waited longer than the lease lasts comes back, and counts.
    assert!(number(&job, "attempts") >= 2, "{job}");
    assert_eq!(until_job(&nodes[1], &id, FOUND, "completed"), job);
    // The first one is back and works; what it was granted before stays lost. A job goes to a host
    // whose claim waits where it is submitted, and the two may wait at different coordinators.
    let loser = &hosts[first - 3];
    let mut turns = nodes.iter().cycle();
    within(HEALED, "the host works again", || {
        let node = turns.next().expect("there are two");
        let id = node.here(|api| submit(api, "echo again"))?;
        until_job(node, &id, FOUND, "completed");
        let said = loser.process.stdout();
        if said.contains(&format!("completed {id}")) { Ok(()) } else { Err(said) }
    });
    assert!(!loser.process.stdout().contains(&format!("completed {id}")), "nothing was reported");
    assert_eq!(until_job(&nodes[0], &id, FOUND, "completed"), job, "one result");
    for me in [3, 4] {
        assert_eq!(lines(&path(&format!("begun.{me}"))).len(), 1, "each began it once");
    }
}

/// Red and blue, and those who call themselves red without its token.
#[test]
fn networks_side_by_side_on_one_lan_do_not_mix() {
    let Some(lan) = Lan::make(6) else { return };
    let start = |at: usize, network: &str, token: &str| {
        let setup = coordinator(&format!("n{at}"), 2).env("SKYCLAW_NETWORK", network);
        lan.start_with(at, setup, token)
    };
    let nodes = [
        start(1, "red", "secret"),
        start(2, "red", "secret"),
        start(3, "blue", "secret"),
        start(4, "blue", "secret"),
        start(5, "red", "guessed"),
        start(6, "red", "guessed"),
    ];
    let partner = [1, 0, 3, 2, 5, 4];
    for (at, node) in nodes.iter().enumerate() {
        node.until_connected(&[&format!("n{}", partner[at] + 1)]);
    }
    let mut ids = Vec::new();
    for node in &nodes {
        let submitted = within(HEALED, "it is taken", || node.here(|api| submit(api, "true")));
        ids.push(submitted);
    }
    for (at, node) in nodes.iter().enumerate() {
        let mut both = [at, partner[at]].map(|at| ids[at].as_str());
        both.sort_unstable();
        within(FOUND, "both jobs of the network are there", || {
            let held = jobs(node);
            let held: Vec<&str> = held.iter().map(|job| text(job, "id")).collect();
            if held == both { Ok(()) } else { Err(format!("{held:?}, not {both:?}")) }
        });
    }
    // Each meets all four others, and some of them call it.
    for (at, node) in nodes.iter().enumerate() {
        let reasons: &[&str] = if at == 2 || at == 3 {
            &["another network"]
        } else {
            &["another network", "wrong token"]
        };
        within(FOUND, "the refusals are told", || {
            let (_, stdout, stderr) = node.skyclaw(&["peers"]);
            let said = |why: &&str| stderr.lines().any(|line| line.contains(*why));
            if reasons.iter().all(said) { Ok(()) } else { Err(stdout + &stderr) }
        });
        let network = node.get("/v1/network");
        assert_eq!(network["peers"].as_array().map(Vec::len), Some(1), "{network}");
        let refused = network["refused"].as_array().into_iter().flatten();
        let refused: Vec<&str> = refused.map(|node| text(node, "peerId")).collect();
        let friend = text(&network["peers"][0], "peerId");
        assert!(!refused.contains(&friend), "{network}");
    }
    // Nothing came over meanwhile.
    for node in &nodes {
        assert_eq!(jobs(node).len(), 2);
    }
}
