//! Why a job ended as it did, and where one runs.

use jiff::Timestamp;
use serde_json::Value;

use super::Why;
use super::hosts::{age, alive, named};
use super::words::{one_line, text, took};

/// Where it runs and until when its host holds it.
pub(super) fn leased(job: &Value, hosts: &[Value], now: Timestamp) -> Why {
    let id = text(job, "assignedHostId");
    let until = text(job, "leaseExpiresAt");
    let mut because = format!("it runs on {}, which holds it until {until}", named(hosts, &id));
    let host = hosts.iter().find(|host| host["id"] == id.as_str());
    let silent = host.filter(|host| !alive(host, now)).and_then(|host| age(host, now));
    let then = silent.map(|seconds| {
        because.push_str(&format!("; but it was last heard of {seconds} s ago"));
        if may_repeat(job) {
            "if it stays silent another host gets the job once that time is over".to_owned()
        } else {
            "if it stays silent the job ends as failed once that time is over: an agent's work is \
             not begun twice, unless it was submitted with --idempotent"
                .to_owned()
        }
    });
    Why { because, then, ..Why::default() }
}

/// Whether a lost host is no end of it.
fn may_repeat(job: &Value) -> bool {
    let payload = &job["payload"];
    let agent = payload["kind"] == "openclaw-agent"
        || (payload["kind"] == "openclaw-run" && payload["args"][0] == "agent");
    !agent || payload["idempotent"] == true
}

/// Where it ran.
pub(super) fn completed(job: &Value, hosts: &[Value]) -> Why {
    let mut because = format!("it went well{}", place(job, hosts));
    let agent = &job["result"]["agent"];
    let mut then = None;
    let unresolved = &agent["unresolvedToolError"];
    let failures = agent["toolFailures"].as_u64().unwrap_or(0);
    if !unresolved.is_null() {
        because.push_str("; but a tool of the agent failed in the end");
        then = Some("read its answer before you rely on it".to_owned());
    } else if failures > 0 {
        because.push_str(&format!("; {failures} uses of tools failed on the way"));
    }
    Why { because, then, ..Why::default() }
}

/// Why it failed, in words.
pub(super) fn failed(job: &Value, hosts: &[Value]) -> Why {
    let (error, result) = (text(job, "error"), &job["result"]);
    let agent = &result["agent"];
    let said = agent["error"]["message"].as_str().or_else(|| agent["error"].as_str());
    let said = said.map_or_else(|| error.clone(), one_line);
    let because = match agent["status"].as_str() {
        Some("timeout") => format!("the agent did not finish in time: {said}"),
        Some("cancelled") => "it was cancelled while the agent was at work".to_owned(),
        Some("error") => format!("the agent failed: {said}"),
        _ => match result["exitCode"].as_i64() {
            Some(code) if code != 0 && error == "-" => format!("it ended with exit code {code}"),
            Some(code) if code != 0 => format!("it ended with exit code {code}: {error}"),
            _ if error == "-" => "nobody said why".to_owned(),
            _ => error.clone(),
        },
    };
    let ran = place(job, hosts);
    Why { because: because + &ran, then: help(job, &error, agent), ..Why::default() }
}

/// What its submitter can do, where that can be told.
fn help(job: &Value, error: &str, agent: &Value) -> Option<String> {
    let id = text(job, "id");
    let policy = text(agent, "toolPolicy");
    Some(match () {
        () if error.contains("command not allowed") => {
            "the owner of that host allows what stands in its SKYCLAW_ALLOWED_COMMANDS; or require \
             a capability that only hosts with that command have"
                .to_owned()
        }
        () if error.contains("network not allowed") => {
            "the owner of that host says in its policy what runs may reach, and gives no network by \
             itself; ask for less with --network, or require a capability of hosts that grant it"
                .to_owned()
        }
        () if agent["status"] == "timeout" => {
            "give it longer with --timeout, or less to do".to_owned()
        }
        () if !agent["unresolvedToolError"].is_null() && policy != "full" && policy != "-" => {
            format!("tools were held to `{policy}` there: that host's owner decides")
        }
        () if error.contains("cancel") => return None,
        () if result_has_output(job) => format!("`skyclaw job {id}` shows what it wrote"),
        () => return None,
    })
}

fn result_has_output(job: &Value) -> bool {
    ["stdout", "stderr"].iter().any(|name| text(&job["result"], name) != "-")
}

/// ` on HOST after 3 s`, as far as that is known.
fn place(job: &Value, hosts: &[Value]) -> String {
    let mut words = String::new();
    let host = text(job, "assignedHostId");
    if host != "-" {
        words.push_str(&format!(" (on {}", named(hosts, &host)));
        if let Some(ms) = job["result"]["durationMs"].as_f64() {
            words.push_str(&format!(", after {}", took(ms)));
        }
        words.push(')');
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::explain;
    use super::*;

    fn why(job: Value) -> Why {
        let hosts =
            [json!({ "id": "host_1", "name": "box", "lastSeenAt": "2026-01-01T00:00:00Z" })];
        explain(&job, &hosts, "2026-01-01T00:01:00Z".parse().unwrap())
    }

    #[test]
    fn a_running_job_says_where_and_until_when() {
        let job = json!({ "id": "j", "status": "leased", "assignedHostId": "host_1",
            "leaseExpiresAt": "2026-01-01T00:02:00Z", "payload": { "kind": "openclaw-agent" } });
        let told = why(job.clone());
        assert!(told.because.starts_with("it runs on box, which holds it until 2026-01-01T00:02"));
        assert!(told.because.ends_with("last heard of 60 s ago"), "{told:?}");
        assert!(told.then.unwrap().contains("not begun twice"));
        let mut again = job;
        again["payload"]["idempotent"] = json!(true);
        assert!(why(again).then.unwrap().contains("another host gets the job"));
    }

    #[test]
    fn an_end_says_its_reason_in_words() {
        let failed = |error: &str, result: Value| {
            why(json!({ "id": "j", "status": "failed", "assignedHostId": "host_1", "error": error,
                "result": result }))
        };
        let told = failed("exit code 3", json!({ "exitCode": 3, "durationMs": 12, "stderr": "x" }));
        assert_eq!(told.because, "it ended with exit code 3: exit code 3 (on box, after 12 ms)");
        assert_eq!(told.then.unwrap(), "`skyclaw job j` shows what it wrote");
        let told = failed("command not allowed: cat", json!({}));
        assert!(told.then.unwrap().contains("SKYCLAW_ALLOWED_COMMANDS"));
        let timeout = json!({ "exitCode": 2,
            "agent": { "status": "timeout", "error": { "message": "Request timed out" } } });
        let told = failed("timeout", timeout);
        assert!(told.because.starts_with("the agent did not finish in time: Request timed out"));
        assert!(told.then.unwrap().contains("--timeout"));
    }

    #[test]
    fn a_good_end_with_a_failed_tool_is_told() {
        let job = |agent: Value| {
            json!({ "id": "j", "status": "completed", "assignedHostId": "host_1",
                "result": { "durationMs": 2000, "agent": agent } })
        };
        let told = why(job(json!({ "toolFailures": 1, "unresolvedToolError": "denied" })));
        assert!(told.because.contains("a tool of the agent failed in the end"), "{told:?}");
        assert!(told.then.is_some());
        assert_eq!(why(job(json!({}))).because, "it went well (on box, after 2.0 s)");
    }
}
