//! The rows of the table: what is done, by whom.

mod crowd;
mod gateway;
mod held;
mod jobs;
mod queue;

use skyclaw_tests::{Node, Setup};

use crate::Plan;
use crate::report::Report;

/// One piece of work that contenders do in turns.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measure: fn(&Plan, &mut Report),
}

/// All of them.
pub(crate) const ROWS: [Row; 11] = [
    Row { name: "enqueue", what: "durable enqueue, 1, 16 and 64 clients", measure: queue::enqueue },
    Row { name: "cycle", what: "enqueue, claim, complete, 64 clients", measure: queue::cycle },
    Row { name: "sync", what: "enqueue at one client beside one fdatasync", measure: queue::sync },
    Row { name: "copies", what: "enqueue on two disks beside one", measure: queue::copies },
    Row {
        name: "jobs",
        what: "`true` from submission to its end, and queued",
        measure: jobs::measure,
    },
    Row { name: "output", what: "a thousand jobs that write 1 MiB each", measure: jobs::output },
    Row { name: "gateway", what: "pages of 100 B and 64 KiB", measure: gateway::direct },
    Row { name: "tunnel", what: "the same over libp2p to a host", measure: gateway::tunnel },
    Row { name: "held", what: "enqueue, memory and start with jobs held", measure: held::measure },
    Row {
        name: "crowd",
        what: "64 nodes here, or --nodes, and a third of them dies",
        measure: crowd::measure,
    },
    Row { name: "size", what: "an idle node, and the program", measure: held::size },
];

/// What lets clients in, and nodes into the network.
const TOKEN: &str = "secret";

/// A coordinator by itself.
fn coordinator() -> Node {
    Setup::coordinator().env("SKYCLAW_TOKEN", TOKEN).start()
}

/// A client's part of the processor is small; the servers get what is left.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts")
}
