//! The API for customers: their keys, their jobs, nothing else.

use axum::response::Response;
use serde_json::Value;
use skyclaw_protocol::{Answer, Command, JobView};

use crate::auth;
use crate::call::{Call, unexpected};
use crate::error::ApiError;
use crate::json;
use crate::routes::{elsewhere, jobs};

/// `POST /v1/public/jobs`.
pub(super) async fn submit(mut call: Call) -> Result<Response, ApiError> {
    let key = auth::find_key(&call.api.keys, &call.headers)?.clone();
    let document = call.document().await?;
    let (large, asker, wanted) = (document.is_large(), key.asker(), call.wants_once()?);
    let work = move || {
        let job = json::request::public_job(&document, &key)?;
        // Of what will be done, not of what was sent: dropped fields do not count.
        let asked = wanted.then(|| json::request::job_fingerprint(&job));
        Ok::<_, ApiError>((job, asked))
    };
    let (job, asked) = elsewhere(large, work).await??;
    let once = call.once(asker, asked)?;
    match call.run(Command::Submit(job), once).await? {
        Answer::Job(job) => jobs::show(*job, shape).await,
        _ => Err(unexpected()),
    }
}

/// `GET /v1/public/jobs/:id`: the job, if it is the caller's.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    jobs::show(own(&call).await?, shape).await
}

/// The job that is asked for, if it is the caller's: its key's label submitted it.
pub(super) async fn own(call: &Call) -> Result<JobView, ApiError> {
    let submitter = auth::find_key(&call.api.keys, &call.headers)?.submitter();
    let job = call.backend().job(call.job_id()?).await?;
    let own = job.filter(|job| job.submitted_by.as_ref() == Some(&submitter));
    own.ok_or(ApiError::NoRecord("job"))
}

/// `POST /v1/public/jobs/:id/cancel`, of the caller's own: 200 once it is decided, 202 if the node goes on trying.
pub(super) async fn cancel(mut call: Call) -> Result<Response, ApiError> {
    let asker = auth::find_key(&call.api.keys, &call.headers)?.asker();
    let id = own(&call).await?.id;
    let taken = call.taken().await?;
    let once = call.once_of(asker, &taken).await?;
    drop(taken);
    match call.run(Command::Cancel { job: id }, once).await? {
        Answer::Cancelling(job) => Ok(jobs::cancelling(shape(&job))),
        Answer::Job(job) => jobs::show(*job, shape).await,
        _ => Err(unexpected()),
    }
}

fn shape(job: &JobView) -> Value {
    let mut value = json::job::show(job);
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("submittedBy");
    }
    value
}
