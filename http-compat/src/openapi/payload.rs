//! What jobs are to do: the three kinds of payload.

use skyclaw_protocol::limits::{
    MAX_AGENT_FALLBACKS, MAX_AGENT_MESSAGE_BYTES, MAX_AGENT_TIMEOUT_S, MAX_BUNDLE_PATH,
    MAX_JOB_FILES, MAX_NETWORK_HOSTS, MAX_TIMEOUT_MS,
};

use super::shape::{
    Shape, any_of, closed, flag, hash, list, named, need, number, object, one_by, opt, short,
    startable, startable_filled, text, variables, whole, word,
};
use crate::json::request::agent::{MAX_NAME_BYTES, MAX_THINKING_BYTES};

fn inputs() -> Shape {
    list(named("InputFile"))
        .up_to(MAX_JOB_FILES)
        .says("Blobs that are placed into its directory before it runs.")
}

fn outputs() -> Shape {
    list(short(MAX_BUNDLE_PATH).shortest(1))
        .up_to(MAX_JOB_FILES)
        .says("Globs: files that match after a run that succeeded are kept.")
}

fn timeout() -> Shape {
    number()
        .at_least(0)
        .at_most(MAX_TIMEOUT_MS)
        .says("How long a run may take; 0 is what its host has.")
}

/// What a command is to reach.
fn network() -> Shape {
    // Not every such text is a host: which are, no pattern of a bearable length says.
    let host = text().like(r"^[^\s/]+$").such_as("*.example.org:8443");
    any_of([word(&["none", "any"]), list(host).not_empty().up_to(MAX_NETWORK_HOSTS)])
        .says("What it is to reach: `none`, `any`, or hosts, `*.example.org:8443` among them.")
}

/// A name on OpenClaw's command line.
fn name() -> Shape {
    short(MAX_NAME_BYTES).shortest(1)
}

fn model() -> Shape {
    name().like("^[A-Za-z0-9][!-~]*$").such_as("provider/model")
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let shell = object([
        need("kind", word(&["shell"])),
        need("command", startable().shortest(1)),
        opt("args", list(startable())),
        opt("cwd", startable()),
        opt("env", variables(startable())),
        opt("timeoutMs", timeout()),
        opt("network", network()),
        opt("inputs", inputs()),
        opt("outputs", outputs()),
    ]);
    let agent = closed([
        need("kind", word(&["openclaw-agent"])),
        need("message", startable_filled().longest(MAX_AGENT_MESSAGE_BYTES)),
        opt("mode", named("AgentMode")),
        opt("agentId", name().says("For `mode` `gateway` alone, as are the two that follow.")),
        opt("sessionKey", name()),
        opt("sessionId", name()),
        opt("model", model()),
        opt(
            "fallbacks",
            list(model())
                .up_to(MAX_AGENT_FALLBACKS)
                .says("They need a `model` to follow, and `mode` `exec`."),
        ),
        opt("thinking", short(MAX_THINKING_BYTES).like("^[a-z][a-z-]*$").such_as("low")),
        opt("timeoutSeconds", whole().at_least(1).at_most(MAX_AGENT_TIMEOUT_S)),
        opt("localModelLean", flag().says("Not for `mode` `gateway`.")),
        opt(
            "toolPolicy",
            named("ToolPolicy").says("It may ask for less than its host allows, not for more."),
        ),
        opt("inputs", inputs()),
        opt("outputs", outputs()),
        opt("idempotent", flag().says("It may be begun again when its host is lost.")),
    ]);
    let run = object([
        need("kind", word(&["openclaw-run"])),
        opt("openclawDir", startable()),
        opt("args", list(startable())),
        opt("cwd", startable()),
        opt("env", variables(startable())),
        opt("timeoutMs", timeout()),
        opt("idempotent", flag()),
        opt("inputs", inputs()),
        opt("outputs", outputs()),
    ]);
    let kinds = [
        ("shell", "ShellPayload"),
        ("openclaw-agent", "AgentPayload"),
        ("openclaw-run", "OpenclawRunPayload"),
    ];
    let input = object([
        need("hash", hash()),
        opt("path", short(MAX_BUNDLE_PATH)),
        opt("unpack", flag().says("It is a bundle, and unpacked there.")),
    ]);
    vec![
        ("InputFile", input),
        ("AgentMode", word(&["exec", "gateway"])),
        ("ToolPolicy", word(&["none", "allowlist", "full"])),
        ("Payload", one_by("kind", &kinds)),
        ("ShellPayload", shell.says("A command.")),
        ("AgentPayload", agent.says("The turn of an OpenClaw agent.")),
        ("OpenclawRunPayload", run.says("The original's kind of job: a command line of OpenClaw.")),
    ]
}
