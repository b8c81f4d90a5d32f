//! Why a job waits.

use jiff::Timestamp;
use serde_json::Value;
use skyclaw_protocol::SandboxLevel;

use super::hosts::{judge, required};
use super::words::text;
use super::{LISTED, Rejection, Why};

/// Explains a queued job: which rule keeps each host from it, and what is nearest to help.
pub(super) fn explain(job: &Value, hosts: &[Value], now: Timestamp) -> Why {
    let required = required(job);
    let mut judged: Vec<Rejection> = hosts.iter().map(|host| judge(host, &required, now)).collect();
    let told = job["verify"]["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    for host in &mut judged {
        host.told = told.iter().any(|told| told["host"] == host.id.as_str());
    }
    // Those first to which the least is lacking.
    judged.sort_by_key(|host| (host.told, host.missing.len(), host.silent.is_some(), host.full));
    // Those that have run it need not be looked at, unless there are no others.
    let others = judged.iter().filter(|host| !host.told).cloned().collect::<Vec<_>>();
    let (mut because, mut then) = match others.is_empty() && !told.is_empty() {
        true => (
            "every host has run it already".to_owned(),
            "start another one: `skyclaw-node --role host`".to_owned(),
        ),
        false => reason(&others, &required),
    };
    if let Some(more) = needed(&job["verify"]) {
        let hosts = if more == 1 { "host" } else { "hosts" };
        because.push_str(&format!("; it needs {more} more distinct {hosts}"));
        if others.iter().filter(|host| host.missing.is_empty()).count() < more {
            then = format!(
                "{more} {hosts} beside those that ran it must be able to: start one more, \
                 `skyclaw-node --role host` (hosts of the original sign nothing, so they do not count)"
            );
        }
    }
    if text(job, "attempts") != "-" && job["attempts"] != 0 {
        because.push_str(&format!(" (attempts so far: {})", text(job, "attempts")));
    }
    if job["queueTimeoutMs"].is_number() {
        because.push_str(&format!(
            "; it ends as failed once it has waited {} ms",
            text(job, "queueTimeoutMs")
        ));
    }
    let more_hosts = judged.len().saturating_sub(LISTED) as u64;
    judged.truncate(LISTED);
    Why { because, hosts: judged, more_hosts, then: Some(then), ..Why::default() }
}

/// Hosts that are still needed at least to verify a job.
fn needed(verify: &Value) -> Option<usize> {
    let agree = usize::try_from(verify["agree"].as_u64()?).ok()?;
    let told = verify["results"].as_array()?;
    let votes = |one: &Value| told.iter().filter(|other| other["digest"] == one["digest"]).count();
    Some(agree.saturating_sub(told.iter().map(votes).max().unwrap_or(0)).max(1))
}

/// The reason, and the nearest change that would help.
fn reason(judged: &[Rejection], required: &[String]) -> (String, String) {
    let Some(nearest) = judged.first() else {
        let why = "there are no hosts".to_owned();
        return (why, "start one: `skyclaw-node`, or `skyclaw-node --role host`".to_owned());
    };
    let name = &nearest.name;
    if judged.iter().any(Rejection::fits) {
        let why = "a host may run it and has not taken it yet".to_owned();
        let look = "look again in some seconds; hosts rest after failed starts, and take no agent \
                    while they have no room for one";
        return (why, look.to_owned());
    }
    let able: Vec<&Rejection> = judged.iter().filter(|host| host.missing.is_empty()).collect();
    if let Some(full) = able.iter().find(|host| host.silent.is_none()) {
        let why = "every host that may run it is at work".to_owned();
        let name = &full.name;
        return (why, format!("it goes on by itself; or raise SKYCLAW_MAX_PARALLEL on {name}"));
    }
    if !able.is_empty() {
        let why = "the hosts that may run it have fallen silent".to_owned();
        return (why, format!("start {name} again, or see why it reaches no coordinator"));
    }
    let everywhere: Vec<&str> = required
        .iter()
        .filter(|cap| judged.iter().all(|host| host.missing.contains(cap)))
        .map(String::as_str)
        .collect();
    let why = if everywhere.is_empty() {
        format!("no host has all of {}", required.join(", "))
    } else {
        format!("no host has {}", everywhere.join(", "))
    };
    (why, help(nearest))
}

/// What the host to which the least is lacking would need.
fn help(nearest: &Rejection) -> String {
    let name = &nearest.name;
    if let Some(trouble) = &nearest.trouble {
        return format!("put the openclaw of {name} right: {trouble}");
    }
    let lacks = |cap: &str| nearest.missing.iter().any(|missing| missing == cap);
    if lacks("openclaw.exec") || lacks("openclaw") {
        return format!(
            "{name} is nearest: install OpenClaw 2026.8.1 or later there, and have its owner share \
             a configuration"
        );
    }
    if lacks("openclaw.gateway") {
        return format!(
            "{name} is nearest: its owner would have to run a Gateway and allow its use; or leave \
             --gateway out"
        );
    }
    if let Some(model) = nearest.missing.iter().find_map(|cap| cap.strip_prefix("model:")) {
        return format!(
            "{name} is nearest: its owner would have to share {model}; or leave --model out"
        );
    }
    let level = nearest.missing.iter().find_map(|cap| cap.strip_prefix(SandboxLevel::CAPABILITY));
    if let Some(level) = level {
        return format!(
            "{name} is nearest, and does not keep runs apart at level {level}: `skyclaw doctor` there \
             says what it lacks; or ask for less with --sandbox, or without a list of hosts"
        );
    }
    format!(
        "{name} is nearest: if it can do that, add {} to its SKYCLAW_CAPABILITIES; or submit \
         without that",
        nearest.missing.join(",")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    fn host(name: &str, capabilities: &[&str], taken: u64, seen: &str) -> Value {
        json!({ "id": format!("host_{name}"), "name": name, "capabilities": capabilities,
            "maxParallel": 1, "activeLeases": taken, "lastSeenAt": format!("2026-01-01T00:{seen}Z") })
    }

    fn asked(capabilities: &[&str], hosts: &[Value]) -> Why {
        let job = json!({ "id": "job_1", "status": "queued", "attempts": 0,
            "requirement": { "requiredCapabilities": capabilities } });
        super::super::explain(&job, hosts, now())
    }

    #[test]
    fn without_hosts_one_is_to_be_started() {
        let why = asked(&["shell"], &[]);
        assert_eq!(why.because, "there are no hosts");
        assert!(why.then.unwrap().contains("skyclaw-node"));
    }

    #[test]
    fn each_host_says_which_rule_rejects_it() {
        let hosts = [
            host("far", &["shell"], 0, "00:59"),
            host("busy", &["shell", "gpu"], 1, "00:59"),
            host("gone", &["shell", "gpu"], 0, "00:00"),
        ];
        let why = asked(&["gpu", "shell"], &hosts);
        assert_eq!(why.because, "every host that may run it is at work");
        let words: Vec<String> =
            why.hosts.iter().map(|host| format!("{} {}", host.name, host.words())).collect();
        assert_eq!(
            words,
            ["busy has no slot free", "gone was last heard of 60 s ago", "far has no gpu"]
        );
        assert!(why.then.unwrap().contains("SKYCLAW_MAX_PARALLEL on busy"));
        let why = asked(&["gpu"], &hosts[2..]);
        assert!(why.because.contains("fallen silent"), "{why:?}");
        let why = asked(&["gpu"], &[host("free", &["gpu"], 0, "00:59")]);
        assert!(why.because.contains("may run it"), "{why:?}");
    }

    #[test]
    fn of_many_hosts_the_nearest_are_listed_and_the_rest_counted() {
        let far = |n: usize| host(&format!("h{n}"), &["shell"], 0, "00:59");
        let mut hosts: Vec<Value> = (0..600).map(far).collect();
        hosts.push(host("near", &["shell", "gpu"], 1, "00:59"));
        let why = asked(&["shell", "gpu"], &hosts);
        assert_eq!((why.hosts.len(), why.more_hosts), (100, 501));
        assert_eq!(why.hosts[0].name, "near");
        assert_eq!(why.because, "every host that may run it is at work", "all were looked at");
        assert_eq!(why.document()["moreHosts"], 501);
        assert!(why.text().contains("\n  and 501 hosts more\n"), "{}", why.text());
        let why = asked(&["gpu"], &hosts[..100]);
        assert_eq!((why.hosts.len(), why.document().get("moreHosts")), (100, None));
    }

    #[test]
    fn a_job_to_be_verified_says_how_many_hosts_it_needs_and_who_has_run_it() {
        let told = json!({ "host": "host_a", "digest": "00", "success": true });
        let job = json!({ "id": "job_1", "status": "queued", "attempts": 1,
            "requirement": { "requiredCapabilities": ["shell"] },
            "verify": { "copies": 3, "agree": 3, "verdict": "open", "results": [told] } });
        let a = host("a", &["shell"], 0, "00:59");
        let why = super::super::explain(&job, std::slice::from_ref(&a), now());
        assert!(
            why.because.starts_with("every host has run it already; it needs 2 more"),
            "{why:?}"
        );
        assert_eq!(why.hosts[0].words(), "has run it, and another host must");
        assert!(why.then.as_ref().unwrap().contains("start one more"), "{why:?}");
        let others = [a, host("b", &["shell"], 1, "00:59"), host("c", &["shell"], 1, "00:59")];
        let why = super::super::explain(&job, &others, now());
        assert!(why.because.starts_with("every host that may run it is at work"), "{why:?}");
        assert!(why.then.unwrap().contains("goes on by itself"));
    }

    #[test]
    fn the_nearest_change_is_of_the_host_that_lacks_least() {
        let mut sick = host("sick", &["shell"], 0, "00:59");
        sick["openclaw"] = json!({ "gateway": false, "trouble": "Node 20 is too old" });
        let hosts = [host("bare", &[], 0, "00:59"), sick];
        let why = asked(&["openclaw.exec"], &hosts);
        assert_eq!(why.because, "no host has openclaw.exec");
        assert!(why.then.unwrap().contains("bare is nearest"), "of equals the first");
        let why = asked(&["openclaw.exec", "shell"], &hosts);
        assert_eq!(why.then.unwrap(), "put the openclaw of sick right: Node 20 is too old");
        let able = host("able", &["openclaw.exec"], 0, "00:59");
        let why = asked(&["openclaw.exec", "model:a/b"], &[able]);
        assert!(why.then.unwrap().contains("share a/b; or leave --model out"));
        let why = asked(&["gpu"], &hosts);
        assert!(why.then.unwrap().contains("add gpu to its SKYCLAW_CAPABILITIES"));
        let split = [host("a", &["x"], 0, "00:59"), host("b", &["y"], 0, "00:59")];
        assert_eq!(asked(&["x", "y"], &split).because, "no host has all of x, y");
    }
}
