//! The node itself: whether it lives and is ready, how it does, its pages, what it is described by.

use super::operation::{Op, only, op};
use super::shape::{Shape, any, count, event, flag, list, map, may, named, need, object, text};

const TAG: &str = "node";

pub(super) fn ops() -> Vec<Op> {
    let of = |route, name, summary| op(TAG, ("GET", route), name, summary);
    vec![
        of("/healthz", "alive", "Whether the process answers")
            .answers(200, "It does.", named("Ok")),
        of("/readyz", "ready", "Whether the node can do its work")
            .answers(200, "It can.", named("Ok"))
            .answers(503, "It cannot, and why.", named("NotReady")),
        of("/metrics", "metrics", "Numbers, in the words of OpenMetrics")
            .answers_as(200, "All of them.", "application/openmetrics-text", text()),
        of("/health", "health", "The name of the node")
            .answers(200, "It answers.", named("Health")),
        of("/v1/status", "status", "Whether the node can do its work, and how many jobs stand where")
            .query("keepers", text(), "Anything but 0: who votes with whom on the newest jobs, too.")
            .query("hosts", text(), "Anything but 0: how hosts stand and why, too.")
            .answers(200, "How it stands.", named("Status")),
        of("/v1/events", "events", "What changes, as server-sent events")
            .more(
                "The first one is `hello`; after it, and after `missed`, read your lists again. \
                 `job`, `service` and `host` hold the record as it stands then, `gone` its kind and id.",
            )
            .query("kinds", text().like("^(job|service|host)(,(job|service|host))*$"),
                "Some of job, service, host, with commas between; all of them unless said.")
            .answers_as(200, "A stream that does not end.", "text/event-stream", event()),
        page(of("/", "dashboard", "The dashboard, for browsers"), &["text/html"])
            .missing("A page was not asked for."),
        file(of("/dashboard/:id", "dashboardFile", "A file of the dashboard")),
        file(of("/dashboard/views/:id", "dashboardView", "A view of the dashboard")),
        page(of("/docs", "docs", "This description, for people"), &["text/html"]),
        file(of("/docs/:id", "docsFile", "A file of the page that shows this description")),
        of("/openapi.json", "openapi", "This description")
            .answers(200, "OpenAPI 3.1.", any()).empty(304, "The one that the caller has."),
        of("/openapi/public.json", "publicOpenapi", "The description of the public API alone")
            .answers(200, "OpenAPI 3.1.", any()).empty(304, "The one that the caller has."),
    ]
}

fn page(of: Op, kinds: &[&str]) -> Op {
    of.answers_text(200, "It.", kinds).empty(304, "The one that the caller has.").error(
        401,
        "The token or key is missing or wrong: without it not even what is no file is told.",
    )
}

fn file(of: Op) -> Op {
    page(of.id(text().shortest(1)), &["text/html", "text/css", "text/javascript", "image/svg+xml"])
        .missing("There is no such file.")
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let reasons = || list(text().says("Why not, a sentence each."));
    vec![
        ("Error", only("error", text().says("What is wrong, and what to do."))),
        ("Ok", only("ok", flag())),
        (
            "NotReady",
            object([need("ok", flag()), need("error", text()), need("reasons", reasons())]),
        ),
        ("Health", object([need("ok", flag()), need("nodeId", text())])),
        (
            "Status",
            object([
                need("nodeId", text()),
                may("peerId", text()),
                need("ready", flag()),
                need("reasons", reasons()),
                need(
                    "jobs",
                    object(
                        ["queued", "leased", "completed", "failed", "undecided"]
                            .map(|name| need(name, count())),
                    ),
                ),
                need(
                    "coordinators",
                    object([need("needed", count()), need("connected", count())])
                        .says("Other coordinators: how many a write needs, and how many are here."),
                ),
                may(
                    "store",
                    object([may("bytes", count()), may("freeBytes", count()), need("low", flag())])
                        .says("The database, and the disk that it stands on."),
                ),
                may(
                    "held",
                    object([need("records", count()), need("fingerprint", text())]).says(
                        "What it holds: coordinators with the same fingerprint hold the same.",
                    ),
                ),
                may(
                    "reach",
                    object([
                        need("how", text().says("`public`, `near`, `loopback`, `relayed`, `unreached` or `unknown`.")),
                        need("relays", count()),
                        need("punched", count()),
                        need("notPunched", count()),
                        need("mesh", map(count())),
                        need("coordinators", count().says("Other coordinators that are connected.")),
                        need("deaf", count()),
                    ])
                    .says("How other nodes reach it, and who passes its gossip on."),
                ),
                may(
                    "hosts",
                    list(object([
                        need("id", text()),
                        need("status", text()),
                        need("because", text()),
                    ]))
                    .says("How each host stands, and why."),
                ),
                may("moreHosts", count().says("Hosts that were not looked at, as too many are.")),
                may(
                    "keepers",
                    object([
                        need("newestJobs", count()),
                        need(
                            "groups",
                            list(object([
                                need("voters", list(text())),
                                need("quorum", count()),
                                need("jobs", count()),
                                need("leads", map(count())),
                            ])),
                        ),
                    ]),
                ),
            ]),
        ),
    ]
}
