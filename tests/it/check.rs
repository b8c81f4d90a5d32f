//! `skyclaw-node check`: of a node that stands still, of one that runs, and of backups made under load.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use skyclaw_tests::{Api, Ended, Node, PATIENCE, Process, Setup, binary, eventually};

use crate::text;

fn database(node: &Node) -> std::path::PathBuf {
    node.cwd().join(".skyclaw/coordinator.db")
}

/// `skyclaw-node ARGS` about the database at `db`.
fn run(db: &Path, port: u16, args: &[&str]) -> Ended {
    let logs = tempfile::tempdir().expect("a folder");
    let env = [
        ("SKYCLAW_DB_PATH".to_owned(), db.as_os_str().to_owned()),
        ("SKYCLAW_COORDINATOR_HOST".to_owned(), "127.0.0.1".into()),
        ("SKYCLAW_COORDINATOR_PORT".to_owned(), port.to_string().into()),
    ];
    Process::start(&binary("skyclaw-node"), args, &env, logs.path(), logs.path()).wait(PATIENCE)
}

#[track_caller]
fn code(ended: &Ended, code: i32) -> &Ended {
    assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
    ended
}

fn jobs(api: &Api) -> Vec<Value> {
    let all = api.get("/v1/jobs").ok()["jobs"].as_array().cloned().unwrap_or_default();
    assert!(all.len() < 10_000);
    all
}

/// Submits jobs and ends them, until told to stop. Returns how many.
fn load(api: &Api, host: &str, stop: &AtomicBool) -> u64 {
    api.register(host, &["shell"], 100);
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        api.submit_shell("true");
        let job = api.claim(host);
        if done % 2 == 0 && !job.is_null() {
            api.complete(text(&job, "id"), host).ok();
        }
        done += 1;
    }
    done
}

#[test]
fn a_backup_of_a_node_under_load_is_whole_and_comes_back_with_its_jobs() {
    let mut node = Setup::coordinator().start();
    let port = node.api.address().port();
    let db = database(&node);
    let folder = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    let saved: Vec<(String, Vec<Value>)> = thread::scope(|scope| {
        let workers: Vec<_> = ["h1", "h2", "h3"]
            .map(|host| (Api::new(node.api.address(), None), host))
            .into_iter()
            .map(|(api, host)| {
                let stop = &stop;
                scope.spawn(move || load(&api, host, stop))
            })
            .collect();
        let mut saved = Vec::new();
        for n in 0..3 {
            let before = eventually("there are more jobs", || {
                let all = jobs(&node.api);
                if all.len() > 20 * (n + 1) { Ok(all) } else { Err(all.len().to_string()) }
            });
            let file = folder.path().join(n.to_string()).to_string_lossy().into_owned();
            code(&run(&db, port, &["backup", &file]), 0);
            saved.push((file, before));
        }
        // It runs, and says what to do about that.
        let busy = run(&db, port, &["check"]);
        let said = &code(&busy, 2).stderr;
        assert!(said.contains("in use") && said.contains("skyclaw-node backup"), "{said}");
        stop.store(true, Ordering::Relaxed);
        assert!(
            workers.into_iter().map(|worker| worker.join().expect("it ends")).sum::<u64>() > 60
        );
        saved
    });
    let after = jobs(&node.api);
    for (n, (file, before)) in saved.iter().enumerate() {
        let clean = run(&db, port, &["check", file]);
        let said = &code(&clean, 0).stdout;
        assert!(said.contains("a backup with ") && said.contains("nothing is wrong"), "{said}");
        let restored = folder.path().join(format!("new{n}/node.db"));
        code(&run(&restored, 0, &["restore", file]), 0);
        let new = Setup::coordinator().env("SKYCLAW_DB_PATH", restored.display()).start();
        let shown = jobs(&new.api);
        for job in before.iter().filter(|job| job["status"] == "completed") {
            // What had ended before stands there as it did.
            assert!(shown.contains(job), "{job}");
        }
        for job in before {
            assert!(shown.iter().any(|held| held["id"] == job["id"]), "{job}");
        }
        for job in &shown {
            assert!(after.iter().any(|known| known["id"] == job["id"]), "{job}");
        }
        drop(new);
        code(&run(&restored, 0, &["check"]), 0);
    }
    // The node itself, once it stands still.
    assert_eq!(node.stop().code, Some(0));
    let bytes = fs::read(&db).expect("it is there");
    let clean = run(&db, port, &["check"]);
    assert!(code(&clean, 0).stdout.contains("its lists were compared"), "{}", clean.stdout);
    let document = run(&db, port, &["check", "--json"]);
    let document: Value = serde_json::from_str(&code(&document, 0).stdout).expect("JSON");
    assert_eq!((&document["ok"], &document["findings"]), (&json!(true), &json!([])));
    assert!(document["records"]["specs-1"].as_u64() > Some(60), "{document}");
    assert!(fs::read(&db).expect("it is there") == bytes, "it was changed");
}

#[test]
fn a_damaged_database_is_named_and_what_to_do_about_it() {
    let mut node = Setup::coordinator().start();
    for n in 0..20 {
        node.api.submit_shell(&format!("echo needle-{n}"));
    }
    let (db, port) = (database(&node), node.api.address().port());
    assert_eq!(node.stop().code, Some(0));
    let mut bytes = fs::read(&db).expect("it is there");
    for at in 0..bytes.len() - 6 {
        if &bytes[at..at + 6] == b"needle" {
            bytes[at] = b'N';
        }
    }
    fs::write(&db, &bytes).expect("it is writable");
    let damaged = run(&db, port, &["check"]);
    let said = &code(&damaged, 1).stderr;
    assert!(said.contains("is damaged") && said.contains("Restore a backup"), "{said}");
    let document = run(&db, port, &["check", "--json"]);
    let document: Value = serde_json::from_str(&code(&document, 1).stdout).expect("JSON");
    assert_eq!((&document["ok"], &document["error"]["type"]), (&json!(false), &json!("damaged")));
    assert!(fs::read(&db).expect("it is there") == bytes, "it was changed");
}

#[test]
fn what_cannot_be_checked_is_told_from_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere.db");
    assert!(code(&run(&nowhere, 0, &["check"]), 2).stderr.contains("nowhere.db cannot be read"));
    let other = folder.path().join("other.db");
    fs::write(&other, "not a database at all, really").expect("it is writable");
    assert!(code(&run(&other, 0, &["check"]), 2).stderr.contains("not a database of this program"));
    let alone = run(&nowhere, 0, &["--role", "host", "check"]);
    assert!(code(&alone, 2).stderr.contains("name the file"), "{}", alone.stderr);
    code(&run(&nowhere, 0, &["--role", "king", "check"]), 2);
    // A word too much is no damage, either.
    code(&run(&nowhere, 0, &["--role", "host", "check", "--jason"]), 2);
    code(&run(&nowhere, 0, &["check", "one.db", "two.db"]), 2);
    code(&run(&nowhere, 0, &["compact", "check"]), 1);
}
