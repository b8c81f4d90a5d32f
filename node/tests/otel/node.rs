//! Nodes as processes, and a client of theirs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for what is a matter of moments, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` finds it.
#[track_caller]
pub(crate) fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < until, "{what}: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends with the test.
pub(crate) struct Node {
    process: Child,
    folder: TempDir,
    url: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(crate) fn coordinator(name: &str, env: &[(&str, &str)]) -> Self {
        Self::with_file(name, "", env)
    }

    /// With these lines in its file with settings.
    pub(crate) fn with_file(name: &str, lines: &str, env: &[(&str, &str)]) -> Self {
        let own = [
            ("SKYCLAW_ROLE", "coordinator"),
            ("SKYCLAW_COORDINATOR_NODE_ID", name),
            ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1"),
            ("SKYCLAW_COORDINATOR_PORT", "0"),
            ("SKYCLAW_MIN_REPLICATIONS", "1"),
        ];
        Self::start(lines, &[&own, env].concat()).listening()
    }

    /// One whose look-ups of names go to `nameserver`. Needs root.
    pub(crate) fn with_nameserver(nameserver: &str, env: &[(&str, &str)]) -> Self {
        let own = [
            ("SKYCLAW_ROLE", "coordinator"),
            ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1"),
            ("SKYCLAW_COORDINATOR_PORT", "0"),
            ("SKYCLAW_MIN_REPLICATIONS", "1"),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        // Longer than any test waits.
        let text = format!("nameserver {nameserver}\noptions timeout:30 attempts:5\n");
        fs::write(folder.path().join("resolv.conf"), text).expect("it is writable");
        let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_skyclaw-node")]);
        Self::run(command, folder, "", &[&own, env].concat()).listening()
    }

    fn listening(mut self) -> Self {
        let node = &mut self;
        node.url = within(PATIENCE, "it listens", || {
            let said = node.said("stdout");
            let rest = said.split_once(" listening on ").map(|(_, rest)| rest);
            let line = rest.and_then(|rest| rest.split_once('\n'));
            line.map(|(url, _)| url.to_owned()).ok_or_else(|| node.log())
        });
        self
    }

    /// One that has no HTTP, and is told where `coordinator` is.
    pub(crate) fn host(name: &str, coordinator: &Self, env: &[(&str, &str)]) -> Self {
        let network = within(PATIENCE, "it has an address", || {
            let network = coordinator.get("/v1/network");
            let address = network["addresses"][0].as_str().map(str::to_owned);
            address.ok_or_else(|| network.to_string())
        });
        let own = [
            ("SKYCLAW_ROLE", "host"),
            ("SKYCLAW_HOST_NAME", name),
            ("SKYCLAW_BOOTSTRAP", network.as_str()),
            ("SKYCLAW_ALLOWED_COMMANDS", "sh"),
            ("SKYCLAW_SANDBOX", "basic"),
        ];
        Self::start("", &[&own, env].concat())
    }

    fn start(lines: &str, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::run(Command::new(env!("CARGO_BIN_EXE_skyclaw-node")), folder, lines, env)
    }

    fn run(mut command: Command, folder: TempDir, lines: &str, env: &[(&str, &str)]) -> Self {
        fs::write(folder.path().join("skyclaw.toml"), lines).expect("it is writable");
        let file = |name: &str| fs::File::create(folder.path().join(name)).expect("a file");
        let process = command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("SKYCLAW_MDNS", "0")
            .env("SKYCLAW_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0")
            .env("SKYCLAW_TOKEN", "token")
            // Spans are waited for.
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .envs(env.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the program starts");
        skyclaw_node::client::install_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = reqwest::Client::builder().tls_certs_only([]).timeout(PATIENCE).build();
        Self {
            process,
            folder,
            url: String::new(),
            client: client.expect("a client"),
            runtime: runtime.expect("a runtime"),
        }
    }

    fn said(&self, where_: &str) -> String {
        read(&self.folder.path().join(where_))
    }

    pub(crate) fn log(&self) -> String {
        self.said("stderr")
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Value {
        self.ask(self.client.get(format!("{}{path}", self.url)), headers)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(self.client.post(format!("{}{path}", self.url)).json(body), &[])
    }

    /// As somebody who shows `key`, or nothing.
    pub(crate) fn get_as(&self, key: Option<&str>, path: &str, traceparent: &str) -> u16 {
        let request = self.client.get(format!("{}{path}", self.url));
        let request = request.header("traceparent", traceparent);
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let answer = self.runtime.block_on(async { request.send().await }).expect("it answers");
        answer.status().as_u16()
    }

    /// Returns the id of the job.
    pub(crate) fn submit(&self, payload: &Value, headers: &[(&str, &str)]) -> String {
        let request = self.client.post(format!("{}/v1/jobs", self.url));
        let request = request.json(&json!({ "payload": payload, "requirement": {} }));
        let answer = self.ask(request, headers);
        assert!(answer["job"]["id"].is_string(), "{answer}");
        answer["job"]["id"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn until_completed(&self, job: &str) -> Value {
        within(PATIENCE, "completed", || {
            let job = self.get(&format!("/v1/jobs/{job}"))["job"].clone();
            if job["status"] == "completed" { Ok(job) } else { Err(job.to_string()) }
        })
    }

    fn ask(&self, request: reqwest::RequestBuilder, headers: &[(&str, &str)]) -> Value {
        let request =
            headers.iter().fold(request.header("x-skyclaw-token", "token"), |it, header| {
                it.header(header.0, header.1)
            });
        self.runtime.block_on(async {
            let answer = request.send().await.expect("it answers");
            answer.json().await.expect("its answer is JSON")
        })
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(&mut self, limit: Duration) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).expect("it has an id");
        kill_process(pid, Signal::TERM).expect("it runs");
        let ended = within(limit, "it stops", || match self.process.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err(read(&self.folder.path().join("stderr"))),
        });
        assert!(ended.success(), "{ended}: {}", self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
