//! What is told of a job beyond itself: why it stands where it does, and what hosts signed of it.

use skyclaw_protocol::limits::MAX_COPIES;

use super::jobs::{files, level};
use super::shape::{
    Shape, any, count, flag, hash, list, may, moment, named, need, number, object, text, whole,
};

/// What is told of a service, a host or the way to a service.
fn gateway() -> Shape {
    let gone = object([
        need("instance", text()),
        need("slot", count()),
        need("hostId", text()),
        need("seconds", count().says("For how long still; at 0 the next call may try it.")),
        need("reason", text().says("What failed.")),
    ]);
    object([
        need("name", text()),
        need("words", text()),
        may("peerId", text()),
        may("knows", count().says("Instances in its table.")),
        may("tableAgeSeconds", count().says("Since it heard that this is its table.")),
        may("passesOver", list(gone).says("Instances that failed and did not answer since.")),
    ])
}

fn reason() -> Shape {
    let line = || list(object([need("name", text()), need("words", text())]));
    let rule = object([
        need("rule", text()),
        need("rejects", list(text()).says("Names of those that it keeps away.")),
        may("more", count().says("Those that are not named, as too many are.")),
    ]);
    object([
        need("kind", text()),
        need("id", text()),
        need("name", text()),
        need("status", text()),
        need("because", text().says("The reason, in one sentence.")),
        may("then", text().says("The nearest change that would help.")),
        may("undecided", undecided()),
        may(
            "decidedBy",
            text().says("Of a service: who leads it, where that is not who was asked."),
        ),
        may("rules", list(rule).says("The rules in their order.")),
        may("hosts", line()),
        may("moreHosts", count().says("Hosts that are not listed, as too many are.")),
        may("instances", line()),
        may(
            "gateways",
            list(gateway()).says("Of a route: its gateways, and what they told of it."),
        ),
    ])
}

/// Why nothing is decided for want of voters.
fn undecided() -> Shape {
    object([
        need(
            "away",
            any().says("Names of the voters that are not connected, or how many they are."),
        ),
        need("needed", count().says("Votes that decide.")),
        need("voters", count()),
    ])
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let host = object([
        need("id", text()),
        need("name", text()),
        need("missing", list(text())),
        need("full", flag()),
        may("silentSeconds", count()),
        may("hasRunIt", flag()),
        may("openclawTrouble", text()),
        may("words", text()),
    ]);
    let report = object([
        need("attempt", count()),
        need("hostId", text()),
        need("success", flag()),
        need("at", moment()),
        may("durationMs", number()),
        may("exitCode", whole()),
        may("error", text()),
    ]);
    let keepers = object([
        need("home", text()),
        need("leader", text()),
        need("round", count()),
        need("voters", list(text())),
        need("quorum", count()),
    ]);
    let history = object([
        need("reports", list(report)),
        need("changedAt", moment()),
        need("lost", count()),
        need("failed", count()),
        may("keepers", keepers),
    ]);
    let why = object([
        need("id", text()),
        need("status", text()),
        need("because", text().says("The reason, in one sentence.")),
        need("hosts", list(host).says("What keeps each host from it; of many the nearest.")),
        may("moreHosts", count().says("Hosts that are not listed, as too many are.")),
        may("then", text().says("The nearest change that would help.")),
        may(
            "leaseExpiresAt",
            moment()
                .says("While it is leased: about the latest end of that, unless it is renewed."),
        ),
        may("undecided", undecided()),
        may("history", history),
    ]);
    let receipt = object([
        need("version", count()),
        need("network", object([need("name", text()), need("id", text())])),
        need("job", text()),
        need("attempt", count()),
        may("spec", hash()),
        need("payload", hash()),
        need("host", text()),
        need("key", object([need("peerId", text()), need("ed25519", text())])),
        need("startedAt", moment()),
        need("endedAt", moment()),
        need("durationMs", number()),
        need("success", flag()),
        need("exitCode", whole()),
        may("error", hash()),
        need("stdout", hash()),
        need("stderr", hash()),
        need("outputs", files()),
        need("truncated", flag()),
        need("sandbox", level()),
        need("policy", hash()),
        may("agent", hash()),
        need("signature", text()),
    ]);
    vec![
        ("Why", why),
        ("Reason", reason()),
        (
            "Receipt",
            receipt.says("A host's signed word of what it ran: `skyclaw verify` checks it."),
        ),
        (
            "Receipts",
            object([
                may("receipt", named("Receipt")),
                may("receipts", list(named("Receipt")).up_to(MAX_COPIES.into())),
            ]),
        ),
    ]
}
