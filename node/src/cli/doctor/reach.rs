//! Whether others reach the coordinators over libp2p: what routers between them let through, and whether
//! there is a relay where they let nothing through.

use serde_json::Value;

use super::Finding;
use super::facts::Facts;

const NAME: &str = "reach";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.statuses().filter_map(|(url, status)| judge(url, &status["reach"])).collect()
}

fn judge(url: &str, reach: &Value) -> Option<Finding> {
    let relays = reach["relays"].as_u64()?;
    let punched = reach["punched"].as_u64().unwrap_or_default();
    let not_punched = reach["notPunched"].as_u64().unwrap_or_default();
    let open = "let its port through (SKYCLAW_P2P_LISTEN, TCP and UDP 4787), and say under which address \
                it is reached: SKYCLAW_P2P_EXTERNAL_ADDR";
    Some(match reach["how"].as_str()? {
        "public" => Finding::ok(NAME, format!("{url} is reached from everywhere")),
        "near" => Finding::ok(
            NAME,
            format!(
                "{url} is reached by its own network alone: its address there is a private one"
            ),
        ),
        "loopback" => Finding::ok(
            NAME,
            format!("{url} is reached by its own machine alone: it listens on loopback"),
        ),
        "relayed" if punched == 0 && not_punched > 0 => Finding::warn(
            NAME,
            format!(
                "{url} is behind a NAT that lets no hole be punched ({not_punched} attempts failed): it is \
                 reached through {relays} relays alone, which is slower"
            ),
            open,
        ),
        "relayed" => Finding::ok(
            NAME,
            format!(
                "{url} is behind a NAT, and reached through {relays} relays; {punched} connections \
                 became direct ones"
            ),
        ),
        "unreached" => Finding::warn(
            NAME,
            format!("{url} is behind a NAT or a firewall, and holds no place at a relay"),
            format!("{open}; or have one coordinator or gateway that everybody reaches"),
        ),
        _ => {
            Finding::ok(NAME, format!("{url} was called by nobody yet who says how it is reached"))
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn a_nat_without_a_way_through_is_told_with_what_helps() {
        let judged = |how: &str, relays: u64, not: u64| {
            let reach = json!({ "how": how, "relays": relays, "punched": 0, "notPunched": not });
            judge("u", &reach).map(|found| (found.level, found.what))
        };
        for how in ["public", "near", "loopback", "unknown"] {
            assert_eq!(judged(how, 0, 0).map(|(level, _)| level), Some(Level::Ok), "{how}");
        }
        let told = |how: &str| judged(how, 0, 0).map(|(_, what)| what).unwrap_or_default();
        assert_eq!(told("public"), "u is reached from everywhere");
        assert!(told("near").contains("by its own network alone"));
        assert!(told("loopback").contains("by its own machine alone"));
        let told = judged("unreached", 0, 0);
        assert!(told.as_ref().is_some_and(|(_, what)| what.contains("holds no place at a relay")));
        assert_eq!(told.map(|(level, _)| level), Some(Level::Warn));
        assert_eq!(judged("relayed", 2, 0).map(|(level, _)| level), Some(Level::Ok));
        let told = judged("relayed", 2, 3);
        assert!(
            told.is_some_and(|(level, what)| level == Level::Warn && what.contains("3 attempts"))
        );
        assert_eq!(judge("u", &Value::Null), None, "without libp2p there is nothing to say");
    }
}
