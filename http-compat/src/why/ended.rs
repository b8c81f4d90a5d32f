//! Why a job ended as it did, and where one runs.

use jiff::Timestamp;
use serde_json::Value;

use super::hosts::{age, alive, judge, named, required};
use super::words::{one_line, text, took};
use super::{AfterLoss, Why};

/// Where it runs and until when its host holds it; where that fell silent, what becomes of the job.
pub(super) fn leased(job: &Value, hosts: &[Value], now: Timestamp) -> Why {
    let id = text(job, "assignedHostId");
    let until = text(job, "leaseExpiresAt");
    let name = named(hosts, &id);
    let host = hosts.iter().find(|host| host["id"] == id.as_str());
    let silent = host.filter(|host| !alive(host, now)).and_then(|host| age(host, now));
    let Some(seconds) = silent else {
        let because = format!("it runs on {name}, which holds it until about {until}");
        return Why { because, ..Why::default() };
    };
    let left = until.parse::<Timestamp>().ok().map(|ends| ends.as_second() - now.as_second());
    let (ends, then) = match left {
        Some(left @ 1..) => (format!("its lease ends within about {left} s, by {until}"), "then"),
        _ => (format!("its lease should be over since {until}"), "soon"),
    };
    let because = format!("its host {name} is silent since {seconds} s; {ends}");
    let mut after = AfterLoss::of_shown(job);
    let needs = required(job);
    if after == AfterLoss::Again {
        let others = hosts.iter().filter(|host| host["id"] != id.as_str());
        let able = others.filter(|host| judge(host, &needs, now).may_in_time());
        // Of some it is not known here when they were heard of.
        let heard: Vec<bool> = able.map(|host| age(host, now).is_some()).collect();
        after = match heard.contains(&true) {
            true => AfterLoss::Another,
            false if heard.is_empty() => AfterLoss::Waits,
            false => AfterLoss::Again,
        };
    }
    let then = format!("if {name} stays silent, {then} {}", after.words());
    Why { because, then: Some(then), ..Why::default() }
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
            "give it longer with --run-timeout, or less to do".to_owned()
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
        assert_eq!(
            told.because,
            "its host box is silent since 60 s; its lease ends within about 60 s, by 2026-01-01T00:02:00Z"
        );
        let then = told.then.unwrap();
        assert!(then.starts_with("if box stays silent, then it fails: an agent's work is not"));
        let heard = explain(&job, &[], "2026-01-01T00:01:00Z".parse().unwrap());
        let because = "it runs on host_1, which holds it until about 2026-01-01T00:02:00Z";
        assert_eq!(heard.because, because);
        assert_eq!(heard.then, None);
    }

    #[test]
    fn a_job_of_a_silent_host_says_what_becomes_of_it() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let mut job = json!({ "id": "j", "status": "leased", "assignedHostId": "host_1",
            "leaseExpiresAt": "2026-01-01T00:02:00Z", "payload": { "kind": "shell" } });
        let host = |n: u32, seen: &str| json!({ "id": format!("host_{n}"), "name": format!("n{n}"), "lastSeenAt": seen });
        let then = |job: &Value, seen: &str| {
            let hosts = [host(2, seen), host(1, "2026-01-01T00:00:00Z")];
            explain(job, &hosts, now).then.unwrap()
        };
        let another = "if n1 stays silent, then another host runs it";
        assert_eq!(then(&job, "2026-01-01T00:00:59Z"), another);
        let none = "if n1 stays silent, then it waits: no other host that is heard of may run it";
        assert_eq!(then(&job, "2026-01-01T00:00:01Z"), none);
        // When the other one was heard of is not known.
        let hosts = [json!({ "id": "host_2" }), host(1, "2026-01-01T00:00:00Z")];
        let waits = explain(&job, &hosts, now).then.unwrap();
        assert_eq!(waits, "if n1 stays silent, then it waits for another host");
        job["leaseExpiresAt"] = json!("2026-01-01T00:00:59Z");
        assert!(then(&job, "2026-01-01T00:00:59Z").ends_with("soon another host runs it"));
        let because = explain(&job, &[host(1, "2026-01-01T00:00:00Z")], now).because;
        assert!(because.ends_with("should be over since 2026-01-01T00:00:59Z"), "{because}");
        job["maxAttempts"] = json!(1);
        job["attempts"] = json!(1);
        assert!(then(&job, "2026-01-01T00:00:59Z").contains("soon it fails"), "{job}");
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
        assert!(told.then.unwrap().contains("--run-timeout"));
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
