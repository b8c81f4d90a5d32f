//! Lists that are read whole from the store, on a blocking thread.

use skyclaw_http_compat::JobPage;
use skyclaw_protocol::register::Phase;
use skyclaw_protocol::{JobQuery, JobStatus, ServiceView, fold};
use skyclaw_store::{Order, Phases, ReadError, Reader};

use super::view;
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

/// A page of jobs as users see them.
pub(super) fn job_page(reader: &Reader, query: &JobQuery) -> Result<JobPage, ReadError> {
    let now = time::wall();
    let limit = query.limit.unwrap_or(usize::MAX);
    let order = if query.newest_first { Order::NewestFirst } else { Order::OldestFirst };
    let mut page = JobPage { jobs: Vec::new(), next: query.after.clone() };
    // The store ends a page early where jobs are large, and so does an answer with a limit; all of
    // them are asked for only by those who must have all.
    loop {
        let room = limit - page.jobs.len();
        let part = reader.jobs(page.next.as_ref(), room, phases(query.status), order)?;
        page.jobs.extend(part.jobs.iter().filter_map(|job| view(job, now)));
        page.next = part.next;
        if page.next.is_none() || query.limit.is_some() {
            return Ok(page);
        }
    }
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
