//! Disks that are full, read-only, or hold something else.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use skyclaw_tests::{Need, Node, Setup, can, cluster, eventually, shell};

use crate::text;

const MIB: u64 = 1 << 20;

/// A small disk of its own; unmounted when dropped.
struct Disk {
    at: tempfile::TempDir,
}

impl Disk {
    /// None where the system does not let root mount.
    fn of(bytes: u64) -> Self {
        let at = tempfile::tempdir().expect("a folder");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=0755"), "none"], at.path());
        Self { at }
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    /// Fills it until so many bytes are free; the file that does it.
    fn fill(&self, leave: u64) -> PathBuf {
        let path = (0..).map(|n| self.path().join(format!("filler-{n}"))).find(|it| !it.exists());
        let path = path.expect("there are names enough");
        let mut file = File::create(&path).expect("there is room for a name");
        let block = [1; 4096];
        while free(self.path()) > leave && file.write_all(&block).is_ok() {}
        path
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}")], self.path());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "the disk stays mounted");
    }
}

fn run(program: &str, args: &[&str], at: &Path) {
    let output = Command::new(program).args(args).arg(at).output().expect("it starts");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn free(path: &Path) -> u64 {
    let space = rustix::fs::statvfs(path).expect("a mounted disk");
    space.f_bavail * space.f_frsize
}

#[track_caller]
fn until_ready(node: &Node) {
    eventually("the node is ready", || {
        let answer = node.api.get("/readyz");
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
}

/// The node refuses new work with words that hold `word`, and says so in `/readyz`.
#[track_caller]
fn until_refused(node: &Node, word: &str) {
    eventually("new work is refused", || {
        let answer = node.api.post("/v1/jobs", &shell("true"));
        if answer.status == 503 && answer.text().contains(word) {
            Ok(())
        } else {
            Err(answer.text())
        }
    });
    eventually("the node is not ready", || {
        let answer = node.api.get("/readyz");
        if answer.status == 503 && answer.text().contains(word) {
            Ok(())
        } else {
            Err(answer.text())
        }
    });
}

/// Below the mark new jobs are refused, what is held goes on; room heals it.
#[test]
fn below_the_mark_only_new_work_is_refused() {
    if !can(&[Need::Root, Need::Tool("mount")]) {
        return;
    }
    let disk = Disk::of(64 * MIB);
    let place = disk.path().display().to_string();
    let node = Setup::coordinator()
        .env("SKYCLAW_DB_PATH", disk.path().join("node.db").display())
        .env("SKYCLAW_DB_MIN_FREE_BYTES", 8 * MIB)
        .start();
    node.api.register("h1", &[], 10);
    let jobs: Vec<_> = (0..2).map(|n| node.api.submit_shell(&format!(": {n}"))).collect();
    node.api.claim("h1");
    let filler = disk.fill(6 * MIB);

    until_refused(&node, &place);
    let body = json!({ "name": "s", "command": "sh" });
    assert!(node.api.post("/v1/services", &body).error(503).contains(&place));
    assert_eq!(node.api.get("/v1/state").status, 200);
    assert_eq!(text(&node.api.complete(&jobs[0], "h1").ok()["job"], "status"), "completed");
    assert_eq!(text(&node.api.claim("h1"), "id"), jobs[1]);
    node.api.heartbeat("h1", &json!({ "activeLeases": 1 }));
    node.process.until_logged(&place);

    fs::remove_file(filler).expect("it is there");
    until_ready(&node);
    node.api.submit_shell("true");
}

/// Whoever takes nothing new takes nothing over; once there is room again it does, though nobody asked it for
/// anything meanwhile.
#[test]
fn nodes_whose_disks_have_room_again_take_over_what_a_dead_one_led() {
    if !can(&[Need::Root, Need::Tool("mount")]) {
        return;
    }
    let disks = [0, 1].map(|_| Disk::of(64 * MIB));
    let mut dies = cluster::node("n0", 2).start();
    let stay = [0, 1].map(|n| {
        cluster::node(&format!("n{}", n + 1), 2)
            .env("SKYCLAW_BOOTSTRAP", cluster::address(&dies))
            .env("SKYCLAW_DB_PATH", disks[n].path().join("node.db").display())
            .env("SKYCLAW_DB_MIN_FREE_BYTES", 8 * MIB)
            .start()
    });
    for node in stay.iter().chain([&dies]) {
        cluster::until_peers(node, 2);
    }
    let job = dies.api.submit_shell("true");
    for node in &stay {
        cluster::until_status(node, &job, "queued");
    }
    let fillers = disks.each_ref().map(|disk| disk.fill(6 * MIB));
    eventually("they take nothing new", || match dies.api.post("/v1/jobs", &shell("false")) {
        answer if answer.status == 503 => Ok(()),
        answer => Err(answer.text()),
    });
    for (node, filler) in stay.iter().zip(fillers) {
        fs::remove_file(filler).expect("it is there");
        until_ready(node);
    }
    dies.kill();
    // What was taken before the disks were looked at is led by one of them as well.
    stay[0].api.register("h", &[], 1000);
    eventually("a survivor leads it", || {
        let claimed = stay[0].api.claim("h");
        if claimed["id"] == job.as_str() { Ok(()) } else { Err(claimed.to_string()) }
    });
}

/// A disk without any room: refused with the file's name, reads come back, room heals it, and
/// nothing that was answered is lost.
#[test]
fn a_full_disk_is_survived_without_a_restart() {
    if !can(&[Need::Root, Need::Tool("mount")]) {
        return;
    }
    let disk = Disk::of(48 * MIB);
    let mut node = Setup::coordinator()
        .env("SKYCLAW_DB_PATH", disk.path().join("node.db").display())
        .env("SKYCLAW_DB_MIN_FREE_BYTES", 0)
        .start();
    let mut body = shell("true");
    body["payload"]["note"] = json!("x".repeat(200_000));
    let mut told = vec![text(&node.api.submit(&body), "id").to_owned()];
    let filler = disk.fill(0);
    let refused = eventually("the disk is full", || {
        let answer = node.api.post("/v1/jobs", &body);
        if answer.status == 503 {
            return Ok(answer.text());
        }
        told.push(text(&answer.ok()["job"], "id").to_owned());
        Err(format!("{} jobs were taken", told.len()))
    });
    assert!(refused.contains("node.db"), "{refused}");
    eventually("reads come back", || {
        let answer = node.api.get(&format!("/v1/jobs/{}", told[0]));
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    node.process.until_logged("node.db");
    // Its reserve is spent: whoever asks while the disk is full is told, in both ways.
    let more = disk.fill(0);
    until_refused(&node, "node.db");
    assert!(node.process.is_running());

    for filler in [filler, more] {
        fs::remove_file(filler).expect("it is there");
    }
    eventually("new work is taken", || {
        let answer = node.api.post("/v1/jobs", &body);
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    until_ready(&node);
    for id in &told {
        assert_eq!(text(&node.api.job(id), "status"), "queued");
    }
}

/// A read-only disk at the start: the node runs, says what is wrong, and heals.
#[test]
fn a_node_starts_on_a_read_only_disk_and_heals() {
    if !can(&[Need::Root, Need::Tool("mount")]) {
        return;
    }
    let disk = Disk::of(64 * MIB);
    let mut node = Setup::coordinator()
        .env("SKYCLAW_DB_PATH", disk.path().join("node.db").display())
        .env("SKYCLAW_DB_MIN_FREE_BYTES", MIB)
        .start();
    let id = node.api.submit_shell("true");
    assert_eq!(node.stop().code, Some(0));
    disk.remount("ro");
    node.start_again();
    until_refused(&node, "node.db");
    assert_eq!(node.api.get("/healthz").status, 200);
    node.process.until_logged("node.db");
    assert_eq!(node.api.metric("skyclaw_store_usable"), 0.0);
    disk.remount("rw");
    until_ready(&node);
    assert_eq!(text(&node.api.job(&id), "status"), "queued");
    node.api.submit_shell("true");
}

/// The same with a host inside: it joins once the store can be used.
#[test]
fn a_node_with_a_host_starts_on_a_read_only_disk_and_heals() {
    if !can(&[Need::Root, Need::Tool("mount")]) {
        return;
    }
    let disk = Disk::of(64 * MIB);
    let mut node = Setup::both()
        .env("SKYCLAW_DB_PATH", disk.path().join("node.db").display())
        .env("SKYCLAW_DB_MIN_FREE_BYTES", MIB)
        .start();
    node.api.until_hosts(1);
    assert_eq!(node.stop().code, Some(0));
    disk.remount("ro");
    node.start_again();
    until_refused(&node, "node.db");
    disk.remount("rw");
    until_ready(&node);
    let job = node.api.submit_shell("true");
    node.api.until_job_is(&job, "completed");
}

/// A file made immutable under a running node.
#[test]
fn a_file_that_becomes_read_only_under_the_node_is_told_and_heals() {
    if !can(&[Need::Root, Need::Tool("chattr")]) {
        return;
    }
    let node = Setup::coordinator().start();
    let id = node.api.submit_shell("true");
    let file = node.cwd().join(".skyclaw/coordinator.db");
    let done = Command::new("chattr").arg("+i").arg(&file).output().expect("it starts");
    if !done.status.success() {
        // Not every file system knows the flag; the test above covers the rest.
        return;
    }
    let undo = Undo(&file);
    until_refused(&node, "coordinator.db");
    node.process.until_logged("coordinator.db");
    drop(undo);
    until_ready(&node);
    node.api.submit_shell("true");
    assert_eq!(text(&node.api.job(&id), "status"), "queued");
}

struct Undo<'a>(&'a Path);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        run("chattr", &["-i"], self.0);
    }
}

/// Files that are not ours are named and left as they are, with exit code 1.
#[test]
fn files_of_others_are_refused_and_left_alone() {
    let mut sqlite = b"SQLite format 3\0".to_vec();
    sqlite.resize(8192, 1);
    let cases: [(&[u8], &str); 3] = [
        (&sqlite, "skyclaw import"),
        (b"hello, this is a text\n", "left as it is"),
        (b"", "left as it is"),
    ];
    for (bytes, words) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("old.db");
        fs::write(&path, bytes).expect("it is writable");
        let setup = Setup::coordinator().env("SKYCLAW_DB_PATH", path.display());
        let ended = setup.run(folder.path());
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("old.db") && ended.stderr.contains(words),
            "{}",
            ended.stderr
        );
        assert_eq!(fs::read(&path).expect("it is there"), bytes, "it was changed");
        assert!(!ended.stdout.contains("listening"), "{}", ended.stdout);
    }
}

/// A folder that cannot be made: the node runs degraded and heals once it can.
#[test]
fn a_folder_that_cannot_be_made_is_told_and_heals() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocker = folder.path().join("data");
    fs::write(&blocker, "a file where a folder should be").expect("it is writable");
    let node =
        Setup::coordinator().env("SKYCLAW_DB_PATH", blocker.join("node.db").display()).start();
    until_refused(&node, "node.db");
    fs::remove_file(&blocker).expect("it is there");
    until_ready(&node);
    node.api.submit_shell("true");
}
