//! Whether coordinators hear each other's gossip: of each topic, how many pass on to each of them.

use serde_json::Value;

use super::Finding;
use super::facts::Facts;

const NAME: &str = "gossip";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.statuses().filter_map(|(url, status)| judge(url, status)).collect()
}

fn judge(url: &str, status: &Value) -> Option<Finding> {
    // Originals count as connected, and do not gossip: those over libp2p are told apart.
    let others = status["reach"]["coordinators"].as_u64()?;
    let mesh = status["reach"]["mesh"].as_object().filter(|mesh| !mesh.is_empty())?;
    if others == 0 {
        return None;
    }
    let degree = |(topic, peers): (&String, &Value)| format!("{topic} {peers}");
    let degrees = mesh.iter().map(degree).collect::<Vec<_>>().join(", ");
    // Where jobs wait everybody may say; of the others at least one coordinator passes on.
    let dry: Vec<&str> =
        mesh.iter().filter(|(_, peers)| **peers == 0).map(|(topic, _)| topic.as_str()).collect();
    let deaf = status["reach"]["deaf"].as_u64().unwrap_or_default();
    let fix = "it mends itself within a minute, and repair brings what is missing; if it stays, start that \
               node again, and see `skyclaw peers`";
    Some(if !dry.is_empty() {
        let what = format!(
            "nobody passes {} on to {url} ({others} coordinators are connected)",
            dry.join(", ")
        );
        Finding::warn(NAME, what, fix)
    } else if deaf > 0 {
        Finding::warn(NAME, format!("{deaf} coordinators connected with {url} do not hear it"), fix)
    } else {
        Finding::ok(NAME, format!("{url} hears by so many: {degrees}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn a_topic_that_nobody_passes_on_is_named() {
        let judged = |others: u64, control: u64, deaf: u64| {
            let mesh = json!({ "control": control, "state": 2, "work": 2 });
            // Beside them there is always an original.
            let status = json!({ "coordinators": { "connected": others + 1 },
                "reach": { "mesh": mesh, "coordinators": others, "deaf": deaf } });
            judge("u", &status).map(|found| (found.level, found.what))
        };
        assert_eq!(judged(0, 0, 0), None, "alone there is nobody to hear");
        let well = "u hears by so many: control 1, state 2, work 2";
        assert_eq!(judged(2, 1, 0), Some((Level::Ok, well.to_owned())));
        let dry = "nobody passes control on to u (2 coordinators are connected)";
        assert_eq!(judged(2, 0, 0), Some((Level::Warn, dry.to_owned())));
        assert_eq!(judged(2, 1, 1).map(|(level, _)| level), Some(Level::Warn));
        let silent = json!({ "reach": { "mesh": {}, "coordinators": 1 } });
        assert_eq!(judge("u", &silent), None, "it does not gossip");
    }
}
