//! What of ours an original is to be pushed, from what it shows and what is held here. Pure.
//!
//! Always: nothing is pushed that it holds already; of its own records nothing but what this
//! network took over; what it says has ended stays so. Records that it does not take rest.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use serde_json::Value;
use skyclaw_http_compat::snapshot::Kind;
use skyclaw_protocol::clock::Hlc;

use super::limits::{BATCH, MOST_JOBS, TRIES, TRY_AGAIN};

/// A record of this network as it stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The number it shows.
    pub(super) version: u64,
    /// When it was made.
    pub(super) created: Hlc,
    /// What has become of it.
    pub(super) state: State,
}

/// What has become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It lives.
    Live,
    /// A job that has ended.
    Ended,
    /// It was removed, or its content was: who has it is told, who does not is not.
    Gone,
    /// Originals have no use for it: a host that does not talk HTTP.
    Private,
}

/// The same as an original shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The number it shows.
    pub(super) version: u64,
    /// A job that has ended.
    pub(super) ended: bool,
    /// It was written by a coordinator of this network.
    pub(super) exported: bool,
}

/// Records by kind and id.
#[derive(Debug)]
pub(super) struct Table<T>([HashMap<String, T>; 3]);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self([HashMap::new(), HashMap::new(), HashMap::new()])
    }
}

impl<T> Table<T> {
    pub(super) const fn of(&self, kind: Kind) -> &HashMap<String, T> {
        match kind {
            Kind::Host => &self.0[0],
            Kind::Job => &self.0[1],
            Kind::Service => &self.0[2],
        }
    }

    pub(super) const fn of_mut(&mut self, kind: Kind) -> &mut HashMap<String, T> {
        match kind {
            Kind::Host => &mut self.0[0],
            Kind::Job => &mut self.0[1],
            Kind::Service => &mut self.0[2],
        }
    }
}

/// A record to be pushed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Want {
    /// The oldest first.
    pub(super) created: Hlc,
    pub(super) id: String,
    /// The number to show: above what the original holds.
    pub(super) version: u64,
    pub(super) kind: Kind,
}

/// The number under which `ours` is to be pushed; none if it is not to be.
fn needed(kind: Kind, ours: Entry, seen: Option<Seen>) -> Option<u64> {
    let Some(seen) = seen else {
        return matches!(ours.state, State::Live | State::Ended).then_some(ours.version);
    };
    let above = ours.version.max(seen.version + 1);
    match (kind, ours.state) {
        (_, State::Private) => None,
        // Its end is told, and that it was taken over.
        (Kind::Job, State::Ended | State::Gone) => (!seen.ended).then_some(above),
        (Kind::Job, State::Live) => (!seen.ended && !seen.exported).then_some(above),
        // Of equal ids each side keeps its own.
        (Kind::Host, State::Gone) => None,
        (Kind::Host | Kind::Service, _) => {
            (seen.exported && seen.version < ours.version).then_some(ours.version)
        }
    }
}

/// Everything that is missing there, or older, without what rests.
pub(super) fn missing(
    ours: &Table<Entry>,
    shown: &Table<Seen>,
    tries: &mut Tries,
    now: Instant,
) -> Vec<Want> {
    let mut wants = Vec::new();
    let oldest = oldest_ended(ours.of(Kind::Job));
    for kind in Kind::ALL {
        let seen = shown.of(kind);
        for (id, entry) in ours.of(kind) {
            let seen = seen.get(id).copied();
            let left_out = entry.state == State::Ended && entry.created < oldest;
            let version = needed(kind, *entry, seen).filter(|_| seen.is_some() || !left_out);
            if let Some(version) = version {
                wants.push(Want { created: entry.created, id: id.clone(), version, kind });
            }
        }
    }
    tries.keep(&wants);
    wants.retain(|want| tries.may(want, now));
    wants.sort_unstable_by(|a, b| (a.kind, a).cmp(&(b.kind, b)));
    wants
}

/// Ended jobs made before this are left out.
fn oldest_ended(jobs: &HashMap<String, Entry>) -> Hlc {
    let Some(over) = jobs.len().checked_sub(MOST_JOBS).filter(|over| *over > 0) else {
        return Hlc::default();
    };
    let ended = jobs.values().filter(|job| job.state == State::Ended);
    let mut made: Vec<Hlc> = ended.map(|job| job.created).collect();
    made.sort_unstable();
    made.get(over.min(made.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// What was pushed and is still missing.
#[derive(Debug, Default)]
pub(super) struct Tries(HashMap<(Kind, String), (u8, Instant)>);

impl Tries {
    /// These are still missing; the rest is forgotten.
    fn keep(&mut self, wants: &[Want]) {
        if self.0.is_empty() {
            return;
        }
        let missing: HashSet<(Kind, &str)> =
            wants.iter().map(|want| (want.kind, want.id.as_str())).collect();
        self.0.retain(|(kind, id), _| missing.contains(&(*kind, id.as_str())));
    }

    fn may(&self, want: &Want, now: Instant) -> bool {
        let key = (want.kind, want.id.clone());
        self.0.get(&key).is_none_or(|(count, last)| {
            *count < TRIES || now.saturating_duration_since(*last) >= TRY_AGAIN
        })
    }

    /// It was pushed.
    pub(super) fn pushed(&mut self, want: &Want, now: Instant) {
        let (count, last) = self.0.entry((want.kind, want.id.clone())).or_insert((0, now));
        *count = count.saturating_add(1);
        *last = now;
    }

    /// Records that are pushed seldom, since the original does not take them.
    pub(super) fn resting(&self) -> usize {
        self.0.values().filter(|(count, _)| *count >= TRIES).count()
    }
}

/// Records on their way in one push.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) hosts: Vec<Value>,
    pub(super) jobs: Vec<Value>,
    pub(super) services: Vec<Value>,
    /// What it is made of.
    pub(super) wants: Vec<Want>,
    bytes: usize,
}

impl Batch {
    /// Whether another record of that size is to go with the next one.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        let some = !self.wants.is_empty();
        some && (self.wants.len() >= BATCH.0 || self.bytes.saturating_add(bytes) > BATCH.1)
    }

    pub(super) fn add(&mut self, want: Want, record: Value, bytes: usize) {
        match want.kind {
            Kind::Host => self.hosts.push(record),
            Kind::Job => self.jobs.push(record),
            Kind::Service => self.services.push(record),
        }
        self.bytes += bytes;
        self.wants.push(want);
    }
}
