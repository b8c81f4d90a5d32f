//! An MCP client over pipes, that knows JSON-RPC and nothing else.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::{PATIENCE, binary};

/// A server with its other end; killed when dropped.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    next: u64,
    pub(crate) server: Value,
}

/// What a tool answered.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) failed: bool,
    pub(crate) text: String,
}

impl Told {
    /// The first part, which is a document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(!self.failed, "{}", self.text);
        let first = self.text.lines().next().unwrap_or_default();
        let parsed = serde_json::from_str(first);
        assert!(parsed.is_ok(), "no JSON: {}", self.text);
        parsed.unwrap_or_default()
    }
}

impl Client {
    /// Starts `skyclaw mcp` in `cwd` and shakes hands.
    pub(crate) fn start(url: &str, cwd: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary("skyclaw"))
            .arg("mcp")
            .args(args)
            .env_clear()
            .env("SKYCLAW_COORDINATOR_URL", url)
            .envs(env.iter().copied())
            .current_dir(cwd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (send, lines) = channel();
        // It ends with the server's output.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut client = Self { child, stdin, lines, next: 1, server: Value::Null };
        client.server = client.ask(
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" } }),
        )["result"]
            .take();
        client.write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn write(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().expect("it was not closed");
        writeln!(stdin, "{message}").expect("the server reads");
        stdin.flush().expect("the server reads");
    }

    /// Sends a request; the whole answer to it.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the server answers");
            // Whatever stands on standard output is MCP.
            let message: Value = serde_json::from_str(&line).expect("each line is a message");
            assert_eq!(message["jsonrpc"], "2.0", "{line}");
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Calls a tool.
    #[track_caller]
    pub(crate) fn call(&mut self, name: &str, arguments: Value) -> Told {
        let answer = self.ask("tools/call", json!({ "name": name, "arguments": arguments }));
        let result = &answer["result"];
        assert!(result.is_object(), "{answer}");
        let parts = result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        Told { failed: result["isError"] == true, text: parts.join("\n") }
    }

    /// Closes its standard input; its exit code.
    pub(crate) fn close(mut self) -> Option<i32> {
        drop(self.stdin.take());
        let rest: Vec<String> =
            std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).collect();
        assert!(rest.is_empty(), "said unasked: {rest:?}");
        skyclaw_tests::within(Duration::from_secs(10), "it ends", || {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            ended.map(|status| status.code()).ok_or_else(|| "it runs".to_owned())
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
