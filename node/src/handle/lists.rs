//! Lists that are read whole from the store, on a blocking thread.

mod both;

use skyclaw_http_compat::JobPage;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::{JobQuery, JobStatus, JobView, ServiceView, fold};
use skyclaw_store::{Order, Phases, ReadError, Reader};

use super::view;
use crate::originals::AsHeld;
use crate::time;

/// The services that were not removed, by creation.
pub(crate) fn all_services(reader: &Reader) -> Result<Vec<ServiceView>, ReadError> {
    let mut services: Vec<ServiceView> = reader
        .services()?
        .iter()
        .filter_map(|stored| fold::service_view(stored.spec.body(), stored.chosen()?))
        .collect();
    services.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(services)
}

/// A page of jobs as users see them: our own, and those of originals if there are any.
pub(super) fn job_page(
    reader: &Reader,
    copy: Option<&AsHeld>,
    query: &JobQuery,
) -> Result<JobPage, ReadError> {
    let now = time::wall();
    let limit = query.limit.unwrap_or(usize::MAX);
    let order = if query.newest_first { Order::NewestFirst } else { Order::OldestFirst };
    let mut page = JobPage { next: query.after.clone(), ..JobPage::default() };
    // The store ends a page early where jobs are large, and so does an answer with a limit; all of
    // them are asked for only by those who must have all.
    loop {
        let room = limit - page.jobs.len();
        let part = match copy {
            Some(copy) => both::Both { reader, copy, now, query }.part(page.next.as_ref(), room)?,
            None => {
                let part = reader.jobs(page.next.as_ref(), room, phases(query.status), order)?;
                let jobs = part.jobs.iter().filter_map(|job| view(job, now)).collect();
                JobPage { jobs, next: part.next, ..JobPage::default() }
            }
        };
        page.jobs.extend(part.jobs);
        page.next = part.next;
        if page.next.is_none() || query.limit.is_some() {
            return Ok(page);
        }
    }
}

/// All jobs, our own and those of originals apart.
pub(super) fn all_jobs(
    reader: &Reader,
    copy: Option<&AsHeld>,
) -> Result<(Vec<JobView>, Vec<JobView>), ReadError> {
    let query = JobQuery::default();
    let mut own = job_page(reader, None, &query)?.jobs;
    let Some(copy) = copy else { return Ok((own, Vec::new())) };
    let both = both::Both { reader, copy, now: time::wall(), query: &query };
    own.retain(|job| !both.is_hidden(job));
    Ok((own, both.all_theirs()?))
}

/// The phases that a status of the API stands for.
fn phases(status: Option<JobStatus>) -> Phases {
    match status {
        None => Phases::ALL,
        Some(JobStatus::Queued) => Phases::of(&[Phase::Queued]),
        Some(JobStatus::Leased) => Phases::of(&[Phase::Leased]),
        Some(JobStatus::Completed) => Phases::of(&[Phase::Succeeded]),
        Some(JobStatus::Failed) => Phases::of(&[
            Phase::Failed,
            Phase::Cancelled,
            Phase::Exhausted,
            Phase::Expired,
            Phase::Aborted,
        ]),
    }
}
