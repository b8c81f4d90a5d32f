//! The real OpenClaw and the model, with no Skyclaw between: what the other tests rest on.

use std::fs;

use serde_json::{Value, json};
use skyclaw_tests::{MODEL, Model, Openclaw, Stub, workspace_root};

/// Packages are fetched from wherever npm is set up to fetch them.
#[test]
fn its_lock_file_names_no_registry() {
    let lock = workspace_root().join("tests/openclaw/package-lock.json");
    let text = fs::read_to_string(lock).expect("it is there");
    assert!(!text.contains("://"), "{text}");
    assert!(text.contains("\"integrity\""));
}

/// One turn without tools and one with: what is asked of the model, and what comes out.
#[test]
fn the_real_openclaw_answers_through_the_mock_model() {
    let Some(openclaw) = Openclaw::here() else { return };
    let model = Model::start();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("openclaw.json");
    model.configure(&config, "direct", &json!({}));
    let config = config.display().to_string();
    let turn = |name: &str, message: &str| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        let args = ["agent", "exec", "--json", "--config", &config, "--timeout", "120"];
        let args: Vec<_> = args.into_iter().chain(["--message-file", "-"]).collect();
        let ended = openclaw.run(&folder, &args, &[], message);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let said: Value = serde_json::from_str(&ended.stdout).expect("all of it is JSON");
        (said, folder.join("cwd"))
    };

    let (said, _) = turn("plain", "--hello");
    assert_eq!(said["final"], "pong: --hello", "{said}");
    assert_eq!((&said["ok"], &said["model"]), (&true.into(), &"mock-1".into()), "{said}");
    assert_eq!(model.calls().len(), 1, "a turn without tools asks once");
    assert!(MODEL.ends_with("/mock-1"));

    let (said, cwd) = turn("tool", "TOOL:echo $((6*7)) | tee made.txt");
    assert_eq!(said["final"], "tool said: 42", "{said}");
    assert_eq!(fs::read_to_string(cwd.join("made.txt")).expect("it was made"), "42\n");
    let calls = model.calls_about("TOOL:");
    assert_eq!(calls.len(), 2, "a call of a tool, and what it said");
    assert!(calls[0].tools.iter().any(|tool| tool == "exec"), "{:?}", calls[0].tools);
    assert_eq!(model.open("direct"), (0, 1));
}

/// What the stub of the other tests says is what the real one would: the same members.
#[test]
fn the_stub_answers_in_the_shape_of_the_real_one() {
    let stub = Stub::new();
    let run = |args: &[&str], stdin: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let message = folder.path().join("message");
        fs::write(&message, stdin).expect("it is writable");
        let output = std::process::Command::new(stub.path())
            .args(args)
            .stdin(fs::File::open(&message).expect("it is there"))
            .output()
            .expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = run(&["--version"], "");
    assert_eq!((code, said.trim()), (Some(0), "OpenClaw 2026.9.6 (stub)"));
    assert_eq!(run(&["run"], "").0, Some(1));
    for (message, code, status) in
        [("hi", 0, "ok"), ("TOOLFAIL", 0, "ok"), ("ERROR", 1, "error"), ("TIMEOUT", 2, "timeout")]
    {
        let (ended, said) = run(&["agent", "exec", "--json"], message);
        assert_eq!(ended, Some(code), "{message}");
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["status"], status, "{said}");
        for member in ["ok", "final", "payloads", "usage", "model", "provider", "sessionId"] {
            assert!(said.get(member).is_some(), "{member}: {said}");
        }
    }
    assert_eq!(stub.turns().len(), 4);
    assert!(stub.turns().iter().any(|turn| turn.stdin == "TIMEOUT"));
}
