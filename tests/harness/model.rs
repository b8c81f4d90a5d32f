//! A model without a mind, for the real OpenClaw: what it answers stands in what it is asked.
//!
//! | In the message | Answer |
//! |---|---|
//! | `TOOL:<command>` | a call of the tool `exec` with the rest of the line, then what the tool said |
//! | `CALL:<tool> {..}` | a call of that tool with these arguments, then what the tool said |
//! | `SLEEP:<seconds>` | the answer comes so much later |
//! | `HOLD` | the answer comes when the test lets it |
//! | `DENY`, `FAIL` | 401, 500 |
//! | anything else | `pong: ` and the end of the message |
//!
//! It speaks as much of OpenAI's `chat/completions` as OpenClaw uses, with a stream and without.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Received, Reply, Server};

/// Its only model, as OpenClaw names it.
pub const MODEL: &str = "mock/mock-1";

/// What OpenClaw adds to a conversation by itself; no message of anybody.
const INTERNAL: &str = "OPENCLAW_INTERNAL_CONTEXT";

/// Longest that `HOLD` holds: above all patience of tests.
const HOLD: Duration = Duration::from_secs(600);

/// A question that was put to it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which configuration it came by.
    pub place: String,
    /// What the submitter wrote.
    pub message: String,
    /// The names of the tools that may be called.
    pub tools: Vec<String>,
    /// Whether it brings what a tool said.
    pub after_tool: bool,
    /// The whole conversation, as JSON.
    pub whole: String,
}

#[derive(Debug, Default)]
struct Known {
    calls: Vec<Call>,
    /// Questions not answered yet, per place, and the most there ever were.
    open: BTreeMap<String, (usize, usize)>,
    released: bool,
}

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Condvar,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The model's server, on loopback. What it holds is let go when it is dropped.
#[derive(Debug)]
pub struct Model {
    server: Server,
    shared: Arc<Shared>,
}

impl Model {
    /// A model at a port of its own.
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let of_server = Arc::clone(&shared);
        Self { server: Server::start(move |request| answer(&of_server, request)), shared }
    }

    /// Writes a configuration of OpenClaw that knows this model and no other. `place` tells whose
    /// questions are whose; `more` is merged into it.
    pub fn configure(&self, path: &Path, place: &str, more: &Value) {
        let base = format!("{}/{place}/v1", self.server.url());
        let mut config = json!({
            "agents": { "defaults": { "model": { "primary": MODEL } } },
            // As hosts tell their agents: nothing is old here.
            "session": { "maintenance": { "mode": "warn" } },
            "models": { "mode": "merge", "providers": { "mock": {
                "baseUrl": base, "apiKey": "sk-local", "api": "openai-completions",
                "models": [{
                    "id": "mock-1", "name": "Mock", "reasoning": false, "input": ["text"],
                    "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 },
                    // Its own prompt takes 15,000; tests send messages of a mebibyte.
                    "contextWindow": 1_000_000, "maxTokens": 4096,
                }],
            } } },
        });
        merge(&mut config, more);
        fs::write(path, format!("{config:#}")).expect("the test's folder is writable");
    }

    /// All questions so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.known().calls.clone()
    }

    /// Those with `text` in the submitter's message.
    #[must_use]
    pub fn calls_about(&self, text: &str) -> Vec<Call> {
        let known = self.shared.known();
        known.calls.iter().filter(|call| call.message.contains(text)).cloned().collect()
    }

    /// How many questions of `place` wait for an answer, and the most that ever did at once.
    #[must_use]
    pub fn open(&self, place: &str) -> (usize, usize) {
        self.shared.known().open.get(place).copied().unwrap_or_default()
    }

    /// Lets go what `HOLD` holds, from now on.
    pub fn release(&self) {
        self.shared.known().released = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.release();
    }
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

/// Text of a message, which may come in parts.
fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// What the submitter wrote: OpenClaw puts the time before it and facts of the run behind it.
fn submitted(text: &str) -> &str {
    let text = text.rsplit_once("\n\nRuntime: ").map_or(text, |(message, _)| message);
    let dated = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    dated.map_or(text, |(_, message)| message)
}

fn read(request: &Received) -> Call {
    let place = request.target.trim_start_matches('/').split('/').next().unwrap_or_default();
    let body: Value = serde_json::from_slice(&request.raw).unwrap_or_default();
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let is_internal =
        |message: &Value| message["role"] == "user" && text(message).contains(INTERNAL);
    let mut real: Vec<_> = messages.iter().filter(|message| !is_internal(message)).collect();
    let after_tool = real.last().is_some_and(|message| message["role"] == "tool");
    real.retain(|message| message["role"] == "user");
    let message = real.last().map(|message| text(message)).unwrap_or_default();
    let tools = body["tools"].as_array().into_iter().flatten();
    let tools = tools.filter_map(|tool| tool["function"]["name"].as_str().map(str::to_owned));
    Call {
        place: place.to_owned(),
        message: submitted(&message).to_owned(),
        tools: tools.collect(),
        after_tool,
        whole: Value::from(messages).to_string(),
    }
}

/// The rest of the line after `word`.
fn after<'a>(message: &'a str, word: &str) -> Option<&'a str> {
    message.split_once(word).map(|(_, rest)| rest.lines().next().unwrap_or_default().trim())
}

fn answer(shared: &Shared, request: &Received) -> Reply {
    if request.method != "POST" || !request.target.ends_with("/chat/completions") {
        return Reply::json(404, json!({ "error": { "message": "not found" } }));
    }
    let call = read(request);
    {
        let mut known = shared.known();
        known.calls.push(call.clone());
        let (open, most) = known.open.entry(call.place.clone()).or_default();
        *open += 1;
        *most = (*most).max(*open);
    }
    let reply = reply(shared, request, &call);
    let mut known = shared.known();
    if let Some((open, _)) = known.open.get_mut(&call.place) {
        *open -= 1;
    }
    reply
}

fn reply(shared: &Shared, request: &Received, call: &Call) -> Reply {
    let refuse = |status, text: &str| Reply::json(status, json!({ "error": { "message": text } }));
    if call.message.contains("DENY") {
        return refuse(401, "mock bad key");
    }
    if call.message.contains("FAIL") {
        return refuse(500, "mock failure");
    }
    let asked = after(&call.message, "SLEEP:").and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok().map(Duration::from_secs)
    });
    let pause = if call.message.contains("HOLD") { Some(HOLD) } else { asked };
    if let Some(pause) = pause {
        let known = shared.known();
        drop(shared.changed.wait_timeout_while(known, pause, |known| !known.released));
    }
    let body: Value = serde_json::from_slice(&request.raw).unwrap_or_default();
    let message = words(call, &body);
    let streams = body["stream"] == true;
    let usage = request.bytes / 4 + 1;
    let usage =
        json!({ "prompt_tokens": usage, "completion_tokens": 7, "total_tokens": usage + 7 });
    if streams { stream(&message, &usage) } else { whole(&message, &usage) }
}

/// The assistant's message.
fn words(call: &Call, body: &Value) -> Value {
    let tool = match (after(&call.message, "TOOL:"), after(&call.message, "CALL:")) {
        (Some(command), _) => Some(("exec", json!({ "command": command }).to_string())),
        (None, Some(rest)) => rest.split_once(' ').map(|(tool, args)| (tool, args.to_owned())),
        (None, None) => None,
    };
    match tool {
        Some((name, arguments)) if !call.after_tool => json!({
            "role": "assistant",
            "content": null,
            "tool_calls": [{
                "id": "call_mock_1", "type": "function",
                "function": { "name": name, "arguments": arguments },
            }],
        }),
        _ if call.after_tool => {
            let mut messages = body["messages"].as_array().into_iter().flatten();
            let said = messages.rfind(|message| message["role"] == "tool");
            let said = said.map(text).unwrap_or_default();
            json!({ "role": "assistant", "content": format!("tool said: {}", said.trim()) })
        }
        _ => {
            let chars: Vec<_> = call.message.trim().chars().collect();
            let end: String = chars[chars.len().saturating_sub(200)..].iter().collect();
            json!({ "role": "assistant", "content": format!("pong: {end}") })
        }
    }
}

fn reason(message: &Value) -> &'static str {
    if message.get("tool_calls").is_some() { "tool_calls" } else { "stop" }
}

fn whole(message: &Value, usage: &Value) -> Reply {
    let choice = json!({ "index": 0, "message": message, "finish_reason": reason(message) });
    let body = json!({
        "id": "mock", "created": 1, "model": "mock-1", "object": "chat.completion",
        "choices": [choice], "usage": usage,
    });
    Reply::json(200, body)
}

fn stream(message: &Value, usage: &Value) -> Reply {
    let mut delta = message.clone();
    if let Some(call) = delta["tool_calls"].get_mut(0) {
        call["index"] = json!(0);
    }
    let chunk = |choices: Value| {
        json!({
            "id": "mock", "created": 1, "model": "mock-1", "object": "chat.completion.chunk",
            "choices": choices,
        })
    };
    let first = chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]));
    let last = chunk(json!([{ "index": 0, "delta": {}, "finish_reason": reason(message) }]));
    let mut cost = chunk(json!([]));
    cost["usage"] = usage.clone();
    let events = format!("data: {first}\n\ndata: {last}\n\ndata: {cost}\n\ndata: [DONE]\n\n");
    Reply::raw(200, events.into_bytes())
        .header("content-type", "text/event-stream")
        .header("connection", "close")
}
