//! The command lines of OpenClaw: which are written for a job, and which a job may write itself.
//!
//! Always: configuration, state and folder are the host's. A text of a submitter stands only after
//! the option that takes it, and the message is no argument at all: it comes on standard input, or
//! from a file where the Gateway is asked.

use super::job::{AgentJob, Mode};

/// Where things lie that a run is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    /// The configuration made for it.
    pub(crate) config: &'a str,
    /// The state made for it, if there is one.
    pub(crate) state: Option<&'a str>,
    /// Its folder.
    pub(crate) work: &'a str,
    /// The message.
    pub(crate) message: &'a str,
}

/// Variables of every run: nothing is fetched, announced, updated or coloured.
pub(crate) const QUIET: [(&str, &str); 5] = [
    ("OPENCLAW_OFFLINE", "1"),
    ("OPENCLAW_NO_AUTO_UPDATE", "1"),
    ("OPENCLAW_DISABLE_BONJOUR", "1"),
    ("DO_NOT_TRACK", "1"),
    ("NO_COLOR", "1"),
];

/// What says that a job tried the command that never was.
pub(crate) const NO_RUN: &str = "openclaw has no `run`: submit a job of kind openclaw-agent with a message \
     (skyclaw agent --message '...'), or openclaw-run with the arguments agent exec --json ...";

/// Options by which a turn would leave what the host has laid out for it.
const HOSTS_OWN: [&str; 7] = [
    "--config",
    "--state-dir",
    "--cwd",
    "--code-mode",
    "--isolated",
    "--auth-env-only",
    "--no-auth-env-only",
];

/// Options of a turn that take a value, and those that take none.
const WITH_VALUE: [&str; 5] =
    ["--fallback", "--message-file", "--model", "--thinking", "--timeout"];
const ALONE: [&str; 2] = ["--json", "--local-model-lean"];

/// The arguments for an agent job.
#[must_use]
pub(crate) fn of_agent(job: &AgentJob, id: &str, places: Places<'_>) -> Vec<String> {
    let mut args: Vec<String> = vec!["agent".to_owned()];
    match &job.mode {
        Mode::Exec => {
            args.extend(["exec", "--json"].map(str::to_owned));
            args.extend(laid_out(places));
            args.extend(["--message-file", "-"].map(str::to_owned));
        }
        Mode::Gateway { agent, session_key, session_id } => {
            args.extend(["--json", "--message-file", places.message].map(str::to_owned));
            let mut option =
                |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
            option("--agent", agent.as_deref().unwrap_or("main"));
            match (session_key, session_id) {
                (None, Some(id)) => option("--session-id", id),
                (Some(key), _) => option("--session-key", key),
                (None, None) => option("--session-key", &format!("skyclaw-{id}")),
            }
        }
    }
    let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
    option("--timeout", &job.timeout.as_secs().to_string());
    if let Some(model) = &job.model {
        option("--model", model);
    }
    if let Some(level) = &job.thinking {
        option("--thinking", level);
    }
    if job.mode == Mode::Exec {
        for model in &job.fallbacks {
            option("--fallback", model);
        }
        if job.lean {
            args.push("--local-model-lean".to_owned());
        }
    }
    args
}

/// The options by which a turn by itself keeps to what the host has laid out for it.
#[must_use]
pub(crate) fn laid_out(places: Places<'_>) -> Vec<String> {
    let mut args = vec!["--config", places.config];
    args.extend(places.state.into_iter().flat_map(|state| ["--state-dir", state]));
    args.extend(["--cwd", places.work]);
    args.into_iter().map(str::to_owned).collect()
}

/// What a job of kind `openclaw-run` comes to on a host with the real OpenClaw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// It only asks for the version.
    Version,
    /// One turn, with these arguments after `agent exec`; read as JSON if it says so.
    Turn {
        /// They stand behind what the host says.
        args: Vec<String>,
        /// Its answer is a document.
        json: bool,
        /// Models that it names.
        models: Vec<String>,
    },
}

/// Reads the arguments of `openclaw-run`.
///
/// # Errors
/// Why the host does not run them, and what to write instead.
pub(crate) fn of_run(args: &[String]) -> Result<Run, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["run", ..] => Err(NO_RUN.to_owned()),
        ["--version" | "-V"] => Ok(Run::Version),
        ["agent", "exec", rest @ ..] => {
            let (json, models) = of_turn(rest)?;
            let args = rest.iter().map(|&word| word.to_owned()).collect();
            Ok(Run::Turn { args, json, models })
        }
        [first, ..] => {
            let first: String = first.chars().take(64).collect();
            Err(format!(
                "this host runs only `openclaw agent exec` and `openclaw --version` for jobs, not \
                 `openclaw {first}`: submit a job of kind openclaw-agent with a message"
            ))
        }
    }
}

/// Checks the options of a turn; answers whether it is to write JSON, and the models it names.
fn of_turn(words: &[&str]) -> Result<(bool, Vec<String>), String> {
    let (mut json, mut message, mut models) = (false, false, Vec::new());
    let mut rest = words.iter().copied();
    while let Some(word) = rest.next() {
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
        if HOSTS_OWN.contains(&name) {
            return Err(format!("{name} is the host's own: leave it out"));
        }
        if word == "--" {
            message |= rest.next().is_some();
            if rest.next().is_some() {
                return Err("openclaw agent exec takes one message".to_owned());
            }
        } else if ALONE.contains(&word) {
            json |= word == "--json";
        } else if WITH_VALUE.contains(&name) {
            let value =
                value.or_else(|| rest.next()).ok_or_else(|| format!("{name} needs a value"))?;
            if matches!(name, "--model" | "--fallback") {
                models.push(value.to_owned());
            }
            if name == "--message-file" {
                if value != "-" && (value.starts_with('/') || value.split('/').any(|p| p == "..")) {
                    return Err("--message-file names a file of the job's own folder".to_owned());
                }
                message = true;
            }
        } else if word.starts_with('-') && word != "-" {
            return Err(format!("{name} is no option of `openclaw agent exec` that jobs may use"));
        } else if std::mem::replace(&mut message, true) {
            return Err("openclaw agent exec takes one message".to_owned());
        }
    }
    if message { Ok((json, models)) } else { Err("openclaw agent exec needs a message".to_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent(members: serde_json::Value) -> String {
        let job = AgentJob::read(members.as_object().unwrap()).unwrap();
        let places = Places {
            config: "/j/config",
            state: Some("/j/state"),
            work: "/j/work",
            message: "/j/m",
        };
        of_agent(&job, "job_1", places).join(" ")
    }

    #[test]
    fn a_turn_is_asked_for_with_the_hosts_places_and_the_message_apart() {
        let full = json!({
            "message": "--config /etc/shadow", "model": "a/b", "fallbacks": ["c/d", "e/f"],
            "thinking": "low", "timeoutSeconds": 7, "localModelLean": true,
        });
        assert_eq!(
            agent(full),
            "agent exec --json --config /j/config --state-dir /j/state --cwd /j/work --message-file - \
             --timeout 7 --model a/b --thinking low --fallback c/d --fallback e/f --local-model-lean"
        );
    }

    #[test]
    fn a_gateway_is_asked_under_a_session_of_the_job_or_the_one_that_is_named() {
        assert_eq!(
            agent(json!({ "message": "x", "mode": "gateway" })),
            "agent --json --message-file /j/m --agent main --session-key skyclaw-job_1 --timeout 600"
        );
        let named =
            json!({ "message": "x", "mode": "gateway", "agentId": "ops", "sessionId": "s1" });
        assert!(agent(named).contains("--agent ops --session-id s1"));
    }

    fn run(words: &str) -> Result<Run, String> {
        of_run(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_that_never_was_gets_the_sentence_that_helps() {
        for words in ["", "run", "run something"] {
            assert_eq!(run(words).unwrap_err(), NO_RUN);
        }
    }

    #[test]
    fn only_a_turn_and_the_version_are_run() {
        assert_eq!(run("--version"), Ok(Run::Version));
        for words in ["config set x y", "gateway auth-token", "plugins install x", "agent --local"]
        {
            let why = run(words).unwrap_err();
            assert!(why.starts_with("this host runs only"), "{words}: {why}");
        }
        let Ok(Run::Turn { args, json: true, models }) = run("agent exec hello --json --model a/b")
        else {
            panic!("it is a turn");
        };
        assert_eq!(
            (args.join(" ").as_str(), models.as_slice()),
            ("hello --json --model a/b", &["a/b".to_owned()][..])
        );
        assert!(matches!(run("agent exec -- --config"), Ok(Run::Turn { json: false, .. })));
    }

    #[test]
    fn what_the_host_lays_out_is_not_a_jobs_to_say() {
        for words in [
            "agent exec x --config /etc/passwd",
            "agent exec x --config=/etc/passwd",
            "agent exec x --state-dir /s",
            "agent exec x --cwd /",
            "agent exec x --isolated",
            "agent exec x --no-auth-env-only",
            "agent exec --code-mode code x",
        ] {
            assert!(
                run(words).unwrap_err().ends_with("is the host's own: leave it out"),
                "{words}"
            );
        }
        for words in [
            "agent exec",
            "agent exec --json",
            "agent exec a b",
            "agent exec -- a b",
            "agent exec a -- b c",
            "agent exec a --model",
            "agent exec a --new-option",
            "agent exec -c /etc/passwd a",
            "agent exec --message-file /etc/passwd",
            "agent exec --message-file a/../../b",
        ] {
            assert!(run(words).is_err(), "{words}");
        }
    }
}
