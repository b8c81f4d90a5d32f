//! Jobs: submission, completion, and the looks at them the original lacked.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::{Answer, Command, JobCursor, JobQuery, JobRequest, JobView, ResultView};

use crate::auth::Who;
use crate::backend::JobPage;
use crate::body::LARGE;
use crate::call::{Call, unexpected, wrap};
use crate::error::ApiError;
use crate::idempotency::fingerprint;
use crate::json;
use crate::quota::Spend;
use crate::routes::elsewhere;

/// Jobs on a page of all, of which a caller is shown its own; and such pages for one answer.
const LOOKED_AT: usize = 100;
const PAGES: usize = 50;

/// `POST /v1/jobs`. Of a principal the job is its own, whatever the body says.
pub(super) async fn submit(mut call: Call) -> Result<Response, ApiError> {
    call.spend(Spend::Request)?;
    let taken = call.taken().await?;
    call.spend(Spend::Bytes(taken.bytes.len() as u64))?;
    let (document, wanted) = (taken.parse().await?, call.wants_once()?);
    let (mark, large) = (call.who.mark(), document.is_large());
    let request = move || {
        let asked = wanted.then(|| fingerprint(document.value()));
        let request = json::request::job(&document)?;
        let submitted_by = mark.or_else(|| request.submitted_by.clone());
        Ok::<_, ApiError>((JobRequest { submitted_by, ..request }, asked))
    };
    let (request, asked) = elsewhere(large, request).await??;
    let once = call.once(call.who.asker(), asked)?;
    job(call.run(Command::Submit(request), once).await?).await
}

/// `POST /v1/jobs/:id/complete`.
pub(super) async fn complete(call: Call) -> Result<Response, ApiError> {
    let id = call.job_id()?;
    job(call.change(|document| json::request::completion(id, document)).await?).await
}

/// `POST /v1/jobs/:id/cancel`: 200 once it is decided, 202 if the node goes on trying.
pub(super) async fn cancel(call: Call) -> Result<Response, ApiError> {
    let id = call.job_id()?;
    if !call.who.is_admin() {
        let known = call.backend().job(id.clone()).await?;
        let by = known.ok_or(ApiError::NoRecord("job"))?.submitted_by;
        may_change(&call.who, by.as_ref(), "job")?;
    }
    match call.change_bodiless(Command::Cancel { job: id }).await? {
        Answer::Cancelling(job) => Ok(cancelling(json::job::show(&job))),
        other => job(other).await,
    }
}

/// What is answered while it is not decided whether a job was cancelled.
pub(super) fn cancelling(job: Value) -> Response {
    let mut response = json::answer(&json!({ "job": job, "cancelling": true }));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// `GET /v1/jobs/:id`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    show(found(&call).await?, json::job::show_whole).await
}

/// `GET /v1/jobs/:id/receipt`: its host's signed word of the run whose result counts; of a job that
/// several hosts run to be verified, `receipts` of them.
pub(super) async fn receipt(call: Call) -> Result<Response, ApiError> {
    let job = found(&call).await?;
    let receipt = job.result.as_ref().and_then(json::job::receipt);
    let answer = match (receipt, json::job::receipts(&job)) {
        (receipt, Some(receipts)) if receipts != json!([]) => {
            let mut answer = json!({ "receipts": receipts });
            if let Some(receipt) = receipt {
                answer["receipt"] = receipt;
            }
            answer
        }
        (Some(receipt), _) => wrap("receipt", receipt),
        (None, _) => return Err(ApiError::NoRecord("receipt")),
    };
    Ok(json::answer(&answer))
}

/// The job that is asked for, if the caller may see it.
pub(super) async fn found(call: &Call) -> Result<JobView, ApiError> {
    let job = call.backend().job(call.job_id()?).await?;
    let job = job.filter(|job| call.who.sees(job.submitted_by.as_ref()));
    job.ok_or(ApiError::NoRecord("job"))
}

/// `GET /v1/jobs`: a page, oldest first unless asked otherwise.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let text = call.query.as_deref().unwrap_or_default();
    let (query, show_one) = (json::job::query(text)?, json::job::shape(text)?);
    let page = async {
        if call.who.sees(None) {
            return Ok(call.backend().jobs(query).await?);
        }
        own_page(&call, query).await
    };
    let show = move |page: JobPage| {
        let jobs: Value = page.jobs.iter().map(show_one).collect();
        let mut value = json!({ "jobs": jobs });
        if let Some(next) = &page.next {
            value["next"] = json::job::cursor(next).into();
        }
        if page.truncated {
            value["truncated"] = true.into();
        }
        value
    };
    call.api.listing(page, show).await
}

/// The caller's own jobs among those that follow. It may hold fewer than were asked for, also none, and
/// still say where to go on: so many pages of others' jobs are looked at, and no more.
async fn own_page(call: &Call, query: JobQuery) -> Result<JobPage, ApiError> {
    let limit = query.limit.unwrap_or(LOOKED_AT);
    let mut page = JobPage { next: query.after.clone(), ..JobPage::default() };
    for _ in 0..PAGES {
        let (after, room) = (page.next.take(), limit.max(LOOKED_AT));
        let part = JobQuery { after, limit: Some(room), ..query.clone() };
        let part = call.backend().jobs(part).await?;
        (page.next, page.truncated) = (part.next, part.truncated);
        for job in part.jobs.into_iter().filter(|job| call.who.sees(job.submitted_by.as_ref())) {
            if page.jobs.len() == limit {
                let last = page.jobs.last();
                page.next = last.map(|it| JobCursor { created: it.created, id: it.id.clone() });
                return Ok(page);
            }
            page.jobs.push(job);
        }
        if page.next.is_none() || page.jobs.len() == limit {
            break;
        }
    }
    Ok(page)
}

/// Refuses what is not the caller's to change: as unknown, if it may not even see it.
pub(super) fn may_change(
    who: &Who,
    owner: Option<&String>,
    what: &'static str,
) -> Result<(), ApiError> {
    match who.changes(owner) {
        true => Ok(()),
        false if who.sees(owner) => Err(ApiError::NotOwn(what)),
        false => Err(ApiError::NoRecord(what)),
    }
}

/// Whether making it into JSON takes longer than a request may hold up others.
pub(super) fn is_large(job: &JobView) -> bool {
    let output = |result: &ResultView| -> usize {
        [&result.stdout, &result.stderr, &result.agent].into_iter().flatten().map(String::len).sum()
    };
    job.payload.len() + job.result.as_ref().map_or(0, output) >= LARGE
}

/// Answers with one job; its payload and output may be large.
pub(super) async fn show(
    job: JobView,
    shape: impl FnOnce(&JobView) -> Value + Send + 'static,
) -> Result<Response, ApiError> {
    elsewhere(is_large(&job), move || json::answer(&wrap("job", shape(&job)))).await
}

async fn job(answer: Answer) -> Result<Response, ApiError> {
    match answer {
        Answer::Job(job) => show(*job, json::job::show).await,
        _ => Err(unexpected()),
    }
}
