//! Jobs: submission, completion, and the looks at them the original lacked.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::{Answer, Command, JobView, ResultView};

use crate::backend::JobPage;
use crate::body::LARGE;
use crate::call::{Call, unexpected, wrap};
use crate::error::ApiError;
use crate::json;
use crate::routes::elsewhere;

/// `POST /v1/jobs`.
pub(super) async fn submit(call: Call) -> Result<Response, ApiError> {
    job(call.change(|document| json::request::job(document).map(Command::Submit)).await?).await
}

/// `POST /v1/jobs/:id/complete`.
pub(super) async fn complete(call: Call) -> Result<Response, ApiError> {
    let id = call.job_id()?;
    job(call.change(|document| json::request::completion(id, document)).await?).await
}

/// `POST /v1/jobs/:id/cancel`: 200 once it is decided, 202 if the node goes on trying.
pub(super) async fn cancel(call: Call) -> Result<Response, ApiError> {
    let id = call.job_id()?;
    match call.change_bodiless(Command::Cancel { job: id }).await? {
        Answer::Cancelling(job) => {
            let value = json!({ "job": json::job::show(&job), "cancelling": true });
            let mut response = json::answer(&value);
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        other => job(other).await,
    }
}

/// `GET /v1/jobs/:id`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let job = call.backend().job(call.job_id()?).await?.ok_or(ApiError::NoRecord("job"))?;
    show(job, json::job::show_whole).await
}

/// `GET /v1/jobs/:id/receipt`: its host's signed word of the run whose result counts.
pub(super) async fn receipt(call: Call) -> Result<Response, ApiError> {
    let job = call.backend().job(call.job_id()?).await?.ok_or(ApiError::NoRecord("job"))?;
    let receipt = job.result.as_ref().and_then(json::job::receipt);
    let receipt = receipt.ok_or(ApiError::NoRecord("receipt"))?;
    Ok(json::answer(&wrap("receipt", receipt)))
}

/// `GET /v1/jobs`: a page, oldest first unless asked otherwise.
pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let query = json::job::query(call.query.as_deref().unwrap_or_default())?;
    let page = async { Ok(call.backend().jobs(query).await?) };
    let show = |page: JobPage| {
        let mut value = json!({ "jobs": jobs(&page) });
        if let Some(next) = &page.next {
            value["next"] = json::job::cursor(next).into();
        }
        value
    };
    call.api.listing(page, show).await
}

fn jobs(page: &JobPage) -> Value {
    page.jobs.iter().map(json::job::show).collect()
}

/// Answers with one job; its payload and output may be large.
pub(super) async fn show(
    job: JobView,
    shape: impl FnOnce(&JobView) -> Value + Send + 'static,
) -> Result<Response, ApiError> {
    let output = |result: &ResultView| -> usize {
        [&result.stdout, &result.stderr, &result.agent].into_iter().flatten().map(String::len).sum()
    };
    let size = job.payload.len() + job.result.as_ref().map_or(0, output);
    elsewhere(size >= LARGE, move || json::answer(&wrap("job", shape(&job)))).await
}

async fn job(answer: Answer) -> Result<Response, ApiError> {
    match answer {
        Answer::Job(job) => show(*job, json::job::show).await,
        _ => Err(unexpected()),
    }
}
