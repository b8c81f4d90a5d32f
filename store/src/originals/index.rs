//! What is known of all records without the disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use skyclaw_protocol::JobStatus;
use skyclaw_protocol::clock::Wall;

use super::row::{Class, Held, Mark, Standing, has_ended, is_over};

/// Records that were not taken and are remembered as such; all are forgotten when there are more.
const MAX_JUDGED: usize = 300_000;

/// A job in the list by creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// When it was made.
    pub created: Wall,
    /// Its id.
    pub id: Arc<str>,
    /// How it stands.
    pub status: JobStatus,
}

/// A job that waits at originals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// When it was made.
    pub created: Wall,
    /// Its id.
    pub id: Arc<str>,
    /// What a host must be able to do.
    pub required: Arc<[String]>,
}

#[derive(Debug)]
struct Entry {
    created: Wall,
    updated: Wall,
    version: u64,
    status: Option<JobStatus>,
    mark: Mark,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    rows: HashMap<Box<[u8]>, Entry>,
    jobs: BTreeMap<(Wall, Arc<str>), JobStatus>,
    queued: BTreeMap<(Wall, Arc<str>), Arc<[String]>>,
    counts: [usize; 3],
    bytes: u64,
    /// Of what is held.
    marks: HashSet<Mark>,
    /// Of what was not taken, and will not be.
    judged: HashSet<Mark>,
    highest: u64,
}

const fn slot(class: Class) -> usize {
    match class {
        Class::Host => 0,
        Class::Job => 1,
        Class::Service => 2,
    }
}

/// The class and id of a key; keys are made of texts.
fn parts(key: &[u8]) -> Option<(Class, &str)> {
    let (code, id) = key.split_first()?;
    Some((Class::parse(*code)?, std::str::from_utf8(id).ok()?))
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn knows(&self, mark: &Mark) -> bool {
        self.marks.contains(mark) || self.judged.contains(mark)
    }

    pub(super) fn judge(&mut self, marks: Vec<Mark>) {
        if self.judged.len() + marks.len() > MAX_JUDGED {
            self.judged.clear();
        }
        self.judged.extend(marks.into_iter().take(MAX_JUDGED));
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.rows.contains_key(key)
    }

    /// How long the held record is.
    pub(super) fn bytes_of(&self, key: &[u8]) -> Option<u64> {
        Some(self.rows.get(key)?.bytes as u64)
    }

    /// How the held record stands, without the name.
    pub(super) fn standing(&self, key: &[u8]) -> Option<Standing> {
        let held = self.rows.get(key)?;
        let ended = held.status.is_some_and(has_ended);
        let (version, updated) = (held.version, held.updated);
        Some(Standing { ended, version, updated, by: String::new() })
    }

    pub(super) fn put(&mut self, key: &[u8], record: &Held) {
        self.remove(key);
        let mark = record.mark();
        let entry = Entry {
            created: record.created,
            updated: record.updated,
            version: record.version,
            status: record.status,
            mark,
            bytes: record.raw.len(),
        };
        if let Some(status) = record.status {
            let place = (record.created, Arc::from(record.id.as_str()));
            if status == JobStatus::Queued {
                self.queued.insert(place.clone(), record.required.as_slice().into());
            }
            self.jobs.insert(place, status);
        }
        self.counts[slot(record.class)] += 1;
        self.bytes += entry.bytes as u64;
        self.highest = self.highest.max(record.version);
        self.marks.insert(mark);
        self.rows.insert(key.into(), entry);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        let Some(entry) = self.rows.remove(key) else { return };
        self.marks.remove(&entry.mark);
        self.bytes -= entry.bytes as u64;
        let Some((class, id)) = parts(key) else { return };
        self.counts[slot(class)] -= 1;
        if entry.status.is_some() {
            let place = (entry.created, Arc::from(id));
            self.jobs.remove(&place);
            self.queued.remove(&place);
        }
    }

    /// Keys of jobs that ended too long ago.
    pub(super) fn over(&self, now: Wall, retention_ms: u64) -> Vec<Vec<u8>> {
        let over = |held: &Entry| is_over(held.status, held.updated, now, retention_ms);
        let found = self.rows.iter().filter(|(_, held)| over(held));
        found.map(|(key, _)| key.to_vec()).collect()
    }

    pub(super) fn places(
        &self,
        after: Option<(Wall, &str)>,
        newest_first: bool,
        limit: usize,
        wanted: impl Fn(JobStatus) -> bool,
    ) -> Vec<Place> {
        let edge = after.map_or(Bound::Unbounded, |(at, id)| Bound::Excluded((at, Arc::from(id))));
        let place = |(at, status): (&(Wall, Arc<str>), &JobStatus)| {
            let (created, id) = at.clone();
            Place { created, id, status: *status }
        };
        let fits = |(_, status): &(&(Wall, Arc<str>), &JobStatus)| wanted(**status);
        if newest_first {
            let range = self.jobs.range((Bound::Unbounded, edge)).rev();
            range.filter(fits).take(limit).map(place).collect()
        } else {
            let range = self.jobs.range((edge, Bound::Unbounded));
            range.filter(fits).take(limit).map(place).collect()
        }
    }

    pub(super) fn status(&self, key: &[u8]) -> Option<JobStatus> {
        self.rows.get(key)?.status
    }

    pub(super) fn queued(&self) -> Vec<Queued> {
        let queued = self.queued.iter();
        queued
            .map(|((created, id), required)| Queued {
                created: *created,
                id: Arc::clone(id),
                required: Arc::clone(required),
            })
            .collect()
    }

    pub(super) const fn count(&self, class: Class) -> usize {
        self.counts[slot(class)]
    }

    pub(super) const fn highest_version(&self) -> u64 {
        self.highest
    }
}
