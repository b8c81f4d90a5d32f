//! Traces: what nodes do about a job, as spans that a collector puts together.
//!
//! The spans are those of `tracing`. What is made here is of the level `debug`, so that logs stay as they were and a
//! span that nobody wants costs a comparison. Builds with the feature `otel` send them ([`export`]); others
//! have the same calls, which do nothing.
//!
//! Always: all spans about one job are in one trace, on whichever node, which each node derives from the job's id
//! ([`ids`]): nothing of it goes over the wire.
//!
//! Never here: payloads, output, headers, urls, texts of refusals.

#[cfg(feature = "otel")]
mod export;
#[cfg(any(test, feature = "otel"))]
mod ids;
#[cfg(feature = "otel")]
mod sampling;
#[cfg(any(test, feature = "otel"))]
mod share;
#[cfg(any(test, feature = "otel"))]
mod trouble;

use skyclaw_http_compat::{JoinTrace, refusal_reason};
use skyclaw_protocol::{Answer, Command, JobId, Refusal};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::Registry;

use crate::config::Config;
use crate::supervisor::Outcome;

/// What sends spans, where the settings name a collector.
pub(crate) type Sending = Box<dyn Layer<Registry> + Send + Sync>;

/// The part of the subscriber that sends spans; none where nothing is to be sent. What makes no sense is added to
/// `warnings` and ends no start: a node does its work without traces.
pub(crate) fn layer(config: &Config, warnings: &mut Vec<String>) -> Option<Sending> {
    #[cfg(feature = "otel")]
    return export::layer(config, warnings);
    #[cfg(not(feature = "otel"))]
    {
        // The settings have said already that this build cannot.
        let _ = (config, warnings);
        None
    }
}

/// Sends what waits, for at most two seconds. What comes later is not sent.
pub(crate) async fn end() {
    #[cfg(feature = "otel")]
    export::end().await;
}

/// How requests join the traces of their callers.
pub(crate) const fn joining() -> Option<JoinTrace> {
    #[cfg(feature = "otel")]
    return Some(export::join_caller);
    #[cfg(not(feature = "otel"))]
    None
}

/// Puts a span into the trace of a job, before it is entered for the first time. The span it is made in keeps its own
/// trace; the two name each other.
pub(crate) fn join_job(span: &Span, job: &JobId) {
    #[cfg(feature = "otel")]
    export::join_job(span, job);
    #[cfg(not(feature = "otel"))]
    let _ = (span, job);
}

/// Notes in the current span how its run ended; none if it could not be started.
pub(crate) fn ran(outcome: Option<&Outcome>) {
    #[cfg(feature = "otel")]
    export::ran(outcome);
    #[cfg(not(feature = "otel"))]
    let _ = outcome;
}

/// What a coordinator is asked about a job, until it is answered.
#[derive(Debug)]
pub(crate) struct Step {
    span: Span,
    claims: bool,
    /// Whether the span has its job and attempt already: what is noted twice is sent twice.
    has_job: bool,
    has_attempt: bool,
}

impl Step {
    /// Of other commands than those that move a job along nothing is traced.
    pub(crate) fn begin(command: &Command) -> Self {
        let span = match command {
            Command::Submit(_) => tracing::debug_span!(
                "submit",
                job = Empty,
                otel.status_code = Empty,
                otel.status_description = Empty,
            ),
            Command::Complete(report) => {
                let span = tracing::debug_span!(
                    "report",
                    job = %report.job,
                    attempt = Empty,
                    host = %report.host,
                    success = report.success,
                    otel.status_code = Empty,
                    otel.status_description = Empty,
                );
                if let Some(attempt) = report.attempt {
                    span.record("attempt", attempt);
                }
                join_job(&span, &report.job);
                span
            }
            Command::Cancel { job } => {
                let span = tracing::debug_span!(
                    "cancel",
                    job = %job,
                    otel.status_code = Empty,
                    otel.status_description = Empty,
                );
                join_job(&span, job);
                span
            }
            _ => Span::none(),
        };
        Self {
            span,
            claims: matches!(command, Command::Claim { .. }),
            has_job: !matches!(command, Command::Submit(_)),
            has_attempt: matches!(command, Command::Complete(report) if report.attempt.is_some()),
        }
    }

    pub(crate) fn end(self, answer: &Result<Answer, Refusal>) {
        match answer {
            // Until then the claim was about no job.
            Ok(Answer::Job(job)) if self.claims => Lease::begin(&job.id).end(job.attempts),
            Ok(Answer::Job(job)) if !self.span.is_disabled() => {
                // The id of a new job is known only now.
                if !self.has_job {
                    self.span.record("job", display(&job.id));
                    join_job(&self.span, &job.id);
                }
                if !self.has_attempt && job.attempts > 0 {
                    self.span.record("attempt", job.attempts);
                }
            }
            Err(refusal) if !self.span.is_disabled() => {
                self.span.record("otel.status_code", "ERROR");
                self.span.record("otel.status_description", refusal_reason(refusal));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// The lease of a job, from its grant until its host is told.
#[derive(Debug)]
pub(crate) struct Lease(Span);

impl Lease {
    pub(crate) fn begin(job: &JobId) -> Self {
        let span = tracing::debug_span!("lease", job = %job, attempt = Empty);
        join_job(&span, job);
        Self(span)
    }

    pub(crate) fn end(self, attempt: u32) {
        self.0.record("attempt", attempt);
    }
}

#[cfg(test)]
mod tests;
