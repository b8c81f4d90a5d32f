//! Jobs: submitting them, seeing them, ending them, and what hosts report of them.

use skyclaw_protocol::limits::{
    MAX_AGENT_BYTES, MAX_ATTEMPTS, MAX_CAPABILITY_BYTES, MAX_COPIES, MAX_JOB_FILES,
    MAX_OUTPUT_BYTES, MAX_RETRY, MAX_TEXT_BYTES, MAX_TIMEOUT_MS,
};
use skyclaw_protocol::{JobStatus, SandboxLevel};

use super::operation::{Op, only, op};
use super::shape::{
    Shape, a_part, any_of, closed, count, event, flag, hash, id, list, may, moment, named, need,
    number, object, opt, short, text, whole, word,
};
use crate::json::job::{MAX_PAGE, PAGE};

const TAG: &str = "jobs";
const MISSING: &str = "There is no such job, or it is another's.";

/// A cursor as answers give it: hex of a time, a counter and an id.
const CURSOR: &str = "^[0-9a-f]+$";

fn statuses() -> Shape {
    named("JobStatus")
}

fn status() -> Shape {
    use JobStatus::{Completed, Failed, Leased, Queued};
    word(&[Queued, Leased, Completed, Failed].map(JobStatus::as_str))
}

pub(super) fn job_id() -> Shape {
    id().such_as("job_00000000-0000-4000-8000-000000000000")
}

pub(super) fn ops() -> Vec<Op> {
    let of = |method, route, name, summary| op(TAG, (method, route), name, summary);
    vec![
        submission(of("POST", "/v1/jobs", "submitJob", "Submit a job"))
            .body(named("JobRequest"))
            .bounded(),
        of("GET", "/v1/jobs", "listJobs", "Jobs, a page at a time")
            .query("status", statuses(), "Only those that stand so.")
            .query(
                "limit",
                whole().at_least(1).at_most(MAX_PAGE as u64).usually(PAGE),
                "How many at most.",
            )
            .query("order", word(&["oldest", "newest"]).usually("oldest"), "Which first.")
            .query(
                "view",
                word(&["whole", "brief"]).usually("whole"),
                "`brief`: without payloads and outputs.",
            )
            .query("cursor", text().like(CURSOR), "`next` of the page before.")
            .answers(
                200,
                "A page. Where there are more, `next` says where to go on.",
                named("JobPage"),
            ),
        of("GET", "/v1/jobs/:id", "getJob", "A job, with its result once it has ended")
            .id(job_id())
            .answers(200, "The job.", named("JobAnswer"))
            .missing(MISSING),
        of(
            "GET",
            "/v1/jobs/:id/why",
            "whyJob",
            "Why a job stands where it does, and what its attempts came to",
        )
        .id(job_id())
        .answers(200, "The reason, in words.", only("why", named("Why")))
        .missing(MISSING),
        written(of("GET", "/v1/jobs/:id/logs", "jobLogs", OUTPUT)),
        of("GET", "/v1/jobs/:id/receipt", "getReceipt", "A host's signed word of what it ran")
            .id(job_id())
            .answers(200, "The receipt, or those of hosts that agree.", named("Receipts"))
            .missing("There is no such job, or it has no receipt."),
        of("POST", "/v1/jobs/:id/complete", "completeJob", "A host's report of a run")
            .id(job_id())
            .body(named("Completion"))
            .once()
            .answers(200, "The job as it stands now.", named("JobAnswer"))
            .missing("There is no such host or job.")
            .error(409, "The job is another host's, or is not leased."),
        cancel(of("POST", "/v1/jobs/:id/cancel", "cancelJob", "End a job"))
            .error(403, "The job is somebody else's."),
    ]
}

/// What the two ways to end one have in common.
pub(super) fn cancel(of: Op) -> Op {
    of.id(job_id())
        .reads()
        .once()
        .answers(200, "It is cancelled.", named("JobAnswer"))
        .answers(
            202,
            "Its coordinator cannot be asked now: it is tried again until it is done.",
            object([need("job", named("Job")), need("cancelling", flag())]),
        )
        .missing(MISSING)
        .error(409, "It has ended already.")
}

pub(super) const OUTPUT: &str = "What a job writes, while it runs and after, as server-sent events";

/// What the two ways to read it have in common.
pub(super) fn written(of: Op) -> Op {
    let read = "Bytes of it that were read of that attempt.";
    of.more(
        "`attempt`, `{attempt, host}`, names the run that follows; events without a name are what it wrote, \
         `{stream, offset, text}`; `note`, `{message}`, is what else is to be known; `end`, `{status}`, is the last \
         one. Offsets are bytes of the stream's text, and those of its result. Whoever was cut off goes on where it \
         was, by these parameters or by the last event's id as `Last-Event-ID`.",
    )
    .id(job_id())
    .query("follow", word(&["1", "0", "true", "false"]), "Go on until the job has ended.")
    .query("attempt", count().at_most(u32::MAX.into()), "The run that was read last.")
    .query("stdout", count().at_most(u32::MAX.into()), read)
    .query("stderr", count().at_most(u32::MAX.into()), read)
    .answers_as(200, "What it wrote.", "text/event-stream", event())
    .missing(MISSING)
}

/// What the two ways to submit have in common.
pub(super) fn submission(of: Op) -> Op {
    of.once()
        .answers(
            200,
            "It is on the disks of as many coordinators as it must be.",
            named("JobAnswer"),
        )
        .error(503, "It was given up: too few coordinators have it.")
        .with("x-skyclaw-job-id", "The job that was given up, and that may still be found.")
}

pub(super) fn level() -> Shape {
    named("SandboxLevel")
}

pub(super) fn capabilities() -> Shape {
    let most = "Words that hosts are matched by; at most 64 of them, blanks and doubles aside.";
    list(short(MAX_CAPABILITY_BYTES)).says(most)
}

pub(super) fn files() -> Shape {
    list(named("File"))
}

pub(super) fn shapes() -> Vec<(&'static str, Shape)> {
    let requirement = object([
        opt("requiredCapabilities", capabilities()),
        opt("sandbox", level().says("The weakest level at which it may be run.")),
    ]);
    let verify = closed([
        need(
            "copies",
            whole().at_least(1).at_most(MAX_COPIES.into()).says("Hosts that run it at most."),
        ),
        opt(
            "agree",
            whole()
                .at_least(1)
                .at_most(MAX_COPIES.into())
                .says("Hosts that must say the same: at most `copies`, all of them unless said."),
        ),
    ]);
    let request = object([
        need("payload", named("Payload")),
        opt("requirement", named("Requirement")),
        opt("submittedBy", short(MAX_TEXT_BYTES).says("A name; of whoever shows a key it is the key's.")),
        opt("maxAttempts", whole().at_least(1).at_most(MAX_ATTEMPTS.into()).says("Hosts that may be lost before it counts as failed.")),
        opt("retry", whole().at_least(0).at_most(MAX_RETRY.into()).says("How often a command that failed is run again.")),
        opt("queueTimeoutMs", whole().at_least(1).at_most(MAX_TIMEOUT_MS).says("How long it may wait for a host.")),
        opt("verify", named("Verify").says("Several hosts run it, and enough must say the same. Not for agent jobs, nor with `retry`.")),
    ]);
    let result = object([
        need("finishedAt", moment()),
        may("durationMs", number()),
        may("exitCode", whole()),
        may("stdout", text()),
        may("stderr", text()),
        may("outputs", files()),
        may("agent", object([]).says("The account of an agent's run.")),
        may("receipt", named("Receipt")),
    ]);
    let told = object([
        need("host", text()),
        need("peerId", text()),
        need("attempt", count()),
        need("success", flag()),
        need("exitCode", whole()),
        need("stdout", hash()),
        need("stderr", hash()),
        need("digest", hash()),
        may("agrees", flag()),
    ]);
    let job = object([
        need("id", text()),
        need("createdAt", moment()),
        need("updatedAt", moment()),
        need("updatedBy", text()),
        need("version", count()),
        need("status", statuses()),
        need("attempts", count()),
        need("requirement", only("requiredCapabilities", list(text()))),
        may(
            "payload",
            object([]).says("As it was submitted, until it is dropped some days after the end."),
        ),
        may("submittedBy", text()),
        may("maxAttempts", count()),
        may("retry", count()),
        may("queueTimeoutMs", count()),
        may(
            "verify",
            object([
                need("copies", count()),
                need("agree", count()),
                need("verdict", word(&["open", "agreed", "disagree"])),
                need("results", list(told)),
            ]),
        ),
        may("assignedHostId", text()),
        may("leaseExpiresAt", moment()),
        may("result", named("Result")),
        may("error", text()),
    ]);
    let brief = object([
        need("id", text()),
        need("createdAt", moment()),
        need("updatedAt", moment()),
        need("status", statuses()),
        need("attempts", count()),
        may("kind", text()),
        need("title", text().says("What it runs.")),
        may("needs", list(text())),
        may("submittedBy", text()),
        may("assignedHostId", text()),
        may("exitCode", whole()),
        may("durationMs", number()),
        may("error", text()),
    ]);
    let completion = object([
        need("hostId", id()),
        opt("success", flag()),
        opt("durationMs", number().at_least(0)),
        opt("exitCode", whole()),
        opt("stdout", short(MAX_OUTPUT_BYTES)),
        opt("stderr", short(MAX_OUTPUT_BYTES)),
        opt("error", text().says("It is cut where it is long.")),
        opt("outputs", files().up_to(MAX_JOB_FILES)),
        opt(
            "agent",
            object([]).says(&format!(
                "The account of an agent's run, of at most {MAX_AGENT_BYTES} bytes."
            )),
        ),
        opt("receipt", named("Receipt")),
    ]);
    vec![
        ("JobRequest", request),
        ("Requirement", requirement),
        ("Verify", verify),
        ("JobStatus", status()),
        ("SandboxLevel", word(&SandboxLevel::ALL.map(SandboxLevel::as_str))),
        ("File", object([need("path", text()), need("hash", hash()), need("bytes", count())])),
        ("JobAnswer", only("job", named("Job"))),
        ("Job", job),
        ("JobInBrief", brief),
        ("Result", result),
        (
            "JobPage",
            object([
                need("jobs", list(any_of([named("Job"), named("JobInBrief")]))),
                may("next", text()),
                a_part(),
            ]),
        ),
        ("Completion", completion),
    ]
}
