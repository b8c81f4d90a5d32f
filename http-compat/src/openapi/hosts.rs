//! Hosts: what they say of themselves, and how they get work.

use skyclaw_protocol::limits::{MAX_CLAIM_WAIT_MS, MAX_PARALLEL, MAX_TEXT_BYTES};

use super::jobs::{capabilities, level};
use super::operation::{Op, only, op};
use super::shape::{
    Shape, any, any_of, count, filled, flag, hash, id, list, may, moment, named, need, number,
    object, opt, text, trimmed_id,
};
use crate::json::orders::MAX_NAMED;

const TAG: &str = "hosts";
const MISSING: &str = "There is no such host.";

pub(super) fn host_id() -> Shape {
    id().such_as("host_00000000-0000-4000-8000-000000000000")
}

pub(super) fn null() -> Shape {
    any().rule("type", "null".into())
}

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    vec![
        of("GET", "/v1/hosts", "listHosts", "All hosts").answers(
            200,
            "They.",
            only("hosts", list(named("Host"))),
        ),
        of("GET", "/v1/hosts/:id", "getHost", "A host")
            .id(host_id())
            .answers(200, "It.", named("HostAnswer"))
            .missing(MISSING),
        of("GET", "/v1/hosts/:id/why", "whyHost", "Why a host gets no work, or what it does")
            .id(host_id())
            .answers(200, "The reason, in words.", only("why", named("Reason")))
            .missing(MISSING),
        of(
            "POST",
            "/v1/hosts/register",
            "registerHost",
            "Say that a host is there, and what it can do",
        )
        .body(named("Registration"))
        .once()
        .answers(200, "The host, with the id that it is to use.", named("HostAnswer"))
        .error(409, "The id is that of a host which another node speaks for."),
        of("DELETE", "/v1/hosts/:id", "removeHost", "Forget a host")
            .id(host_id())
            .reads()
            .once()
            .answers(200, "It is forgotten.", named("Ok"))
            .missing(MISSING)
            .error(409, "Another node speaks for it."),
        of("POST", "/v1/hosts/:id/heartbeat", "heartbeat", "Say that a host is alive")
            .more("What is not usable among its members is ignored.")
            .id(host_id())
            .any_body(named("Heartbeat"))
            .once()
            .answers(
                200,
                "The host; `ended` names what it runs and should not.",
                object([need("host", named("Host")), may("ended", list(text()))]),
            )
            .missing(MISSING)
            .error(409, "Another node speaks for it."),
        of("POST", "/v1/hosts/:id/claim", "claimJob", "Ask for a job to run")
            .more("The body may be anything.")
            .id(host_id())
            .header(
                "x-skyclaw-claim-wait-ms",
                count().at_most(MAX_CLAIM_WAIT_MS.into()),
                "How long to wait for one. What is no number asks for no wait.",
            )
            .any_body(object([opt(
                "without",
                capabilities().says("Jobs that need one of these are not wanted now."),
            )]))
            .once()
            .answers(
                200,
                "A job that is leased to it, or null.",
                only("job", any_of([named("Job"), null()])),
            )
            .with("x-skyclaw-claim-wait", "Claims can wait here.")
            .missing(MISSING)
            .error(409, "Another node speaks for it."),
        of("POST", "/v1/hosts/:id/services/claim", "claimService", "Ask for a service to run")
            .more("For hosts of the original.")
            .id(host_id())
            .reads()
            .once()
            .answers(
                200,
                "A service with the values of its `env`, or null.",
                only("service", any_of([named("Service"), null()])),
            )
            .missing(MISSING)
            .error(409, "Another node speaks for it."),
        of("POST", "/v1/hosts/:id/services/orders", "serviceOrders", "Ask what to run of services")
            .id(host_id())
            .any_body(named("OrdersQuestion"))
            .answers(200, "All that it is to run.", named("Orders"))
            .missing(MISSING)
            .error(409, "Another node speaks for it."),
    ]
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let openclaw = object([
        may("version", text()),
        may("node", text()),
        need("gateway", flag()),
        may("trouble", text()),
    ]);
    let host = object([
        need("id", text()),
        need("name", text()),
        need("capabilities", list(text())),
        need("maxParallel", number()),
        need("activeLeases", number()),
        need("lastSeenAt", moment()),
        need("registeredAt", moment()),
        need("updatedBy", text()),
        need("version", count()),
        may("openclaw", openclaw.says("What it says of its OpenClaw.")),
        may("sandbox", level().says("How far it keeps apart what it runs.")),
    ]);
    let registration = object([
        need("name", filled().longest(MAX_TEXT_BYTES)),
        opt("hostId", trimmed_id().says("One is made unless it is said.")),
        opt("capabilities", capabilities()),
        opt("maxParallel", number().at_most(MAX_PARALLEL).says("Less than 1 counts as 1.")),
        opt(
            "openclaw",
            any().says("`{version, node, gateway, trouble}`; what is not usable is ignored."),
        ),
    ]);
    let heartbeat = object([
        opt("activeLeases", any().says("How many jobs it runs: a number from 0 on.")),
        opt("leases", any().says("Which they are: a list of their ids.")),
    ]);
    let question = object([
        opt("running", list(id()).up_to(MAX_NAMED).says("Services that it runs.")),
        opt("mark", hash().says("`mark` of the answer before: wait until there is another one.")),
        opt("waitMs", super::shape::whole().says("How long.")),
    ]);
    let order = object([
        need("serviceId", text()),
        need("ver", any()),
        need("slot", count()),
        need("epoch", count()),
        need("generation", count()),
        need("name", text()),
        need("command", text()),
        need("args", list(text())),
        need("replicas", count()),
        need("requiredCapabilities", list(text())),
    ]);
    let over = object([need("id", any()), need("ver", any())]);
    vec![
        ("Host", host),
        ("HostAnswer", only("host", named("Host"))),
        ("Registration", registration),
        ("Heartbeat", heartbeat),
        ("OrdersQuestion", question),
        (
            "Orders",
            object([
                need(
                    "orders",
                    list(order.says("And the members of a service that say how it is run.")),
                ),
                need("over", list(over).says("Instances that are wanted no more.")),
                need("mark", hash()),
            ]),
        ),
    ]
}
