//! Whether coordinators take the token.

use super::Finding;
use super::facts::Facts;

const NAME: &str = "token";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let living = facts.coordinators.iter().filter(|coordinator| coordinator.lives());
    let judge = |coordinator: &super::facts::Coordinator| {
        let url = &coordinator.url;
        Some(match coordinator.inside.as_ref()?.status {
            200 if facts.no_token => Finding::warn(
                NAME,
                format!(
                    "{url} lets everybody in: whoever reaches it may do everything, and values of \
                     services' environments are kept in clear"
                ),
                "set SKYCLAW_TOKEN to the same secret on every node",
            ),
            200 => Finding::ok(NAME, format!("{url} lets this client in")),
            401 | 403 => Finding::fail(
                NAME,
                format!("{url} refuses this client"),
                "set SKYCLAW_TOKEN to the token of the coordinator",
            ),
            // It is said elsewhere that this is no coordinator.
            _ => return None,
        })
    };
    living.filter_map(judge).collect()
}
