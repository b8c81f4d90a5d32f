//! `skyclaw deploy`: what it asks of a coordinator, in which order, and how it ends.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use skyclaw_node::bundle;

use super::server::{Reply, Server, ok};
use super::{NOBODY, at, check, document, run, text};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        fs::write(folder.path().join("server.js"), "// code\n").expect("written");
        fs::write(folder.path().join("notes"), "x").expect("written");
        fs::write(folder.path().join(".skyclawignore"), "notes\n").expect("written");
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("text")
    }

    fn hash(&self) -> String {
        bundle::pack(self.0.path()).expect("it can be packed").hash.hex()
    }

    fn held(&self) -> Reply {
        ok(json!({ "hash": self.hash(), "bytes": 1, "copies": 1 }))
    }
}

fn nobody() -> Reply {
    Reply::Body(404, r#"{"error":"service not found"}"#.to_owned())
}

fn missing() -> Reply {
    Reply::Body(404, String::new())
}

fn part(epoch: u64, generation: u64, status: &str) -> Value {
    json!({ "hostId": "host_1", "status": status, "updatedAt": "2020-01-01T00:00:00.000Z",
        "slot": 0, "epoch": epoch, "generation": generation, "error": "exit code 1" })
}

fn service(generation: u64, parts: &[Value]) -> Reply {
    ok(json!({ "service": { "id": "api", "name": "api", "replicas": 1, "generation": generation,
        "status": "pending", "assignments": parts } }))
}

fn hosts() -> Reply {
    ok(json!({ "hosts": [{ "id": "host_1", "name": "box" }] }))
}

/// A coordinator that takes the code and the service, then answers as the rest of the script says.
fn taking(folder: &Folder, rest: impl IntoIterator<Item = Reply>) -> Server {
    let mut replies = vec![nobody(), missing(), folder.held(), service(1, &[]), hosts()];
    replies.extend(rest);
    Server::new(replies)
}

fn lines(server: &Server) -> Vec<String> {
    server.requests().into_iter().map(|request| request.line).collect()
}

#[test]
fn the_code_goes_first_then_the_service_then_it_is_waited_for() {
    let folder = Folder::new();
    let gateway = Server::new(vec![
        ok(json!({ "ok": true, "services": [] })),
        ok(json!({ "ok": true, "services": ["api"] })),
    ]);
    let network = ok(json!({ "peers": [{ "gatewayUrl": format!("{}/", gateway.url) }] }));
    let server = taking(
        &folder,
        [
            service(1, &[part(1, 1, "pending")]),
            Reply::Body(503, "{}".to_owned()),
            service(1, &[part(1, 1, "running")]),
            network,
        ],
    );
    let args = ["deploy", folder.path(), "--name", "api", "--", "node", "server.js", "--json"];
    let output = at(&server, &args);
    let url = format!("{}/v1/gateway/api/\n", gateway.url);
    assert_eq!(text(&output.stdout), url, "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    let stderr = text(&output.stderr);
    for said in [
        "packed 2 files, ",
        "left out: notes",
        "uploaded ",
        "api is deployed: generation 1, 1 instance",
        "instance 0 on box is starting",
        "request failed (503): {}; trying again",
        "instance 0 on box runs",
        "api runs (",
    ] {
        assert!(stderr.contains(said), "{said:?} in {stderr}");
    }
    let hash = folder.hash();
    assert_eq!(
        lines(&server)[..6],
        [
            "GET /v1/services/api?details=1".to_owned(),
            format!("HEAD /v1/blobs/{hash}"),
            format!("PUT /v1/blobs?hash={hash}"),
            "POST /v1/services?details=1".to_owned(),
            "GET /v1/hosts".to_owned(),
            "GET /v1/services/api?details=1".to_owned(),
        ]
    );
    let requests = server.requests();
    assert!(requests[2].body.contains("// code"), "the code travels");
    assert_eq!(
        requests[3].json(),
        json!({ "serviceId": "api", "name": "api", "command": "node",
            "args": ["server.js", "--json"], "replicas": 1,
            "requiredCapabilities": ["service-host"], "bundle": hash })
    );
    let asked = gateway.requests();
    assert!(asked.iter().all(|request| request.line == "GET /health"));
}

#[test]
fn all_that_can_be_said_is_sent() {
    let folder = Folder::new();
    let file = folder.0.path().join("variables");
    fs::write(&file, "# of the service\nexport A=1\nB=\"2\"\n").expect("written");
    let server = Server::new(vec![nobody(), missing(), folder.held(), service(1, &[])]);
    let path = file.to_str().expect("text");
    let flags = "--no-wait --name api --replicas 3 --env B=3 --env C= --health /health \
                 --health-interval-ms 200 --backoff-ms 50 --on-partition stop --requires gpu \
                 --capability eu,service-host --cwd app --env-file";
    let mut args = vec!["deploy", folder.path()];
    args.extend(flags.split_whitespace().chain([path, "--", "node"]));
    let output = at(&server, &args);
    check(&output, 0, "api\n", &text(&output.stderr));
    let body = server.requests()[3].json();
    assert_eq!(body["env"].to_string(), r#"{"A":"1","B":"3","C":""}"#);
    assert_eq!(body["health"], json!({ "path": "/health", "intervalMs": 200 }));
    assert_eq!(body["restart"], json!({ "backoffMs": 50 }));
    assert_eq!((&body["onPartition"], &body["cwd"]), (&json!("stop"), &json!("app")));
    assert_eq!(body["requiredCapabilities"], json!(["service-host", "gpu", "eu"]));
    assert_eq!((&body["replicas"], &body["args"]), (&json!(3), &json!([])));
}

/// The number of instances is kept, what the coordinator holds is not sent again, and the folder
/// gives the name.
#[test]
fn deploying_again_changes_what_is_said() {
    let folder = Folder::new();
    let before = ok(json!({ "service": { "id": "x", "replicas": 4, "generation": 1 } }));
    let server = Server::new(vec![before, ok(json!({})), service(2, &[])]);
    let output = at(&server, &["deploy", folder.path(), "--no-wait", "--json", "--", "node"]);
    assert_eq!(document(&output)["service"]["generation"], 2);
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "{:?}", lines(&server));
    let name = Path::new(folder.path()).file_name().expect("a name").to_str().expect("text");
    let body = requests[2].json();
    assert_eq!((&body["replicas"], &body["serviceId"]), (&json!(4), &json!(name)));
}

#[test]
fn a_deployment_that_does_not_run_is_a_failure_with_its_reason() {
    let folder = Folder::new();
    let back = ok(json!({ "service": { "id": "api", "replicas": 1, "generation": 0,
        "reverted": { "generation": 1, "error": "exit code 3", "at": "2020-01-01T00:00:00.000Z" },
        "assignments": [part(1, 0, "running")] } }));
    let failed = |epoch| service(1, &[part(epoch, 1, "failed")]);
    for (script, why) in [
        (vec![back], "api was taken back to the deployment before: exit code 3"),
        (vec![failed(1), failed(2), failed(3)], "api does not start: exit code 1"),
        (vec![service(2, &[])], "api was deployed again meanwhile, as generation 2"),
    ] {
        let server = taking(&folder, script);
        let args = ["deploy", folder.path(), "--name", "api", "--json", "--", "node"];
        let output = at(&server, &args);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let error = json!({ "type": "not_running", "message": why });
        assert_eq!(document(&output), json!({ "ok": false, "error": error }));
        assert!(text(&output.stderr).contains("`skyclaw logs api` shows"));
    }
}

#[test]
fn a_wait_for_a_service_that_runs_out_has_an_exit_code_of_its_own() {
    let folder = Folder::new();
    let server = taking(&folder, [service(1, &[part(1, 1, "pending")])]);
    let args = ["deploy", folder.path(), "--name", "api", "--timeout", "0.3", "--", "node"];
    let output = at(&server, &args);
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("api has 0 of 1 instances after 0.3 s"));
}

#[test]
fn what_is_wrong_on_this_machine_is_told_before_anything_is_changed() {
    let folder = Folder::new();
    let empty = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    fs::write(empty.path().join("secrets"), "A=1\nhunter2\n").expect("written");
    let secrets = empty.path().join("secrets");
    let (path, secrets) = (folder.path(), secrets.to_str().expect("text"));
    for (args, said, kind) in [
        (vec!["/no/such", "--", "node"], "/no/such is no folder", "source"),
        (vec![path, "node"], "", "usage"),
        (vec![path], "", "usage"),
        (vec![path, "--replicas", "0", "--", "node"], "", "usage"),
        (vec![path, "--env", "A", "--", "node"], "", "usage"),
        (vec![path, "--env-file", "/no/such", "--", "x"], "/no/such: ", "source"),
        (vec![path, "--env-file", secrets, "--", "x"], ":2: write it as NAME=VALUE", "source"),
        (vec![path, "--build", "echo no >&2; exit 3", "--", "x"], "the build failed", "source"),
    ] {
        let server = Server::new(vec![nobody()]);
        let output = at(&server, &[&["--json", "deploy"], args.as_slice()].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let error = &document(&output)["error"];
        assert_eq!(error["type"], kind, "{args:?}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(said)), "{error}");
        assert!(!text(&output.stderr).contains("hunter2"), "secrets stay where they are");
        assert!(server.requests().is_empty(), "{args:?}");
    }
    let vars = [("SKYCLAW_COORDINATOR_URL", NOBODY)];
    let output = run(&vars, &["deploy", path, "--", "node"]);
    assert!(text(&output.stderr).contains("skyclaw-node"), "{}", text(&output.stderr));
}

/// What is built is what is packed; what the build says is no part of the result.
#[test]
fn the_build_runs_in_the_folder_first() {
    let folder = Folder::new();
    let server = Server::new(vec![nobody(), ok(json!({})), service(1, &[])]);
    let build = "echo built; mkdir out && cp server.js out/";
    let args = ["deploy", folder.path(), "--name", "api", "--no-wait", "--build", build];
    let output = super::skyclaw(
        &[("SKYCLAW_COORDINATOR_URL", &server.url), ("PATH", "/usr/bin:/bin")],
        &[&args[..], &["--", "node"]].concat(),
    );
    let output = { output }.output().expect("the program starts");
    check(&output, 0, "api\n", &text(&output.stderr));
    assert!(text(&output.stderr).contains("built\n"), "{}", text(&output.stderr));
    assert_eq!(lines(&server)[1], format!("HEAD /v1/blobs/{}", folder.hash()));
}

/// A coordinator that breaks off the upload is passed over, and the next one gets all of it.
#[test]
fn an_upload_goes_to_the_next_coordinator() {
    let folder = Folder::new();
    let broken = Server::new(vec![nobody(), missing(), Reply::HangUp]);
    let good = Server::new(vec![nobody(), folder.held(), service(1, &[])]);
    let urls = format!("{},{}", broken.url, good.url);
    let args = ["deploy", folder.path(), "--name", "api", "--no-wait", "--", "node"];
    let output = run(&[("SKYCLAW_COORDINATOR_URLS", &urls)], &args);
    check(&output, 0, "api\n", &text(&output.stderr));
    assert!(good.requests()[1].body.contains("// code"));
    assert_eq!(good.requests()[2].line, "POST /v1/services?details=1");
}
