//! How far hosts keep apart what they run: this machine with what it lacks, the others by what they say.

use skyclaw_protocol::SandboxLevel;

use super::Finding;
use super::facts::Facts;
use super::here::Here;
use crate::cli::show;
use crate::sandbox::Finding as Lack;
use skyclaw_http_compat::why::name;

const HERE: &str = "sandbox-here";
const NAME: &str = "sandbox";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(Ok(Here { sandbox, .. })) = &facts.here {
        found = judge(sandbox.level(), sandbox.findings());
    }
    for host in facts.hosts.iter().flatten() {
        let (name, level) = (name(host), show::text(host, "sandbox"));
        found.push(match SandboxLevel::of(&level) {
            Some(SandboxLevel::Isolated) => Finding::ok(NAME, format!("{name}: {level}")),
            Some(_) => {
                let what = format!("{name} keeps its runs at {level}, not the strongest level");
                Finding::warn(NAME, what, format!("`skyclaw doctor` on {name} says what it lacks"))
            }
            None => Finding::warn(
                NAME,
                format!("{name} says no level: nothing keeps what it runs from the rest of it"),
                format!("on {name}: a node of this version, and SKYCLAW_SANDBOX not none"),
            ),
        });
    }
    found
}

/// This machine.
fn judge(level: SandboxLevel, lacks: &[Lack]) -> Vec<Finding> {
    let strongest = level == SandboxLevel::Isolated;
    let what = format!("a host here keeps what it runs at level {level}");
    let mut found = vec![if strongest {
        Finding::ok(HERE, what)
    } else {
        let fix = match lacks.iter().any(|lack| lack.decides) {
            true => "what keeps it from a stronger one follows",
            false => "SKYCLAW_SANDBOX asks for no more",
        };
        Finding::warn(HERE, what, fix)
    }];
    found.extend(lacks.iter().map(|lack| {
        let Lack { level, part, reason, remedy, decides } = lack;
        let kind = if *decides { "is not reached" } else { "holds by other means" };
        let what = format!("{level} {kind}: {part}: {reason}");
        // What holds all the same is no trouble.
        if *decides && !remedy.is_empty() {
            Finding::warn(HERE, what, remedy.clone())
        } else if remedy.is_empty() {
            Finding::ok(HERE, what)
        } else {
            Finding::ok(HERE, format!("{what}; {remedy}"))
        }
    }));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn each_part_that_lacks_is_told_with_its_reason_and_what_would_help() {
        let lack = |decides, remedy: &str| Lack {
            level: SandboxLevel::Isolated,
            part: "user namespaces".to_owned(),
            reason: "EPERM".to_owned(),
            remedy: remedy.to_owned(),
            decides,
        };
        let found =
            judge(SandboxLevel::Landlock, &[lack(true, "sysctl x=1"), lack(false, "a watch")]);
        assert_eq!(found[0].level, Level::Warn);
        assert!(found[0].what.contains("level landlock"), "{found:?}");
        let told = "isolated is not reached: user namespaces: EPERM";
        assert_eq!((found[1].what.as_str(), found[1].fix.as_deref()), (told, Some("sysctl x=1")));
        assert_eq!((found[2].level, &found[2].fix), (Level::Ok, &None));
        assert!(found[2].what.ends_with("a watch"), "{found:?}");
        assert_eq!(judge(SandboxLevel::Isolated, &[])[0].level, Level::Ok);
        let asked = &judge(SandboxLevel::None, &[])[0];
        assert!(
            asked.fix.as_deref().is_some_and(|fix| fix.contains("SKYCLAW_SANDBOX")),
            "{asked:?}"
        );
    }

    #[test]
    fn hosts_are_judged_by_what_they_say() {
        let host = |name: &str, level: Option<&str>| {
            let mut host = json!({ "id": name, "name": name, "capabilities": [] });
            if let Some(level) = level {
                host["sandbox"] = json!(level);
            }
            host
        };
        let hosts = vec![host("a", Some("isolated")), host("b", Some("basic")), host("c", None)];
        let facts = Facts { hosts: Some(hosts), ..Facts::default() };
        let levels: Vec<Level> = check(&facts).iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Warn, Level::Warn]);
    }
}
