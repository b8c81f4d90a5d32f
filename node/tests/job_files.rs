//! Files that jobs take in and leave behind, with real processes and real blobs.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use serde_json::{Value, json};
use skyclaw_node::blobs::{Blobs, Held, Settings, Source, Sources};
use skyclaw_node::bundle;
use skyclaw_node::supervisor::{Order, Outcome, StopReason, Supervisor, SupervisorConfig};
use skyclaw_protocol::{Hash, JobId};

struct Bench {
    supervisor: Supervisor,
    blobs: Blobs,
    base: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(Settings::new(base.path().join("blobs"), 0)).unwrap();
        let config = SupervisorConfig {
            shim: Some(env!("CARGO_BIN_EXE_skyclaw-node").into()),
            allowed: vec!["sh".into()],
            work_root: Some(base.path().join("work")),
            environment: vec![("PATH".into(), std::env::var("PATH").unwrap())],
            blobs: Some(blobs.clone()),
            ..SupervisorConfig::default()
        };
        Self { supervisor: Supervisor::new(config).unwrap(), blobs, base }
    }

    async fn put(&self, bytes: Vec<u8>) -> Hash {
        let held = self.blobs.put(None, stream::iter([Ok(Bytes::from(bytes))])).await.unwrap();
        held.outline.hash()
    }

    async fn bundle(&self, files: &[(&str, &str)]) -> Hash {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let packed = bundle::pack(dir.path()).unwrap();
        let text = std::io::read_to_string(packed.open().unwrap()).unwrap();
        assert_eq!(self.put(text.into_bytes()).await, packed.hash);
        packed.hash
    }

    async fn run(&self, script: &str, inputs: Value, outputs: Value) -> Outcome {
        let payload = json!({
            "kind": "shell", "command": "sh", "args": ["-c", script],
            "inputs": inputs, "outputs": outputs,
        });
        let order = Order { job: JobId::new("job_test").unwrap(), attempt: 1, payload };
        self.supervisor.start(order).outcome().await.unwrap()
    }

    fn content(&self, hash: Hash) -> String {
        fs::read_to_string(self.blobs.held(hash).unwrap().path).unwrap()
    }
}

#[tokio::test]
async fn inputs_lie_in_the_directory_and_outputs_become_blobs() {
    let bench = Bench::new();
    let code = bench
        .bundle(&[("run.sh", "cat data/in.txt name > out.txt; mkdir -p d; echo y > d/y")])
        .await;
    let data = bench.put(b"data\n".to_vec()).await;
    let name = bench.put(b"name\n".to_vec()).await;
    let inputs = json!([
        { "hash": code.hex(), "unpack": true },
        { "hash": data.hex(), "path": "data/in.txt" },
        { "hash": name.hex(), "path": "name" },
    ]);
    let done = bench.run("sh run.sh; echo z > not-kept", inputs, json!(["out.txt", "d/**"])).await;
    assert!(done.success, "{done:?}");
    let kept: Vec<_> = done.outputs.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(kept, ["d/y", "out.txt"]);
    assert_eq!(bench.content(done.outputs[1].hash), "data\nname\n");
    assert_eq!(done.outputs[1].bytes, 10);
    assert_eq!(bench.content(data), "data\n");
}

/// What a job does to its inputs is its own affair.
#[tokio::test]
async fn inputs_are_copies() {
    let bench = Bench::new();
    let data = bench.put(b"data".to_vec()).await;
    let inputs = json!([{ "hash": data.hex(), "path": "f" }]);
    let done = bench.run("echo other > f", inputs, json!(null)).await;
    assert!(done.success, "{done:?}");
    assert_eq!(bench.content(data), "data");
    assert!(bench.blobs.checked(data).await.unwrap().is_some());
}

#[tokio::test]
async fn inputs_that_cannot_be_had_or_placed_fail_the_job_with_the_reason() {
    let bench = Bench::new();
    let missing = Hash([7; 32]).hex();
    let done = bench.run("true", json!([{ "hash": missing }]), json!([])).await;
    let error = done.error.unwrap();
    assert!(!done.success && error.contains(&missing) && error.contains("no node"), "{error}");

    let data = bench.put(b"data".to_vec()).await.hex();
    for (inputs, reason) in [
        (json!([{ "hash": data, "path": "../out" }]), "leads out"),
        (json!([{ "hash": data, "path": "/out" }]), "absolute"),
        (json!([{ "hash": data, "unpack": true }]), "no whole tar"),
        (json!([{ "hash": data, "path": "a" }, { "hash": data, "path": "a" }]), "already"),
        (json!([{ "hash": "x" }]), "64 hexadecimal"),
        (json!("x"), "must be an array"),
    ] {
        let done = bench.run("true", inputs.clone(), json!(null)).await;
        let error = done.error.unwrap();
        assert!(!done.success && error.contains(reason), "{inputs}: {error}");
    }
    assert!(!bench.base.path().join("work/out").exists() && !Path::new("/out").exists());
}

/// Not a fault of this host, for which the job would be tried on one host after another.
#[tokio::test]
async fn inputs_that_get_in_each_others_way_fail_the_job_with_the_path() {
    let bench = Bench::new();
    let file = bench.put(b"data".to_vec()).await.hex();
    let code = bench.bundle(&[("f", "text")]).await.hex();
    let (long, longest) = ("x".repeat(256), "x".repeat(255));
    for (inputs, reason) in [
        (
            json!([{ "hash": file }, { "hash": code, "unpack": true }]),
            "something lies at . already",
        ),
        (
            json!([{ "hash": code, "unpack": true }, { "hash": code, "unpack": true }]),
            "something lies at . already",
        ),
        (
            json!([{ "hash": file, "path": "d/x" }, { "hash": code, "path": "d", "unpack": true }]),
            "something lies at d already",
        ),
        (
            json!([{ "hash": file, "path": "d" }, { "hash": code, "path": "d", "unpack": true }]),
            "something lies at d already",
        ),
        (
            json!([{ "hash": file, "path": "d" }, { "hash": code, "path": "d/e", "unpack": true }]),
            "exists",
        ),
        (
            json!([{ "hash": code, "unpack": true }, { "hash": file, "path": "f" }]),
            "something lies at f already",
        ),
        (json!([{ "hash": file, "path": long }]), "a name that is too long"),
        (json!([{ "hash": code, "path": long, "unpack": true }]), "a name that is too long"),
    ] {
        let done = bench.run("true", inputs.clone(), json!(null)).await;
        let error = done.error.unwrap();
        assert!(!done.success && error.contains(reason), "{inputs}: {error}");
    }
    let inputs = json!([{ "hash": code, "path": longest, "unpack": true }]);
    let done = bench.run("cat x*/f", inputs, json!(null)).await;
    assert_eq!((done.success, done.stdout.as_str()), (true, "text"), "{done:?}");
}

#[tokio::test]
async fn only_files_of_the_directory_are_kept() {
    let bench = Bench::new();
    fs::write(bench.base.path().join("secret"), "secret").unwrap();
    let secret = bench.base.path().join("secret").display().to_string();
    let script =
        format!("ln -s {secret} link; ln -s {} dir; echo x > x", bench.base.path().display());
    let outputs = json!(["**", "../**", "/**", "!x", "dir/secret"]);
    let done = bench.run(&script, json!([]), outputs).await;
    assert!(done.success, "{done:?}");
    let kept: Vec<_> = done.outputs.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(kept, ["x"]);
    assert!(!bench.blobs.has(Hash::of(b"secret")));
}

#[tokio::test]
async fn too_many_outputs_fail_the_job() {
    let bench = Bench::new();
    let script = "i=0; while [ $i -lt 65 ]; do : > f$i; i=$((i+1)); done";
    let done = bench.run(script, json!([]), json!(["f*"])).await;
    assert!(!done.success && done.error.unwrap().contains("more than 64 files"));
    // Of a job that failed nothing is kept.
    let done = bench.run("echo x > x; exit 3", json!([]), json!(["x"])).await;
    assert_eq!((done.exit_code, done.outputs.len(), done.error), (3, 0, None));
}

#[tokio::test]
async fn a_job_with_a_directory_of_its_choice_has_no_files() {
    let bench = Bench::new();
    let payload = json!({ "kind": "shell", "command": "sh", "cwd": "/tmp", "outputs": ["*"] });
    let order = Order { job: JobId::new("job_test").unwrap(), attempt: 1, payload };
    let done = bench.supervisor.start(order).outcome().await.unwrap();
    assert!(done.error.unwrap().contains("leave out cwd"));
}

/// Cancelled while its inputs are on their way, it ends at once.
#[tokio::test]
async fn a_job_that_waits_for_its_inputs_can_be_cancelled() {
    struct Never;
    impl Sources for Never {
        fn find(&self, _: Hash, _: bool) -> BoxFuture<'_, Vec<Arc<dyn Source>>> {
            std::future::pending().boxed()
        }
    }
    let bench = Bench::new();
    bench.blobs.set_sources(Arc::new(Never));
    let payload = json!({
        "kind": "shell", "command": "sh", "inputs": [{ "hash": Hash([7; 32]).hex() }],
    });
    let order = Order { job: JobId::new("job_test").unwrap(), attempt: 1, payload };
    let run = bench.supervisor.start(order);
    run.canceller().cancel(StopReason::Cancelled);
    let done = tokio::time::timeout(Duration::from_secs(5), run.outcome()).await.unwrap().unwrap();
    assert_eq!(done.error.unwrap(), "cancelled: job terminated");
}

/// Where outputs are to be brought, nobody takes them.
#[derive(Default)]
struct Deaf(tokio::sync::Notify);

impl Sources for Deaf {
    fn find(&self, _: Hash, _: bool) -> BoxFuture<'_, Vec<Arc<dyn Source>>> {
        std::future::ready(Vec::new()).boxed()
    }

    fn share<'a>(&'a self, _: &'a Blobs, _: &'a Held) -> BoxFuture<'a, Result<(), String>> {
        self.0.notify_one();
        std::future::pending().boxed()
    }
}

/// Cancelled, or stopped with its host, while its outputs are on their way, it ends at once.
#[tokio::test]
async fn a_job_whose_outputs_nobody_takes_can_be_cancelled_and_holds_up_no_stop() {
    let bench = Bench::new();
    let deaf = Arc::new(Deaf::default());
    bench.blobs.set_sources(Arc::clone(&deaf) as Arc<dyn Sources>);
    let payload = json!({
        "kind": "shell", "command": "sh", "args": ["-c", "echo x > x"], "outputs": ["x"],
    });
    let order = Order { job: JobId::new("job_test").unwrap(), attempt: 1, payload };
    let in_time = Duration::from_secs(5);

    let run = bench.supervisor.start(order.clone());
    deaf.0.notified().await;
    run.canceller().cancel(StopReason::Cancelled);
    let done = tokio::time::timeout(in_time, run.outcome()).await.unwrap().unwrap();
    assert_eq!((done.success, done.outputs.len()), (false, 0));
    assert_eq!(done.error.unwrap(), "cancelled: job terminated");

    let run = bench.supervisor.start(order);
    deaf.0.notified().await;
    let stopped = bench.supervisor.shutdown(Duration::ZERO);
    tokio::time::timeout(in_time, stopped).await.expect("it stops");
    let done = run.outcome().await.unwrap();
    assert_eq!(done.error.unwrap(), "host stopped: job terminated");
}
