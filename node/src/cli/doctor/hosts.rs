//! Whether anybody is there to run jobs.

use super::Finding;
use super::facts::Facts;
use skyclaw_http_compat::why::{age, alive, name};

const NAME: &str = "hosts";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(hosts) = &facts.hosts else { return Vec::new() };
    let living = hosts.iter().filter(|host| alive(host, facts.now)).count();
    let mut found = vec![if living > 0 {
        Finding::ok(NAME, format!("{living} of {} heard of lately", hosts.len()))
    } else {
        Finding::fail(
            NAME,
            "no host is there to run jobs",
            "start one: `skyclaw-node`, or `skyclaw-node --role host`",
        )
    }];
    for host in hosts.iter().filter(|host| !alive(host, facts.now)) {
        let seconds = age(host, facts.now).unwrap_or_default();
        found.push(Finding::warn(
            NAME,
            format!("{} was last heard of {seconds} s ago", name(host)),
            "start it again; if it is gone for good it is forgotten by itself",
        ));
    }
    found
}
