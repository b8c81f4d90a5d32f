//! Our own jobs and those of originals as one list.
//!
//! Always: each id stands in it once, wherever a page begins and ends: as ours, or, where it ended
//! with an original and not with us, as theirs.

use skyclaw_http_compat::JobPage;
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{JobCursor, JobId, JobQuery, JobView};
use skyclaw_store::{Order, ReadError, Reader};

use super::super::originals::has_ended;
use super::super::view;
use super::phases;
use crate::originals::{AsHeld, PART_BYTES, job_view};

/// Places looked at at once.
const STEP: usize = 1024;

pub(super) struct Both<'a> {
    pub(super) reader: &'a Reader,
    pub(super) copy: &'a AsHeld,
    pub(super) now: Wall,
    pub(super) query: &'a JobQuery,
}

/// What stands at a place.
enum Item {
    Own(Box<JobView>),
    Theirs,
}

impl Both<'_> {
    /// At most `room` jobs that follow `after`.
    pub(super) fn part(
        &self,
        after: Option<&JobCursor>,
        room: usize,
    ) -> Result<JobPage, ReadError> {
        let newest_first = self.query.newest_first;
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let own = self.reader.jobs(after, room, phases(self.query.status), order)?;
        // Beyond it there may be more of ours.
        let horizon = own.next;
        let views = own.jobs.iter().filter_map(|job| view(job, self.now));
        let mut items: Vec<(JobCursor, Item)> = views
            .filter(|job| !self.is_hidden(job))
            .map(|job| (cursor(&job), Item::Own(Box::new(job))))
            .collect();
        let theirs = self.theirs(after, horizon.as_ref(), room.saturating_add(1))?;
        items.extend(theirs.into_iter().map(|at| (at, Item::Theirs)));
        items.sort_by(|(a, _), (b, _)| {
            let order = (a.created, &a.id).cmp(&(b.created, &b.id));
            if newest_first { order.reverse() } else { order }
        });
        let mut cut = items.len() > room;
        items.truncate(room);
        let ids = items.iter().filter(|(_, item)| matches!(item, Item::Theirs));
        let ids: Vec<&str> = ids.map(|(at, _)| at.id.as_str()).collect();
        let held = self.copy.jobs(&ids, PART_BYTES)?;
        let bytes: usize = held.iter().map(|job| job.raw.len()).sum();
        let last = held.last().map(|job| job.id.clone()).filter(|_| bytes >= PART_BYTES);
        let mut held = held.into_iter().peekable();
        let mut page = JobPage::default();
        let mut done = false;
        for (at, item) in items {
            match item {
                Item::Theirs if done => {
                    cut = true;
                    break;
                }
                Item::Theirs => {
                    done = last.as_deref() == Some(at.id.as_str());
                    // One that went meanwhile is passed over.
                    let record = held.next_if(|record| record.id == at.id.as_str());
                    page.jobs.extend(record.as_ref().and_then(job_view));
                }
                Item::Own(job) => page.jobs.push(*job),
            }
            page.next = Some(at);
        }
        if !cut {
            page.next = horizon;
        }
        Ok(page)
    }

    /// Whether one of ours is shown as an original has it.
    pub(super) fn is_hidden(&self, own: &JobView) -> bool {
        !has_ended(own.status) && self.copy.status(&own.id).is_some_and(has_ended)
    }

    /// All of theirs that are shown.
    pub(super) fn all_theirs(&self) -> Result<Vec<JobView>, ReadError> {
        let places = self.theirs(None, None, usize::MAX)?;
        let ids: Vec<&str> = places.iter().map(|at| at.id.as_str()).collect();
        let mut jobs = Vec::with_capacity(ids.len());
        for part in ids.chunks(STEP) {
            jobs.extend(self.copy.jobs(part, usize::MAX)?.iter().filter_map(job_view));
        }
        Ok(jobs)
    }

    /// Where those of theirs stand that are shown, from `after` to `horizon`.
    fn theirs(
        &self,
        after: Option<&JobCursor>,
        horizon: Option<&JobCursor>,
        limit: usize,
    ) -> Result<Vec<JobCursor>, ReadError> {
        let mut found = Vec::new();
        let mut after = after.map(edge);
        loop {
            let from = after.as_ref().map(|(at, id)| (*at, id.as_str()));
            let wanted = |status| self.query.status.is_none_or(|asked| asked == status);
            let step = self.copy.places(from, self.query.newest_first, STEP, wanted);
            let Some(last) = step.last() else { return Ok(found) };
            after = Some((last.created, last.id.to_string()));
            let mut places = Vec::with_capacity(step.len());
            let mut beyond = false;
            for place in &step {
                let Ok(id) = JobId::new(&*place.id) else { continue };
                let at = JobCursor { created: Hlc { ms: place.created.0, count: 0 }, id };
                beyond = horizon.is_some_and(|horizon| {
                    let (at, end) = ((at.created, &at.id), (horizon.created, &horizon.id));
                    if self.query.newest_first { at < end } else { at > end }
                });
                if beyond {
                    break;
                }
                places.push((at, has_ended(place.status)));
            }
            let subjects: Vec<_> =
                places.iter().map(|(at, _)| Subject::Job(at.id.clone())).collect();
            let known = self.reader.known(&subjects)?;
            for ((at, ended), known) in places.into_iter().zip(known) {
                if !known || self.stands_above(&at.id, ended)? {
                    found.push(at);
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            if beyond {
                return Ok(found);
            }
        }
    }

    /// Whether theirs is shown although there is a register of that id.
    fn stands_above(&self, id: &JobId, ended: bool) -> Result<bool, ReadError> {
        // Only a stub is left of ours: it has ended.
        let Some(own) = self.reader.job(id)? else { return Ok(false) };
        // Ours may not count yet.
        Ok(view(&own, self.now).is_none_or(|own| ended && !has_ended(own.status)))
    }
}

fn cursor(job: &JobView) -> JobCursor {
    JobCursor { created: job.created, id: job.id.clone() }
}

/// Where theirs go on after a place, in either direction. Theirs have no counter, so all of the same
/// moment stand before ours with one.
fn edge(after: &JobCursor) -> (Wall, String) {
    match after.created.count {
        0 => (after.created.wall(), after.id.as_str().to_owned()),
        _ => (after.created.wall().plus_ms(1), String::new()),
    }
}
