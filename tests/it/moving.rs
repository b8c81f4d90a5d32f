//! `MOVING.md`, tried as it is written: the commands of its blocks run in their order, and between
//! them happens what the text says. Loopback only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skyclaw_tests::{
    Api, Database, Ended, LegacyHost, LegacyHostConfig, Original, OriginalSetup, PATIENCE, Process,
    binary, eventually, free_port, workspace_root,
};

use crate::text;

/// The chapter of the guide that begins with this heading: the blocks under each of its steps.
fn steps(chapter: &str) -> BTreeMap<String, Vec<String>> {
    let guide = fs::read_to_string(workspace_root().join("MOVING.md")).expect("the guide is there");
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut inside, mut step, mut block) = (false, String::new(), None::<String>);
    for line in guide.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            inside = title == chapter;
        } else if let Some(title) = line.strip_prefix("### ") {
            title.clone_into(&mut step);
        } else if line == "```sh" {
            block = Some(String::new());
        } else if line == "```" {
            if let Some(block) = block.take().filter(|_| inside) {
                steps.entry(step.clone()).or_default().push(block);
            }
        } else if let Some(block) = &mut block {
            block.push_str(line);
            block.push('\n');
        }
    }
    assert!(!steps.is_empty(), "no chapter {chapter}");
    steps
}

/// Commands of a block, each on one line.
fn commands(block: &str) -> Vec<String> {
    block.replace("\\\n", "").lines().map(str::to_owned).collect()
}

/// A machine of the guide: its name, its folder, and where it is here.
struct Machines {
    folder: tempfile::TempDir,
    places: Vec<(&'static str, SocketAddr)>,
}

impl Machines {
    fn new(places: Vec<(&'static str, SocketAddr)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, _) in &places {
            fs::create_dir(folder.path().join(name)).expect("it is writable");
        }
        Self { folder, places }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self, name: &str) -> SocketAddr {
        self.places.iter().find(|(known, _)| *known == name).expect("a machine of the guide").1
    }

    /// Starts a command of the guide on a machine: only addresses are others.
    fn start(&self, machine: &str, command: &str) -> Process {
        let mut command = command.to_owned();
        for (name, place) in &self.places {
            command = command.replace(&format!("{name}.example:8787"), &place.to_string());
        }
        assert!(!command.contains(".example"), "{command}");
        let programs = binary("skyclaw").parent().expect("a folder").to_owned();
        let path = std::env::join_paths([programs, "/usr/bin".into(), "/bin".into()]);
        let place = self.place(machine);
        let vars: [(&str, OsString); 6] = [
            ("PATH", path.expect("a path")),
            ("SKYCLAW_TOKEN", "secret".into()),
            ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1".into()),
            ("SKYCLAW_COORDINATOR_PORT", place.port().to_string().into()),
            ("SKYCLAW_COORDINATOR_URL", format!("http://{place}").into()),
            ("SKYCLAW_P2P_LISTEN", "/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0".into()),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value));
        let logs = tempfile::tempdir_in(self.folder.path()).expect("it is writable").keep();
        // In the shell's place, so that it ends with the test.
        let args = ["-c".to_owned(), format!("exec env {command}")];
        Process::start(Path::new("/bin/sh"), &args, &vars, &self.at(machine), &logs)
    }

    /// Runs a command to its end, which must be a good one.
    #[track_caller]
    fn run(&self, machine: &str, command: &str) -> Ended {
        let ended = self.start(machine, command).wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{command}: {}{}", ended.stdout, ended.stderr);
        ended
    }

    /// Runs all commands of a block.
    #[track_caller]
    fn run_all(&self, machine: &str, block: &str) -> String {
        commands(block).iter().map(|command| self.run(machine, command).stdout).collect()
    }

    /// A client of a machine.
    fn api(&self, name: &str) -> Api {
        Api::new(self.place(name), Some("secret".into()))
    }

    /// What is left of an original that was stopped: its database, and what nobody else heard of.
    fn leave_database(&self, machine: &str, original: &Original, more: &Value) {
        let folder = self.at(machine).join(".skyclaw");
        fs::create_dir(&folder).expect("it is writable");
        let database = Database::open(&folder);
        database.put_state(&original.state());
        database.put_state(more);
    }
}

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A job that ended at an original and was told to nobody.
fn untold(id: &str) -> Value {
    let now = format!("{:.3}", jiff::Timestamp::now());
    json!({ "jobs": [{
        "id": id, "createdAt": now, "updatedAt": now, "updatedBy": "old", "version": 3,
        "status": "completed", "attempts": 1, "requirement": { "requiredCapabilities": ["shell"] },
        "payload": { "kind": "shell", "command": "true" }, "assignedHostId": "daemon",
        "result": { "finishedAt": now, "durationMs": 1, "exitCode": 0, "stdout": "", "stderr": "" },
    }]})
}

#[track_caller]
fn until_up(api: &Api) {
    eventually("it listens", || match api.try_send("GET", "/readyz", &[], b"") {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(answer.text()),
        Err(error) => Err(error.to_string()),
    });
}

fn daemon(coordinators: &[Api]) -> LegacyHost {
    let id = "daemon".to_owned();
    LegacyHost::start_at(coordinators, LegacyHostConfig { id, ..LegacyHostConfig::default() })
}

/// Two originals that know each other.
fn pair(setup: impl Fn(&'static str) -> OriginalSetup) -> (Original, Original) {
    let first = setup("old-a").start();
    let second = setup("old-b").peer(&first.url()).start();
    first.api().post("/v1/network/join", &json!({ "url": second.url() })).ok();
    (first, second)
}

#[test]
fn a_cluster_is_replaced_as_the_guide_says() {
    let steps = steps("Replacing a cluster");
    let step =
        |title: &str| steps.get(title).unwrap_or_else(|| panic!("no step {title}")).as_slice();
    let old = |name| OriginalSetup::new(name).token("secret").public().min_replications(2);
    let (old_a, old_b) = pair(old);
    let machines = Machines::new(vec![
        ("old-a", old_a.api().address()),
        ("old-b", old_b.api().address()),
        ("new-a", free()),
        ("new-b", free()),
    ]);
    let (new_a, new_b) = (machines.api("new-a"), machines.api("new-b"));
    let first = daemon(&[old_a.api(), old_b.api()]);
    let mut jobs = vec![old_a.api().submit_shell_for(&["shell"], "true")];
    old_a.until_job_is(&jobs[0], "completed");
    let api = json!({ "serviceId": "api", "name": "api", "command": "node" });
    old_a.api().post("/v1/services", &api).ok();

    let blocks = step("1. Start ours beside the originals");
    let _nodes: Vec<Process> = ["new-a", "new-b"]
        .into_iter()
        .zip(blocks)
        .map(|(machine, block)| {
            let node = machines.start(machine, &commands(block)[0]);
            until_up(&machines.api(machine));
            node
        })
        .collect();

    let block = &step("2. See that they meet")[0];
    eventually("everybody meets", || {
        let shown = machines.run_all("new-a", block);
        let lines = |(name, state): (&str, &str)| {
            let has =
                |line: &&str| [name, state].iter().all(|word| line.contains(&format!(" {word} ")));
            shown.lines().filter(has).count()
        };
        let wanted = [("old-a", "bridged"), ("old-b", "bridged"), ("new-a", "connected")];
        let seen = wanted.map(lines);
        if seen == [2, 2, 1] { Ok(()) } else { Err(format!("{seen:?}: {shown}")) }
    });
    assert_eq!(text(&new_b.job(&jobs[0]), "status"), "completed");

    let block = &step("3. Move clients, gateways and hosts, one at a time")[0];
    jobs.push(machines.run_all("new-a", block).trim().to_owned());
    eventually("the daemon is idle", || {
        let daemon = old_a.record("hosts", "daemon");
        if daemon["activeLeases"].as_f64() == Some(0.0) { Ok(()) } else { Err(daemon.to_string()) }
    });
    drop(first);
    let second = daemon(&[new_a.clone(), new_b.clone(), old_a.api(), old_b.api()]);
    new_a.until_job_is(&jobs[1], "completed");
    // Somebody has not heard of the move.
    jobs.push(old_a.api().submit_shell_for(&["shell"], ": late"));

    machines.run_all("old-a", &step("4. Stop an original")[0]);
    old_a.stop();
    machines.leave_database("old-a", &old_a, &untold("job_of_a"));
    machines.run_all("old-a", &step("5. Take over what only its file knows")[0]);
    new_b.until_job_is("job_of_a", "completed");
    machines.run_all("new-a", &step("6. Forget it")[0]);
    // Of two originals one is left, so that what goes there has a copy at ours.
    jobs.push(new_a.submit_shell_for(&["shell"], ": between"));

    old_b.stop();
    machines.leave_database("old-b", &old_b, &untold("job_of_b"));
    machines.run_all("old-b", &step("7. The same with the last one")[0]);
    jobs.push(new_b.submit_shell_for(&["shell"], ": after"));
    jobs.extend(["job_of_a".to_owned(), "job_of_b".to_owned()]);
    for id in &jobs {
        new_a.until_job_is(id, "completed");
        new_b.until_job_is(id, "completed");
    }
    let ran = second.ran();
    assert!(
        jobs[1..5].iter().all(|id| ran.iter().filter(|ran| *ran == id).count() == 1),
        "{ran:?}"
    );
    eventually("the service is ours", || {
        let answer = new_b.get("/v1/services/api");
        let by = answer.json()["service"]["updatedBy"].clone();
        let ours = by.as_str().is_some_and(|by| by.starts_with("new-"));
        if ours { Ok(()) } else { Err(answer.text()) }
    });
    let shown = machines.run_all("new-b", &step("8. See that all is there")[0]);
    for id in jobs.iter().map(String::as_str).chain(["api", "daemon"]) {
        assert!(shown.contains(id), "{id} is not in {shown}");
    }
}

#[test]
fn a_single_original_is_replaced_as_the_guide_says() {
    let steps = steps("A single original");
    let blocks = steps.values().next().expect("a chapter with blocks");
    let original = OriginalSetup::new("old").token("secret").start();
    let waits = original.api().submit_shell_for(&["shell"], "true");
    original.api().register("daemon", &["openclaw"], 1);
    let address = original.api().address();
    original.stop();
    let machines = Machines::new(vec![("old", address)]);
    machines.leave_database("old", &original, &untold("job_old"));
    let _node = machines.start("old", &commands(&blocks[0])[0]);
    let api = machines.api("old");
    until_up(&api);
    let told = machines.run_all("old", &blocks[1]);
    assert!(told.contains("TAKEN"), "{told}");
    assert_eq!(text(&api.job(&waits), "status"), "queued");
    assert_eq!(text(&api.job("job_old"), "status"), "completed");
    // A daemon goes on under the id that it had.
    assert_eq!(api.post("/v1/hosts/daemon/claim", &json!({})).ok()["job"], Value::Null);
}

/// The chapter "Going back".
#[test]
fn ours_leave_again_and_the_originals_have_what_was_done_meanwhile() {
    let steps = steps("Replacing a cluster");
    let start = &steps["1. Start ours beside the originals"][0];
    let old = |name| OriginalSetup::new(name).token("secret").public();
    let (old_a, old_b) = pair(old);
    let machines = Machines::new(vec![
        ("old-a", old_a.api().address()),
        ("old-b", old_b.api().address()),
        ("new-a", free()),
    ]);
    let node = machines.start("new-a", &commands(start)[0]);
    let new_a = machines.api("new-a");
    until_up(&new_a);
    eventually("both are bridged", || {
        let shown = machines.run("new-a", "skyclaw peers").stdout;
        let bridged = shown.lines().filter(|line| line.contains(" bridged ")).count();
        if bridged == 2 { Ok(()) } else { Err(shown) }
    });
    let mut jobs = vec![new_a.submit_shell_for(&["shell"], ": waits")];
    // Clients have moved back, the last host has not.
    jobs.push(old_a.api().submit_shell_for(&["shell"], ": at an original"));
    let last = daemon(&[new_a.clone(), old_a.api(), old_b.api()]);
    eventually("ours runs nothing any more", || {
        let left: String = ["queued", "leased"]
            .map(|status| machines.run("new-a", &format!("skyclaw jobs --status {status}")).stdout)
            .concat();
        if jobs.iter().any(|id| left.contains(id)) { Err(left) } else { Ok(()) }
    });
    eventually("the originals have their results", || {
        let held: String = [&old_a, &old_b]
            .map(|original| {
                let url = original.url();
                let look = format!("skyclaw jobs --status leased --coordinator-url {url}");
                machines.run("new-a", &look).stdout
            })
            .concat();
        if held.contains("skyclaw-") { Err(held) } else { Ok(()) }
    });
    let mut ran = last.ran();
    drop(last);
    let moved = daemon(&[old_a.api(), old_b.api()]);
    drop(node);
    for original in [&old_a, &old_b] {
        for id in &jobs {
            original.until_job_is(id, "completed");
        }
    }
    jobs.push(old_b.api().submit_shell_for(&["shell"], ": afterwards"));
    old_b.until_job_is(&jobs[2], "completed");
    ran.extend(moved.ran());
    let once = |id: &String| ran.iter().filter(|ran| *ran == id).count() == 1;
    assert!(jobs.iter().all(once), "{ran:?}");
}
