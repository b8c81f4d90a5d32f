//! The API for customers.

use super::jobs::{OUTPUT, cancel, job_id, submission, written};
use super::operation::{Op, op};
use super::shape::named;

/// The area that has a description of its own.
pub(super) const TAG: &str = "public";

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    vec![
        submission(of("POST", "/v1/public/jobs", "submitPublicJob", "Submit a job"))
            .more("The job belongs to the key's label, and may ask for what the key covers.")
            .body(named("JobRequest"))
            .error(403, "The key does not cover what is asked for."),
        of(
            "GET",
            "/v1/public/jobs/:id",
            "getPublicJob",
            "A job, with its result once it has ended",
        )
        .id(job_id())
        .answers(200, "The job.", named("JobAnswer"))
        .missing("There is no such job, or it is another's."),
        written(of("GET", "/v1/public/jobs/:id/logs", "publicJobLogs", OUTPUT)),
        cancel(of("POST", "/v1/public/jobs/:id/cancel", "cancelPublicJob", "End a job")),
    ]
}
