//! Which traces are sent, as the variables of OpenTelemetry say.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use super::share::Share;

/// The sampler of that name. A name that is none is warned about and everything is sent, as OpenTelemetry has it.
pub(super) fn sampler(
    name: &str,
    share: Option<&str>,
    warnings: &mut Vec<String>,
) -> Box<dyn ShouldSample> {
    let lower = name.to_ascii_lowercase();
    let (by_parent, bare) = match lower.strip_prefix("parentbased_") {
        Some(bare) => (true, bare),
        None => (false, lower.as_str()),
    };
    let root: Box<dyn ShouldSample> = match bare {
        "always_on" => Box::new(Sampler::AlwaysOn),
        "always_off" => Box::new(Sampler::AlwaysOff),
        "traceidratio" => Box::new(read(share, warnings)),
        _ => {
            warnings.push(format!(
                "OTEL_TRACES_SAMPLER (env) is `{name}`, which is not known here: all traces are sent"
            ));
            return Box::new(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        }
    };
    if by_parent { Box::new(Sampler::ParentBased(root)) } else { root }
}

fn read(share: Option<&str>, warnings: &mut Vec<String>) -> Share {
    share.and_then(Share::read).unwrap_or_else(|| {
        warnings.push(
            "OTEL_TRACES_SAMPLER_ARG (env) is no number from 0 to 1: all traces are sent".into(),
        );
        Share::all()
    })
}

/// Whether spans of a trace that begins here are sent.
pub(super) fn takes(sampler: &dyn ShouldSample, trace: TraceId) -> bool {
    let asked = sampler.should_sample(None, trace, "job", &SpanKind::Internal, &[], &[]);
    asked.decision == SamplingDecision::RecordAndSample
}

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let decision = match self.has(trace.to_bytes()) {
            true => SamplingDecision::RecordAndSample,
            false => SamplingDecision::Drop,
        };
        let state = parent.map_or_else(TraceState::default, |parent| {
            parent.span().span_context().trace_state().clone()
        });
        SamplingResult { decision, attributes: Vec::new(), trace_state: state }
    }
}
