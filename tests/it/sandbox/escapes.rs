//! Every way out, tried as a job of its own at each level that claims to close it.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use serde_json::{Value, json};
use skyclaw_tests::{Need, Node, can, eventually, processes_with};

use super::attempts::{ATTEMPTS, Attempt};
use super::{Who, kept, run, shell_with, stdout, work_root};
use crate::text;

/// A node, a job on it that holds a secret, and what the attempts are to reach.
struct Scene {
    node: Node,
    /// Of the job that holds the secret.
    holder: String,
    file: PathBuf,
    name: String,
    /// A number that only orphans of this scene sleep for.
    orphan: String,
    _listener: UnixListener,
}

impl Scene {
    fn new(level: &str, who: Who) -> Self {
        let mut setup = kept(level, who);
        if who == Who::Root {
            // Whoever starts it leaves it a file of his own, as service managers and shells do.
            setup = setup.under(&["sh", "-c", "exec 7</etc/passwd; exec \"$@\"", "sh"]);
        }
        let node = setup.start();
        node.api.until_hosts(1);
        let holder = node.api.submit_shell("echo secret > secret; sleep 600");
        let file = eventually("the other job has its secret", || {
            let runs = fs::read_dir(work_root(&node)).map_err(|error| error.to_string())?;
            let files = runs.flatten().map(|run| run.path().join("work/secret"));
            let there = |file: &PathBuf| fs::read(file).is_ok_and(|text| text == b"secret\n");
            files.into_iter().find(there).ok_or_else(|| "no secret".to_owned())
        });
        let name = format!("skyclaw-test-{}-{level}-{who:?}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("nobody has that name");
        let number = 900_000 + std::process::id() % 90_000;
        Self { node, holder, file, name, orphan: number.to_string(), _listener: listener }
    }

    fn script(&self, attempt: Attempt) -> String {
        let of = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let known = [
            ("{file}", of(&self.file)),
            ("{db}", of(&self.node.cwd().join(".skyclaw/coordinator.db"))),
            ("{folder}", of(self.node.folder())),
            ("{node}", self.node.process.pid().to_string()),
            ("{port}", self.node.api.address().port().to_string()),
            ("{name}", self.name.clone()),
            ("{orphan}", self.orphan.clone()),
        ];
        let how =
            known.iter().fold(attempt.how.to_owned(), |how, (word, is)| how.replace(word, is));
        format!("exec 2>&1; {how}; echo tried")
    }

    /// What each attempt left, in their order.
    fn all(&self, attempts: &[Attempt]) -> Vec<(&'static str, Value)> {
        let jobs: Vec<_> = attempts
            .iter()
            .map(|attempt| (attempt.what, self.node.api.submit_shell(&self.script(*attempt))))
            .collect();
        jobs.into_iter().map(|(what, job)| (what, self.node.api.until_job_ended(&job))).collect()
    }
}

fn said(job: &Value, word: &str) -> bool {
    stdout(job).lines().any(|line| line.starts_with(word))
}

/// At that level and as that user none of them works, and neither the node nor the other job notices.
fn nothing_escapes(level: &str, who: Who) {
    if !who.can_be() || !can(&[Need::Machine("x86_64"), Need::Tool("perl")]) {
        return;
    }
    let mut scene = Scene::new(level, who);
    let mut open = Vec::new();
    for (what, job) in scene.all(ATTEMPTS) {
        if said(&job, "escaped") || !said(&job, "tried") {
            open.push(format!("{what}: {}", job["result"]));
        }
    }
    assert!(open.is_empty(), "{level} as {who:?}:\n{}", open.join("\n"));
    eventually("no process outlived its job", || {
        let left = processes_with(&scene.orphan);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert!(scene.node.process.is_running(), "the node was ended");
    assert_eq!(text(&scene.node.api.job(&scene.holder), "status"), "leased", "the other job");
    assert_eq!(fs::read(&scene.file).expect("it is there"), b"secret\n");
}

#[test]
fn nothing_escapes_an_isolated_job_of_a_node_that_is_root() {
    nothing_escapes("isolated", Who::Root);
}

#[test]
fn nothing_escapes_an_isolated_job_of_an_ordinary_users_node() {
    nothing_escapes("isolated", Who::Ordinary);
}

#[test]
fn nothing_escapes_a_job_under_landlock_of_a_node_that_is_root() {
    nothing_escapes("landlock", Who::Root);
}

#[test]
fn nothing_escapes_a_job_under_landlock_of_an_ordinary_users_node() {
    nothing_escapes("landlock", Who::Ordinary);
}

/// The attempts are real: without a sandbox those that do no harm work.
#[test]
fn without_a_sandbox_the_same_attempts_escape() {
    if !Who::Root.can_be() || !can(&[Need::Machine("x86_64"), Need::Tool("perl")]) {
        return;
    }
    let scene = Scene::new("none", Who::Root);
    let harmless: Vec<_> = ATTEMPTS.iter().copied().filter(|attempt| attempt.shown).collect();
    assert!(harmless.len() >= 20, "{}", harmless.len());
    let held: Vec<_> =
        scene.all(&harmless).into_iter().filter(|(_, job)| !said(job, "escaped")).collect();
    assert!(held.is_empty(), "{held:?}");
}

/// Links that a job leaves lead nowhere when the host collects what the job made.
#[test]
fn a_link_among_the_outputs_brings_nothing_of_the_host() {
    if !Who::Root.can_be() {
        return;
    }
    let node = kept("isolated", Who::Root).start();
    node.api.until_hosts(1);
    let script = "ln -s /etc/shadow shadow; ln -s / all; mkdir out; echo mine > out/own";
    let job = node.api.submit(&shell_with(script, json!({ "outputs": ["**"] })));
    let job = node.api.until_job_ended(text(&job, "id"));
    let outputs = job["result"]["outputs"].as_array().cloned().unwrap_or_default();
    let paths: Vec<_> = outputs.iter().map(|output| text(output, "path")).collect();
    assert_eq!(paths, ["out/own"], "{job}");
}

/// A process that listens in a run is not there for others.
#[test]
fn a_port_that_a_job_opens_is_open_to_nobody_else() {
    if !Who::Root.can_be() || !can(&[Need::Tool("perl")]) {
        return;
    }
    const PORT: u16 = 24_871;
    let node = kept("isolated", Who::Ordinary).start();
    node.api.until_hosts(1);
    let listen = format!(
        "perl -MSocket -e 'socket S, AF_INET, SOCK_STREAM, 6; bind S, sockaddr_in({PORT}, INADDR_ANY) \
         or die $!; listen S, 5; open F, \">up\"; socket C, AF_INET, SOCK_STREAM, 6; connect C, \
         sockaddr_in({PORT}, inet_aton \"127.0.0.1\") and print \"own\\n\"; sleep 600'"
    );
    let job = node.api.submit_shell(&listen);
    eventually("the job listens", || {
        let runs = fs::read_dir(work_root(&node)).map_err(|error| error.to_string())?;
        let up = runs.flatten().any(|run| run.path().join("work/up").exists());
        if up { Ok(()) } else { Err(node.api.job(&job).to_string()) }
    });
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", PORT)).is_err(),
        "it is reached from outside"
    );
    let other = run(
        &node,
        &format!(
            "perl -MSocket -e 'socket S, AF_INET, SOCK_STREAM, 6; connect S, sockaddr_in({PORT}, \
             inet_aton \"127.0.0.1\") and print \"reached\"'"
        ),
    );
    assert_eq!(stdout(&other), "", "{other}");
}
