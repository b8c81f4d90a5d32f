//! What an original shows, as far as it is about this network. Pure.
//!
//! Always: a record is read only as far as needed; one that cannot be read counts as absent.

use skyclaw_http_compat::snapshot::{self, Kind, Malformed};
use skyclaw_protocol::JobView;
use skyclaw_protocol::clock::Wall;

use super::diff::{Entry, Seen, Table};
use super::limits::MOST_CLAIMED;

/// Of one answer to `GET /v1/state`.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The name that the original goes by.
    pub(super) node: Option<String>,
    /// Its records that this network wrote, or whose ids are ours.
    pub(super) seen: Table<Seen>,
    /// Its unfinished jobs that it gave to this node and that are not ours yet.
    pub(super) claimed: Vec<JobView>,
    /// How many records it shows.
    pub(super) records: usize,
}

/// Reads `body`. `holders` is how the ids of the hosts begin under which this node claims.
pub(super) fn read(
    body: &[u8],
    network: &str,
    ours: &Table<Entry>,
    holders: &str,
    now: Wall,
) -> Result<Shown, Malformed> {
    // Of a caller that would be an empty object; of a coordinator it is an answer that broke off.
    if body.trim_ascii().is_empty() {
        return Err(Malformed::BadJson("it is empty".into()));
    }
    let mut shown = Shown::default();
    let node = snapshot::visit(body, |kind, raw| {
        shown.records += 1;
        let Ok(stamp) = snapshot::stamp(kind, raw) else { return };
        let exported = stamp.exported.as_deref() == Some(network);
        // What was pushed and is not decided here yet is asked for, too.
        if exported || ours.of(kind).contains_key(&stamp.id) {
            let (version, ended) = (stamp.standing.version, stamp.standing.ended);
            shown.seen.of_mut(kind).insert(stamp.id, Seen { version, ended, exported });
            return;
        }
        let mine = kind == Kind::Job
            && stamp.exported.is_none()
            && !stamp.standing.ended
            && raw.contains(holders)
            && shown.claimed.len() < MOST_CLAIMED;
        if let (true, Ok(job)) = (mine, snapshot::job(raw, now)) {
            let holder = job.view.assigned_host.as_ref();
            if holder.is_some_and(|host| host.as_str().starts_with(holders)) {
                shown.claimed.push(job.view);
            }
        }
    })?;
    shown.node = node;
    Ok(shown)
}
