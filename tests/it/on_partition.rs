//! A service that must not run twice, on machines of their own: its host and one coordinator are cut off together.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use skyclaw_tests::lan::{FOUND, Lan, Machine, coordinator, host};
use skyclaw_tests::{Need, can, within};

/// The silence after which it is placed elsewhere (17 s), what it takes to start there, and a loaded machine.
const PLACED_AGAIN: Duration = Duration::from_secs(60);

/// Its instances answer, and write down that they run, each machine in a file of its own.
const SCRIPT: &str = "case \"$(ip -4 -o addr show dev eth0)\" in *10.77.0.4/*) me=4;; *) me=5;; esac; \
    echo $$ >> \"$1/begun.$me\"; (while :; do date >> \"$1/beat.$me\"; sleep 0.1; done) & \
    exec node -e 'require(\"http\").createServer((q, a) => a.end()).listen(process.env.PORT, process.env.HOST)'";

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// Nothing goes between these machines and the others, neither way.
fn part(lan: &Lan, cut_off: &[usize], machines: usize, apart: bool) {
    let others = || (1..=machines).filter(|at| !cut_off.contains(at));
    for one in cut_off {
        for other in others() {
            for (from, to) in [(*one, other), (other, *one)] {
                if apart { lan.mute(from, to) } else { lan.unmute(from, to) }
            }
        }
    }
}

fn instances(machine: &Machine) -> Vec<Value> {
    let service = machine.get("/v1/services/once")["service"].take();
    service["assignments"].as_array().cloned().unwrap_or_default()
}

#[test]
fn what_must_not_run_twice_has_ended_before_it_runs_elsewhere() {
    const MACHINES: usize = 5;
    if !can(&[Need::Tool("node")]) {
        return;
    }
    let Some(lan) = Lan::make(MACHINES) else { return };
    let names = ["a", "b", "c"];
    let nodes: Vec<Machine> =
        (1..).zip(names).map(|(at, name)| lan.start(at, coordinator(name, 2))).collect();
    let _hosts = [lan.start(4, host("h4")), lan.start(5, host("h5"))];
    for (node, others) in nodes.iter().zip([["b", "c"], ["a", "c"], ["a", "b"]]) {
        node.until_connected(&others);
        within(FOUND, "both hosts are known", || {
            let known = node.get("/v1/hosts")["hosts"].take();
            if known.as_array().map(Vec::len) == Some(2) { Ok(()) } else { Err(known.to_string()) }
        });
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let beat = |me: usize| -> PathBuf { folder.path().join(format!("beat.{me}")) };
    let service = json!({ "serviceId": "once", "name": "once", "command": "sh", "onPartition": "stop",
        "args": ["-c", SCRIPT, "once", folder.path()] });
    nodes[0].here(|api| api.post("/v1/services", &service).ok());
    let (first, second) = within(FOUND, "it runs", || match [4, 5].map(|me| beat(me).exists()) {
        [true, false] => Ok((4, 5)),
        [false, true] => Ok((5, 4)),
        both => Err(format!("{both:?}")),
    });
    within(FOUND, "its coordinators know that it runs", || {
        let seen: Vec<Vec<Value>> = nodes.iter().map(instances).collect();
        let runs = |parts: &Vec<Value>| parts.len() == 1 && parts[0]["status"] == "running";
        if seen.iter().all(runs) { Ok(()) } else { Err(format!("{seen:?}")) }
    });

    // With the first coordinator beside it the host is not alone.
    let cut_off = [1, first];
    part(&lan, &cut_off, MACHINES, true);
    let cut = SystemTime::now();
    within(PLACED_AGAIN, "it runs on the other host", || {
        if beat(second).exists() { Ok(()) } else { Err(format!("{:?}", instances(&nodes[1]))) }
    });
    let begun = modified(&folder.path().join(format!("begun.{second}"))).expect("it runs");
    let ended = modified(&beat(first)).expect("it ran");
    println!(
        "ended after {:?}, begun after {:?}",
        ended.duration_since(cut),
        begun.duration_since(cut)
    );
    assert!(ended < begun, "two ran it at once: {ended:?} {begun:?}");

    // Together again there is one of it, where it is now.
    part(&lan, &cut_off, MACHINES, false);
    within(FOUND, "all say where it runs", || {
        let seen: Vec<Vec<Value>> = nodes.iter().map(instances).collect();
        let same = seen.iter().all(|parts| *parts == seen[1] && parts.len() == 1);
        if same { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    assert_eq!(modified(&beat(first)), Some(ended), "the first one did not go on");
}
