//! What a node says at its start, and why it does not start (X3, CONTRACT 7 and 11).

use std::fs;

use skyclaw_tests::Setup;

/// X3: the lines of the original, which scripts wait for.
#[test]
fn the_start_is_told_in_the_original_lines() {
    let node = Setup::coordinator()
        .env("SKYCLAW_COORDINATOR_NODE_ID", "node_x")
        .env("SKYCLAW_MIN_REPLICATIONS", 1)
        .env("SKYCLAW_COORDINATOR_PUBLIC_URL", "HTTP://Me.Example:80/")
        .env("SKYCLAW_PEER_URLS", "http://b:1/, http://me.example, nonsense, http://c:2/x/")
        // These names are nobody's: they are not to be looked up.
        .env("SKYCLAW_P2P", 0)
        .start();
    let said = node.process.stdout();
    let lines: Vec<_> = said.lines().collect();
    let port = node.api.address().port();
    let expected = [
        format!("[skyclaw] coordinator node_x listening on http://127.0.0.1:{port}"),
        "[skyclaw] replication policy: min replicas 1 (0 peer acks required)".into(),
        "[skyclaw] public url: http://me.example".into(),
        "[skyclaw] peers: http://b:1, http://c:2/x".into(),
    ];
    assert_eq!(lines, expected);
}

/// A taken port is told in words, with 1; the database of the second node is not touched.
#[test]
fn a_taken_port_is_told_in_words() {
    let node = Setup::coordinator().start();
    let folder = tempfile::tempdir().expect("a folder");
    let port = node.api.address().port();
    let setup = Setup::coordinator().env("SKYCLAW_COORDINATOR_PORT", port);
    let ended = setup.run(folder.path());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("another program listens there"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&port.to_string()), "{}", ended.stderr);
    assert!(!folder.path().join("cwd/.skyclaw").exists());
}

/// Settings that cannot be meant are told before anything starts.
#[test]
fn settings_that_cannot_be_meant_end_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = Setup::new("coordinater").run(folder.path());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("[skyclaw]") && ended.stderr.contains("SKYCLAW_ROLE"));
    let ended = Setup::coordinator().args(&["--no-such-flag"]).run(folder.path());
    assert_eq!(ended.code, Some(1));
    let ended = Setup::coordinator().args(&["config"]).run(folder.path());
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("SKYCLAW_LEASE_MS"), "{}", ended.stdout);
}

/// CONTRACT 8 9: without any coordinator to go to a gateway and a host end in the original's words.
#[test]
fn a_gateway_and_a_host_without_urls_end_in_the_original_words() {
    for role in ["gateway", "host"] {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = Setup::new(role).env("SKYCLAW_COORDINATOR_URL", "").run(folder.path());
        assert_eq!(ended.code, Some(1));
        let words = format!("[skyclaw] at least one coordinator URL is required for {role}");
        assert!(ended.stderr.contains(&words), "{}", ended.stderr);
    }
}

/// Flags go before variables, these before the file.
#[test]
fn settings_come_from_flags_variables_and_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "lease_ms = 11111\nhost_ttl_ms = 22222\nnetwork = \"from-file\"\n";
    fs::write(folder.path().join("skyclaw.toml"), file).expect("it is writable");
    let ended = Setup::coordinator()
        .cwd(folder.path())
        .env("SKYCLAW_HOST_TTL_MS", 33333)
        .env("SKYCLAW_LEASE_MS", 44444)
        .args(&["config", "--lease-ms", "55555"])
        .run(folder.path());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for (name, value) in [
        ("SKYCLAW_LEASE_MS", "55555"),
        ("SKYCLAW_HOST_TTL_MS", "33333"),
        ("SKYCLAW_NETWORK", "from-file"),
    ] {
        let line = ended.stdout.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(line.contains(value), "{name}: {}", ended.stdout);
    }
}

/// Odd values of the original's variables are used as it read them, and said.
#[test]
fn odd_values_are_read_as_ever_and_said() {
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", "0").start();
    assert!(node.process.log().contains("SKYCLAW_LEASE_MS"), "{}", node.process.log());
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", "700x").start();
    node.api.register("h", &[], 1);
    let id = node.api.submit_shell("true");
    node.api.claim("h");
    node.api.until_job_is(&id, "queued");
}

/// Logs as JSON: one object per line.
#[test]
fn logs_can_be_json() {
    let mut node = Setup::coordinator().env("SKYCLAW_LOG_FORMAT", "json").start();
    node.stop();
    let log = node.process.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|object| object["level"].is_string()), "{line}");
    }
}
