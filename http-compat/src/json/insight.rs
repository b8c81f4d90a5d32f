//! What a node knows beyond its records, as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{iso, number, put};
use crate::backend::{History, Keepers, Reach, Readiness, Report, Standing, StoreRoom};
use crate::receipt::peer_id;

/// The members of `GET /v1/jobs/:id/why` that say how the job came there.
pub(crate) fn history(history: &History) -> Value {
    json!({
        "reports": history.reports.iter().map(report).collect::<Value>(),
        "changedAt": iso(history.changed),
        "lost": history.lost,
        "failed": history.failed,
        "keepers": keepers(&history.keepers),
    })
}

fn report(report: &Report) -> Value {
    let mut map = Map::new();
    put(&mut map, "attempt", Some(report.attempt));
    put(&mut map, "hostId", Some(report.host.as_str()));
    put(&mut map, "success", Some(report.ok));
    put(&mut map, "at", Some(iso(report.at)));
    put(&mut map, "durationMs", report.duration.map(number));
    put(&mut map, "exitCode", report.exit_code);
    put(&mut map, "error", report.error.as_deref());
    Value::Object(map)
}

fn keepers(keepers: &Keepers) -> Value {
    json!({
        "home": peer_id(keepers.home),
        "leader": peer_id(keepers.leader),
        "round": keepers.round,
        "voters": keepers.voters.iter().map(|node| peer_id(*node)).collect::<Value>(),
        "quorum": keepers.quorum,
    })
}

/// `GET /v1/status`.
pub(crate) fn standing(name: &str, standing: &Standing, ready: &Readiness) -> Value {
    let reasons = match ready {
        Readiness::Ready => &[][..],
        Readiness::NotReady(reasons) => reasons,
    };
    let jobs = &standing.jobs;
    let mut map = Map::new();
    put(&mut map, "nodeId", Some(name));
    put(&mut map, "peerId", standing.node.map(peer_id));
    put(&mut map, "ready", Some(reasons.is_empty()));
    put(&mut map, "reasons", Some(json!(reasons)));
    let jobs = json!({ "queued": jobs.queued, "leased": jobs.leased, "completed": jobs.completed,
        "failed": jobs.failed, "undecided": jobs.undecided });
    put(&mut map, "jobs", Some(jobs));
    let others = json!({ "needed": standing.needed, "connected": standing.here });
    put(&mut map, "coordinators", Some(others));
    put(&mut map, "store", standing.store.map(room));
    let held = standing
        .held
        .as_ref()
        .map(|held| json!({ "records": held.records, "fingerprint": held.fingerprint }));
    put(&mut map, "held", held);
    put(&mut map, "reach", standing.reach.as_ref().map(reach));
    Value::Object(map)
}

fn room(room: StoreRoom) -> Value {
    let mut map = Map::new();
    put(&mut map, "bytes", room.bytes);
    put(&mut map, "freeBytes", room.free);
    put(&mut map, "low", Some(room.low));
    Value::Object(map)
}

fn reach(reach: &Reach) -> Value {
    let (punched, not_punched) = reach.punched;
    let mesh: Map<String, Value> =
        reach.mesh.iter().map(|(topic, peers)| (topic.clone(), json!(peers))).collect();
    json!({ "how": reach.how, "relays": reach.relays, "punched": punched,
        "notPunched": not_punched, "mesh": mesh, "coordinators": reach.coordinators,
        "deaf": reach.deaf })
}

/// Jobs on which the same nodes vote.
#[derive(Debug, Default)]
struct Group {
    jobs: usize,
    /// How many of them each node leads.
    leads: BTreeMap<String, usize>,
}

/// Who votes with whom, and who leads, of so many jobs: the largest groups first.
pub(crate) fn groups(all: &[Keepers]) -> Value {
    let mut groups: BTreeMap<(Vec<String>, u8), Group> = BTreeMap::new();
    for one in all {
        let mut voters: Vec<String> = one.voters.iter().map(|node| peer_id(*node)).collect();
        voters.sort();
        let group = groups.entry((voters, one.quorum)).or_default();
        group.jobs += 1;
        *group.leads.entry(peer_id(one.leader)).or_default() += 1;
    }
    let mut shown: Vec<_> = groups.into_iter().collect();
    shown.sort_by_key(|(_, group)| std::cmp::Reverse(group.jobs));
    let show = |((voters, quorum), group): ((Vec<String>, u8), Group)| json!({ "voters": voters, "quorum": quorum, "jobs": group.jobs, "leads": group.leads });
    shown.into_iter().map(show).collect()
}
