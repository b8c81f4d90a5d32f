//! One merge: what is new of a body, in portions.

use std::sync::atomic::Ordering;

use skyclaw_http_compat::snapshot::{self, Kind, Reason, Refused, Standing};
use skyclaw_protocol::JobStatus;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{JobId, ServiceId};
use skyclaw_store::originals::{Class, Held, Mark, Originals as Store, mark};

use super::{MAX_REFUSED, MergeError, Merged, Originals};
use crate::engine::chain;
use crate::time;

/// Bytes of records that are looked at together.
const PORTION: usize = 4 << 20;

/// Records that the same.
const PORTION_RECORDS: usize = 4096;

/// The word under which records are counted for which there is no room.
pub(super) const FULL: &str = "full";

impl Originals {
    pub(super) fn merge_now(&self, body: &[u8]) -> Result<Merged, MergeError> {
        let mut records = Vec::new();
        let node_id = snapshot::visit(body, |kind, raw| records.push((kind, raw)))?;
        let store = self.opened().map_err(MergeError::Store)?;
        let mut merged = Merged { node_id, ..Merged::default() };
        let done = Portion { originals: self, store: &store, now: time::wall() }
            .take_all(records, &mut merged);
        self.0.numbers.merged(&merged);
        self.0.highest.fetch_max(merged.highest_version, Ordering::Relaxed);
        merged.highest_version = self.highest_version();
        // Also what was taken before it failed.
        if merged.changed > 0 {
            self.changed();
        }
        done.map(|()| merged)
    }

    /// Counts a refusal once for each record; whether it may be remembered.
    fn refuse(&self, merged: &mut Merged, mark: Mark, refused: &Refused) {
        let word = refused.reason.as_str();
        *merged.refused.entry(word).or_default() += 1;
        // What is ahead of the clock may be fine tomorrow.
        if refused.reason == Reason::Ahead {
            return self.0.numbers.refused(word);
        }
        let mut known = self.refusals();
        if known.len() >= MAX_REFUSED {
            known.clear();
        }
        if known.insert(mark, refused.reason).is_none() {
            self.0.numbers.refused(word);
            tracing::debug!(%refused, "a record of an original is refused");
        }
    }

    /// For each id whether it is a register here; hosts have none.
    pub(super) fn are_own<'i>(
        &self,
        ids: impl IntoIterator<Item = (Class, &'i str)>,
    ) -> Result<Vec<bool>, String> {
        let reader = self.0.own.reader().ok_or("the store is being opened")?;
        let subject = |(class, id): (Class, &str)| match class {
            Class::Host => None,
            Class::Job => JobId::new(id).ok().map(Subject::Job),
            Class::Service => ServiceId::new(id).ok().map(Subject::Service),
        };
        let subjects: Vec<Option<Subject>> = ids.into_iter().map(subject).collect();
        let known = reader.known(subjects.iter().flatten()).map_err(|error| chain(&error))?;
        let mut known = known.into_iter();
        Ok(subjects.iter().map(|one| one.is_some() && known.next() == Some(true)).collect())
    }
}

struct Portion<'a> {
    originals: &'a Originals,
    store: &'a Store,
    now: Wall,
}

impl Portion<'_> {
    fn take_all(&self, records: Vec<(Kind, &str)>, merged: &mut Merged) -> Result<(), MergeError> {
        let mut fresh = self.fresh(records, merged);
        // In the order of the file: each portion then changes pages of its own, where in any other
        // it would write most of the file again.
        fresh.sort_unstable();
        let (mut portion, mut bytes) = (Vec::new(), 0);
        for (kind, _, raw) in fresh {
            let Some(record) = self.read(kind, raw, merged) else { continue };
            bytes += record.raw.len();
            portion.push(record);
            if bytes >= PORTION || portion.len() >= PORTION_RECORDS {
                self.take(std::mem::take(&mut portion), merged)?;
                bytes = 0;
            }
        }
        self.take(portion, merged)
    }

    /// The records that may be new, with their ids.
    fn fresh<'r>(
        &self,
        records: Vec<(Kind, &'r str)>,
        merged: &mut Merged,
    ) -> Vec<(Kind, String, &'r str)> {
        let mut fresh = Vec::new();
        for (kind, raw) in records {
            let mark = mark(class_of(kind), raw.as_bytes());
            if self.store.knows(&mark) {
                merged.held += 1;
                continue;
            }
            if let Some(reason) = self.originals.refusals().get(&mark) {
                *merged.refused.entry(reason.as_str()).or_default() += 1;
                continue;
            }
            match snapshot::stamp(kind, raw) {
                Ok(stamp) if stamp.exported.is_some() => {
                    merged.highest_version = merged.highest_version.max(stamp.standing.version);
                    merged.exported.push((kind, stamp));
                }
                Ok(stamp) => fresh.push((kind, stamp.id, raw)),
                Err(refused) => self.originals.refuse(merged, mark, &refused),
            }
        }
        fresh
    }

    fn read(&self, kind: Kind, raw: &str, merged: &mut Merged) -> Option<Held> {
        match held(kind, raw, self.now) {
            Ok(record) => {
                merged.highest_version = merged.highest_version.max(record.version);
                Some(record)
            }
            Err(refused) => {
                let mark = mark(class_of(kind), raw.as_bytes());
                self.originals.refuse(merged, mark, &refused);
                None
            }
        }
    }

    fn take(&self, portion: Vec<Held>, merged: &mut Merged) -> Result<(), MergeError> {
        if portion.is_empty() {
            return Ok(());
        }
        let ids = portion.iter().map(|record| (record.class, record.id.as_str()));
        let own = self.originals.are_own(ids).map_err(MergeError::Store)?;
        let count = portion.len();
        // Of registers here only the end of a job is of interest: it may have come earlier there.
        let theirs = portion.into_iter().zip(own);
        let theirs = theirs.filter(|(record, own)| !own || record.standing().ended);
        let theirs: Vec<Held> = theirs.map(|(record, _)| record).collect();
        merged.held += count - theirs.len();
        let merge = self.store.merge(theirs, self.now);
        let merge = merge.map_err(|error| MergeError::Store(self.originals.give_up(&error)))?;
        merged.changed += merge.changed;
        merged.held += merge.held + merge.expired;
        if merge.full > 0 {
            *merged.refused.entry(FULL).or_default() += merge.full as u64;
            (0..merge.full).for_each(|_| self.originals.0.numbers.refused(FULL));
        }
        Ok(())
    }
}

pub(super) const fn class_of(kind: Kind) -> Class {
    match kind {
        Kind::Host => Class::Host,
        Kind::Job => Class::Job,
        Kind::Service => Class::Service,
    }
}

/// A record as it is kept.
fn held(kind: Kind, raw: &str, now: Wall) -> Result<Held, Refused> {
    let held = |id: &str, created: Wall, standing: Standing| Held {
        class: class_of(kind),
        id: id.to_owned(),
        created,
        updated: standing.updated,
        version: standing.version,
        updated_by: standing.updated_by,
        status: None,
        required: Vec::new(),
        raw: raw.as_bytes().to_vec(),
    };
    Ok(match kind {
        Kind::Host => {
            let host = snapshot::host(raw, now)?;
            held(host.view.id.as_str(), host.view.registered, host.standing())
        }
        Kind::Job => {
            let job = snapshot::job(raw, now)?;
            let mut record = held(job.view.id.as_str(), job.view.created.wall(), job.standing());
            record.status = Some(job.view.status);
            if job.view.status == JobStatus::Queued {
                record.required = job.view.required;
            }
            record
        }
        Kind::Service => {
            let service = snapshot::service(raw, now)?;
            held(service.view.id.as_str(), service.view.created, service.standing())
        }
    })
}
