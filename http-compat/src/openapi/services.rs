//! Services: deploying them, seeing them, changing them, and what hosts report of them.

use skyclaw_protocol::limits::{MAX_REPLICAS, MAX_TEXT_BYTES};
use skyclaw_protocol::{OnPartition, ServiceStatus};

use super::jobs::{capabilities, level};
use super::operation::{Op, only, op};
use super::shape::{
    Shape, any_of, closed, count, event, filled, hash, id, list, map, may, moment, named, need,
    object, opt, short, startable, startable_filled, text, trimmed_id, variables, whole, word,
};
use crate::json::deploy::{MAX_BACKOFF_MS, MAX_INTERVAL_MS, MIN_BACKOFF_MS, MIN_INTERVAL_MS};
use crate::json::fields::MAX_EXACT;

const TAG: &str = "services";
const MISSING: &str = "There is no such service, or it is another's.";

pub(super) fn service_id() -> Shape {
    id().such_as("svc_00000000-0000-4000-8000-000000000000")
}

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    let details = |of: Op| {
        of.query(
            "details",
            text(),
            "Anything but 0: also which deployment it is, and what of the one before.",
        )
    };
    vec![
        details(of("POST", "/v1/services", "deployService", "Deploy a service"))
            .more("With the `serviceId` of one that is there it is replaced, instance by instance.")
            .body(named("ServiceRequest"))
            .once()
            .bounded()
            .answers(200, "The service.", named("ServiceAnswer"))
            .error(409, "The service of that id is somebody else's."),
        details(of("GET", "/v1/services", "listServices", "All services that the caller may see"))
            .answers(200, "They.", only("services", list(named("Service")))),
        details(of("GET", "/v1/services/:id", "getService", "A service"))
            .id(service_id())
            .answers(200, "It.", named("ServiceAnswer"))
            .missing(MISSING),
        details(of("PATCH", "/v1/services/:id", "changeService", "Change what is named, and nothing else"))
            .more("Null clears a member; in `env` the variables with null go. `replicas` alone leaves the instances in place.")
            .id(service_id())
            .body(named("ServiceChange"))
            .once()
            .bounded()
            .answers(200, "The service.", named("ServiceAnswer"))
            .missing(MISSING)
            .error(403, "The service is somebody else's."),
        of("DELETE", "/v1/services/:id", "removeService", "End a service everywhere")
            .id(service_id())
            .reads()
            .once()
            .answers(200, "It is removed.", named("Ok"))
            .missing(MISSING)
            .error(403, "The service is somebody else's."),
        of("POST", "/v1/services/:id/report", "reportService", "A host's report of an instance")
            .id(service_id())
            .body(named("ServiceReport"))
            .once()
            .answers(200, "The service.", named("ServiceAnswer"))
            .missing("There is no such service.")
            .error(409, "The host has no instance of it."),
        of("GET", "/v1/services/:id/why", "whyService", "Why fewer instances run than are wanted")
            .id(service_id())
            .answers(200, "The reason, in words.", only("why", named("Reason")))
            .missing(MISSING),
        of("GET", "/v1/services/:id/routes/why", "whyRoute", "Whether a call through a gateway gets to it")
            .id(service_id())
            .answers(200, "The reason, in words.", only("why", named("Reason")))
            .missing(MISSING),
        of("GET", "/v1/services/:id/logs", "serviceLogs", "What its instances write, as server-sent events")
            .more("A line each, `{at, stream, line, replica, host, epoch, number}`; what else is to be known is a `note`, `{message}`. Lines of an instance (`epoch`) have numbers, each one more than the one before: whoever reads on passes over those up to the last one. Only that lines were dropped is told without one.")
            .id(service_id())
            .query("follow", word(&["1", "0", "true", "false"]), "Go on with what is written later.")
            .query("tail", count().at_most(u32::MAX.into()), "Lines of each instance to begin with; 100 unless said.")
            .query("replica", count().at_most(u32::MAX.into()), "Of this instance alone.")
            .answers_as(200, "The lines.", "text/event-stream", event())
            .missing(MISSING),
    ]
}

fn health() -> Shape {
    closed([
        need("path", short(MAX_TEXT_BYTES).like(r#"^/[!-"$-~]*$"#)),
        opt("intervalMs", whole().at_least(MIN_INTERVAL_MS).at_most(MAX_INTERVAL_MS)),
    ])
    .says("An instance can serve once `GET path` answers below 500.")
}

fn restart() -> Shape {
    closed([need("backoffMs", whole().at_least(MIN_BACKOFF_MS).at_most(MAX_BACKOFF_MS))])
        .says("First pause before an instance that ended is started again.")
}

fn update() -> Shape {
    closed([opt("strategy", word(&["rolling"]))])
}

fn on_partition() -> Shape {
    word(&[OnPartition::Keep.as_str(), OnPartition::Stop.as_str()])
        .says("What an instance does whose host reaches no coordinator.")
}

fn network() -> Shape {
    word(&["none", "any"]).says("What it is to reach.")
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let request = object([
        need("name", filled().longest(MAX_TEXT_BYTES)),
        need("command", startable_filled()),
        opt("serviceId", trimmed_id().says("One is made unless it is said.")),
        opt("args", list(startable())),
        opt("cwd", startable()),
        opt(
            "env",
            variables(startable()).says(
                "Answers show `***` for each value; to send that keeps the one that is there.",
            ),
        ),
        opt(
            "replicas",
            whole().at_most(MAX_REPLICAS.into()).says("Instances; less than 1 counts as 1."),
        ),
        opt("requiredCapabilities", capabilities()),
        opt("bundle", hash().says("Its code, as `putBlob` answered it.")),
        opt("health", health()),
        opt("restart", restart()),
        opt("onPartition", on_partition()),
        opt("update", update()),
        opt("sandbox", level().says("The weakest level at which it may be run.")),
        opt("network", network()),
    ]);
    let change = closed([
        may("name", filled().longest(MAX_TEXT_BYTES)),
        may("command", startable_filled()),
        may("args", list(startable())),
        opt("cwd", startable()),
        opt("env", variables(any_of([startable(), super::hosts::null()]))),
        may("replicas", whole().at_least(1).at_most(MAX_REPLICAS.into())),
        may("requiredCapabilities", capabilities()),
        opt("bundle", hash()),
        opt("health", health()),
        opt("restart", restart()),
        opt("onPartition", on_partition()),
        opt("update", update()),
        opt("network", network()),
    ])
    .not_empty();
    let all = [ServiceStatus::Pending, ServiceStatus::Running, ServiceStatus::Failed];
    let statuses = || word(&all.map(ServiceStatus::as_str));
    let report = object([
        opt("hostId", id()),
        need("status", statuses()),
        opt(
            "endpoint",
            short(MAX_TEXT_BYTES)
                .says("The url of the instance, at an address of the host itself."),
        ),
        opt("error", text()),
        opt("epoch", count().at_most(MAX_EXACT)),
    ]);
    let assignment = object([
        need("hostId", text()),
        need("status", statuses()),
        need("updatedAt", moment()),
        may("endpoint", text()),
        may("error", text()),
        may("startedAt", moment()),
        may("slot", count()),
        may("epoch", count()),
        may("generation", count()),
        may("node", text()),
    ]);
    let service = object([
        need("id", text()),
        need("name", text()),
        need("command", text()),
        need("args", list(text())),
        may("cwd", text()),
        may("env", map(text())),
        need("replicas", count()),
        need("requiredCapabilities", list(text())),
        may("bundle", hash()),
        may("health", object([need("path", text()), need("intervalMs", count())])),
        may("restart", only("backoffMs", count())),
        may("onPartition", on_partition()),
        may("network", network()),
        need("status", statuses()),
        need("createdAt", moment()),
        need("updatedAt", moment()),
        need("updatedBy", text()),
        may("owner", text()),
        need("version", count()),
        need("assignments", list(assignment)),
        may("generation", count()),
        may("previousGeneration", count()),
        may(
            "reverted",
            object([need("generation", count()), need("error", text()), need("at", moment())]),
        ),
    ]);
    vec![
        ("ServiceRequest", request),
        ("ServiceChange", change),
        ("ServiceReport", report),
        ("Service", service),
        ("ServiceAnswer", only("service", named("Service"))),
    ]
}
