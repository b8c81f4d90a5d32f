//! Which level a host reaches, what it says of it, and what still works there.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use skyclaw_tests::{Need, Setup, can, eventually};

use super::{NOBODY, Who, kept, run, shell_with, stdout};
use crate::text;

/// What jobs do every day, at every level and as either user.
#[test]
fn everyday_work_is_done_at_every_level() {
    for who in Who::BOTH {
        if !who.can_be() || !can(&[Need::Tool("gcc"), Need::Tool("npm"), Need::Tool("perl")]) {
            continue;
        }
        for level in ["basic", "landlock", "isolated"] {
            let node = kept(level, who).start();
            node.api.until_hosts(1);
            let works = |script: &str, said: &str| {
                let job = run(&node, script);
                assert_eq!(stdout(&job).trim_end(), said, "{level} as {who:?}: {script}: {job}");
                assert_eq!(text(&job, "status"), "completed", "{level} as {who:?}: {job}");
            };
            works("echo a > f; mkdir d; mv f d/g; cat d/g; rm -r d", "a");
            works("cd $TMPDIR && echo b > f && cat f; cd $HOME && echo c > f && cat f", "b\nc");
            works("echo 'int main(){return 7;}' > a.c && gcc a.c -o a && ./a; echo $?", "7");
            works("perl -e 'print $$ > 0 ? 1 : 0'; echo; echo x | cat; echo y > /dev/null", "1\nx");
            works(
                "node -e 'console.log(require(\"os\").cpus().length > 0, process.memoryUsage().rss > 0)'",
                "true true",
            );
            works("npm --version | grep -c '^[0-9]'", "1");
            works("(sleep 0.1; echo late) & wait; exit 0", "late");
            works("sh -c 'exit 3'; echo $?", "3");
        }
    }
}

#[test]
fn a_host_left_to_itself_takes_the_strongest_level() {
    if !Who::Root.can_be() {
        return;
    }
    for who in Who::BOTH {
        let node = kept("auto", who).start();
        node.api.until_hosts(1);
        let log = node.process.log();
        assert!(log.contains("level=isolated"), "{who:?}: {log}");
        let job = run(&node, "ls /proc | grep -c '^[0-9]'; cat /proc/sys/kernel/hostname");
        let lines: Vec<_> = stdout(&job).lines().collect();
        assert!(
            lines.first().and_then(|line| line.parse::<u32>().ok()).is_some_and(|n| n < 8),
            "{job}"
        );
        assert_eq!(lines.get(1), Some(&"localhost"), "{job}");
    }
}

#[test]
fn a_level_that_cannot_be_had_ends_the_start_with_the_reason() {
    if !can(&[Need::Root, Need::Tool("setpriv")]) {
        return;
    }
    // Runs get users of their own, who cannot enter a folder that is closed.
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let setup = Setup::both().env("SKYCLAW_SANDBOX", "landlock");
    let ended = setup.env("SKYCLAW_WORK_DIR", folder.path().display()).run(folder.path());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("SKYCLAW_SANDBOX=landlock cannot be had here"), "{said}");
    assert!(said.contains("SKYCLAW_WORK_DIR"), "{said}");
}

/// A user for whom the kernel makes no user namespaces, as on machines that restrict them.
#[test]
fn without_user_namespaces_a_host_takes_the_next_level_and_says_why() {
    if !Who::Root.can_be() || !can(&[Need::Tool("unshare")]) {
        return;
    }
    let restricted = |level: &str| {
        let id = NOBODY.to_string();
        let none = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"";
        let within = ["unshare", "--user", "--map-root-user", "sh", "-c", none, "sh"];
        let user = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
        kept(level, Who::Ordinary).under(&[&user[..], &within[..]].concat())
    };
    let node = restricted("auto").start();
    node.api.until_hosts(1);
    let log = node.process.log();
    assert!(log.contains("kept apart as landlock only"), "{log}");
    assert!(log.contains("user namespace") && log.contains("max_user_namespaces is 0"), "{log}");
    let job = run(&node, "head -c 1 /proc/1/environ; ls /root; echo works");
    assert_eq!(stdout(&job), "works\n", "{job}");

    let folder = tempfile::tempdir().expect("a folder");
    let ended = restricted("isolated").run(folder.path());
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(1), "{said}");
    assert!(said.contains("SKYCLAW_SANDBOX=isolated cannot be had here"), "{said}");
    assert!(said.contains("user namespace"), "{said}");
}

#[test]
fn a_job_works_in_its_own_folders_or_not_at_all() {
    if !Who::Root.can_be() {
        return;
    }
    for level in ["landlock", "isolated"] {
        let node = kept(level, Who::Root).start();
        node.api.until_hosts(1);
        for cwd in ["/etc", "/", "/no-such-folder"] {
            let job = node.api.submit(&shell_with("pwd", json!({ "cwd": cwd })));
            let job = node.api.until_job_ended(text(&job, "id"));
            assert_eq!(text(&job, "status"), "failed", "{job}");
            assert!(text(&job, "error").contains("is not open to jobs"), "{job}");
        }
    }
}

/// What a time limit, a cancellation and an end of the node leave of a tree that does not want to end.
#[test]
fn an_isolated_tree_ends_with_its_time_whatever_it_does() {
    for who in Who::BOTH {
        if !who.can_be() {
            continue;
        }
        let mut node = kept("isolated", who).start();
        node.api.until_hosts(1);
        let stubborn =
            "trap '' TERM INT HUP; (trap '' TERM; setsid sleep 848484) & while :; do sleep 1; done";
        let job = node.api.submit(&shell_with(stubborn, json!({ "timeoutMs": 1000 })));
        let job = node.api.until_job_ended(text(&job, "id"));
        assert_eq!(text(&job, "error"), "timed out after 1000ms", "{job}");
        let gone = || {
            eventually("nothing is left", || {
                let left = skyclaw_tests::processes_with("848484");
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
            });
        };
        gone();
        let job = node.api.submit_shell(stubborn);
        node.api.until_job_is(&job, "leased");
        eventually("it runs", || {
            let found = skyclaw_tests::processes_with("848484");
            if found.is_empty() { Err("nothing yet".to_owned()) } else { Ok(()) }
        });
        node.kill();
        gone();
    }
}

/// A service answers its callers and health checks, and begins no connection itself.
#[test]
fn a_service_answers_on_its_port_and_reaches_nothing() {
    const SERVER: &str = "const net = require('net');\
        require('http').createServer((q, a) => {\
          const c = net.connect(Number(q.url.slice(1)) || 1, '127.0.0.1');\
          c.on('connect', () => a.end('reached')); c.on('error', (e) => a.end(e.code)); })\
        .listen(process.env.PORT, process.env.HOST);\
        net.createServer().on('error', () => {}).listen(24899, '127.0.0.1');";
    for (level, who) in
        [("isolated", Who::Root), ("isolated", Who::Ordinary), ("landlock", Who::Ordinary)]
    {
        if !who.can_be() || !can(&[Need::Tool("node")]) {
            continue;
        }
        let node = kept(level, who)
            .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
            .env("SKYCLAW_SERVICE_BASE_PORT", 24_880)
            .env("SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL", "http://127.0.0.1/")
            .env("SKYCLAW_POLL_MS", 100)
            .start();
        node.api.until_hosts(1);
        let body =
            json!({ "serviceId": "s", "name": "s", "command": "node", "args": ["-e", SERVER] });
        node.api.post("/v1/services", &body).ok();
        let endpoint = eventually("the service runs", || {
            let service = node.api.get("/v1/services/s").ok()["service"].clone();
            let part = service["assignments"][0].clone();
            let up = part["status"] == "running";
            up.then(|| text(&part, "endpoint").to_owned()).ok_or_else(|| service.to_string())
        });
        let address = endpoint.strip_prefix("http://").expect("an http url");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let port = node.api.address().port();
        let request = format!("GET /{port} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
        assert!(body.as_deref().is_some_and(|body| body.contains("EACCES")), "{level}: {answer}");
        assert!(
            TcpStream::connect(("127.0.0.1", 24_899)).is_err(),
            "{level}: another port is open"
        );
    }
}
