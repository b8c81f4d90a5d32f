//! Principals: names under which others use the API, within bounds.

use skyclaw_protocol::principal::Scope;

use super::operation::{Op, only, op};
use super::shape::{
    Shape, closed, count, list, may, moment, named, need, object, opt, text, trimmed, whole, word,
};
use crate::json::principal::{MAX_BYTES_PER_DAY, MAX_LIFE_MS};

const TAG: &str = "principals";

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    vec![
        of("GET", "/v1/principals", "listPrincipals", "All of them, those that were revoked, too")
            .answers(200, "They; never their keys.", only("principals", list(named("Principal")))),
        of("POST", "/v1/principals", "makePrincipal", "Make one, with its key")
            .body(named("PrincipalRequest"))
            .answers(
                200,
                "The principal, and its key, which is shown this once.",
                object([need("principal", named("Principal")), need("key", text())]),
            )
            .error(409, "One of that name exists."),
        of("DELETE", "/v1/principals/:id", "revokePrincipal", "Take a key back, everywhere")
            .id(text().shortest(1).says("Its name or its id."))
            .answers(200, "The principal.", only("principal", named("Principal")))
            .missing("There is no such principal."),
    ]
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let scopes = || list(word(&Scope::ALL.map(Scope::as_str)));
    let bound = || whole().at_least(1).at_most(u32::MAX.into());
    let quotas = closed([
        opt("queued", bound().says("Jobs that wait, in the whole network.")),
        opt("running", bound().says("Jobs that run, in the whole network.")),
        opt("perMinute", bound().says("Submissions and deployments, at one coordinator.")),
        opt(
            "bytesPerDay",
            whole()
                .at_least(1)
                .at_most(MAX_BYTES_PER_DAY)
                .says("Payloads and files, at one coordinator."),
        ),
    ]);
    let shown =
        object(["queued", "running", "perMinute", "bytesPerDay"].map(|name| may(name, count())));
    vec![
        (
            "PrincipalRequest",
            closed([
                need("name", trimmed("[A-Za-z0-9._-]{1,64}").such_as("ci")),
                need("scopes", scopes().not_empty()),
                opt("quotas", quotas),
                opt("expiresInMs", whole().at_least(1).at_most(MAX_LIFE_MS)),
            ]),
        ),
        (
            "Principal",
            object([
                need("id", text()),
                need("name", text()),
                need("scopes", scopes()),
                may("quotas", shown),
                need("createdAt", moment()),
                need("createdBy", text()),
                may("expiresAt", moment()),
                may("revokedAt", moment()),
            ]),
        ),
    ]
}
