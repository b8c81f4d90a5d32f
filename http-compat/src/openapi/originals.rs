//! What coordinators of the original ask of one another, and taking over what one kept.

use super::operation::{Op, op};
use super::shape::{Shape, a_part, any, count, flag, list, may, named, need, object, opt, text};

const TAG: &str = "originals";

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    vec![
        of("GET", "/v1/state", "showState", "Everything that this node knows, at once").answers(
            200,
            "It.",
            object([
                need("nodeId", text()),
                need("hosts", list(named("Host"))),
                need("jobs", list(named("Job"))),
                need("services", list(named("Service"))),
                a_part(),
            ]),
        ),
        of(
            "POST",
            "/v1/replicate/snapshot",
            "replicate",
            "Take what a coordinator of the original has",
        )
        .more("Records that cannot be are refused alone.")
        .any_body(named("Snapshot"))
        .answers(
            200,
            "What could be was taken.",
            object([need("ok", flag()), need("changed", flag()), need("nodeId", text())]),
        ),
        of("POST", "/v1/import", "importRecords", "Take over what an original kept, a page of it")
            .body(named("ImportPage"))
            .answers(200, "What became of each record.", named("Imported")),
    ]
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let tally = || {
        object([
            need("hosts", count()),
            need("jobs", count()),
            need("services", count()),
            need("idempotency", count()),
        ])
    };
    let records =
        || list(any()).says("Records as the original writes them; what is none is refused alone.");
    vec![
        (
            "Snapshot",
            object([opt("hosts", records()), opt("jobs", records()), opt("services", records())]),
        ),
        (
            "ImportPage",
            object([
                may("hosts", records()),
                may("jobs", records()),
                may("services", records()),
                may(
                    "idempotency",
                    list(any()).says("Answers that it remembers, as its database has them."),
                ),
                may("dryRun", flag().says("Only say what would be taken.")),
                may("running", flag().says("Take jobs whose lease has not run out, too.")),
            ]),
        ),
        (
            "Imported",
            object([
                need("taken", tally()),
                need("known", tally()),
                need("old", tally()),
                need("left", tally()),
                need("waiting", list(object([need("id", text()), need("ms", count())]))),
                need(
                    "refused",
                    list(object([need("kind", text()), may("id", text()), need("why", text())])),
                ),
            ]),
        ),
    ]
}
