//! Other nodes: who is there, who may be, and a copy of this one.

use skyclaw_protocol::limits::{MAX_INVITE_LIFE_MS, MAX_INVITE_USES, MAX_TEXT_BYTES};
use skyclaw_protocol::network::Roles;

use super::operation::{Op, only, op};
use super::shape::{
    Shape, any_of, count, flag, list, may, moment, named, need, number, object, opt, short, text,
    whole, word,
};
use crate::routes::membership::MAX_ROLES;

const TAG: &str = "network";
const NO_TICKETS: &str =
    "This node or network cannot: it has no tickets, or is not the one to make them.";

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    vec![
        of("GET", "/v1/network", "showNetwork", "Nodes as libp2p knows them").answers(
            200,
            "They.",
            named("Network"),
        ),
        of("GET", "/v1/network/peers", "listPeers", "Urls of other coordinators").answers(
            200,
            "They.",
            named("Peers"),
        ),
        of(
            "GET",
            "/v1/network/peers/:id/metrics",
            "peerMetrics",
            "What another member counts, as it tells",
        )
        .id(text().shortest(1).such_as("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"))
        .answers_as(
            200,
            "Numbers, in the words of OpenMetrics.",
            "application/openmetrics-text",
            text(),
        )
        .missing("No such member is known here."),
        of("POST", "/v1/network/join", "joinNetwork", "Tell of a coordinator")
            .body(only("url", short(MAX_TEXT_BYTES).such_as("http://192.0.2.1:8787")))
            .answers(200, "It is known now.", named("Peers")),
        of(
            "POST",
            "/v1/network/forget",
            "forgetPeer",
            "Say that a coordinator of the original is gone for good",
        )
        .body(only("url", short(MAX_TEXT_BYTES).such_as("http://192.0.2.1:8787")))
        .answers(200, "It is forgotten.", named("Peers")),
        of("GET", "/v1/network/members", "listMembers", "Members of a network with tickets")
            .answers(200, "They.", only("members", list(named("Member"))))
            .error(409, NO_TICKETS),
        of("POST", "/v1/network/invites", "invite", "Make a ticket")
            .body(named("Invite"))
            .answers(200, "The ticket: whoever has it can use it.", named("Ticket"))
            .error(409, NO_TICKETS),
        of(
            "POST",
            "/v1/network/revocations",
            "revokeMember",
            "Take a ticket or a membership back, for good",
        )
        .body(any_of([
            object([need("peer", text().says("A peer's id."))]),
            object([need("serial", text().says("The serial of a ticket."))]),
        ]))
        .answers(
            200,
            "It does not count any more.",
            object([need("revoked", text()), need("revokedAt", moment())]),
        )
        .error(409, NO_TICKETS),
        of("POST", "/v1/backup", "backup", "Copy the database, beside itself").answers(
            200,
            "Where the copy lies, on the node's machine.",
            only("path", text()),
        ),
    ]
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let peer = object([
        need("peerId", text()),
        need("label", text()),
        need("roles", list(text())),
        may("url", text()),
        need("addresses", list(text())),
        need("connected", flag()),
        need("since", moment()),
        may("rttMs", number()),
        may("path", word(&["direct", "relayed"])),
        may("original", flag()),
        may("why", text()),
    ]);
    let refused = object([
        need("peerId", text()),
        need("address", text()),
        need("why", text()),
        need("by", word(&["them", "us"])),
        need("at", moment()),
    ]);
    let adopted = object([
        need("jobs", count()),
        need("services", count()),
        need("waiting", count()),
        need("complete", flag()),
    ]);
    vec![
        (
            "Network",
            object([
                need("nodeId", text()),
                may("peerId", text()),
                need("network", text()),
                need("addresses", list(text())),
                need("peers", list(peer)),
                need("refused", list(refused)),
            ]),
        ),
        (
            "Peers",
            object([
                may("ok", flag()),
                need("nodeId", text()),
                may("self", text()),
                need("peers", list(text())),
                may("left", text()),
                may("adopted", adopted),
            ]),
        ),
        (
            "Member",
            object([
                need("peerId", text()),
                may("label", text()),
                need("roles", list(text())),
                need("expiresAt", moment()),
                need("serial", text()),
                need("connected", flag()),
                may("lastSeenAt", moment()),
                may("revokedAt", moment()),
            ]),
        ),
        (
            "Invite",
            object([
                need("roles", list(word(&Roles::ALL.words())).not_empty().up_to(MAX_ROLES)),
                opt("expiresMs", whole().at_least(1000).at_most(MAX_INVITE_LIFE_MS)),
                opt("uses", whole().at_least(1).at_most(MAX_INVITE_USES.into())),
                opt("peer", text().says("The one that may use it.")),
            ]),
        ),
        (
            "Ticket",
            object([
                need("ticket", text()),
                need("network", text()),
                need("serial", text()),
                need("roles", list(text())),
                need("expiresAt", moment()),
                need("uses", count()),
            ]),
        ),
    ]
}
