//! Which traces are sent, as the variables of OpenTelemetry say.
//!
//! Always: what is decided of a trace is decided the same on every node with the same settings, of its id alone.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

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
        "traceidratio" => Box::new(Share(read(share, warnings))),
        _ => {
            warnings.push(format!(
                "OTEL_TRACES_SAMPLER (env) is `{name}`, which is not known here: all traces are sent"
            ));
            return Box::new(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        }
    };
    if by_parent { Box::new(Sampler::ParentBased(root)) } else { root }
}

fn read(share: Option<&str>, warnings: &mut Vec<String>) -> f64 {
    let number = share.and_then(|text| text.trim().parse().ok());
    number.filter(|share| (0.0..=1.0).contains(share)).unwrap_or_else(|| {
        warnings.push(
            "OTEL_TRACES_SAMPLER_ARG (env) is no number from 0 to 1: all traces are sent".into(),
        );
        1.0
    })
}

/// Whether spans of a trace that begins here are sent.
pub(super) fn takes(sampler: &dyn ShouldSample, trace: TraceId) -> bool {
    let asked = sampler.should_sample(None, trace, "job", &SpanKind::Internal, &[], &[]);
    asked.decision == SamplingDecision::RecordAndSample
}

/// A share of all traces. The library's own compares the id's last 63 bits as they are; those of a UUID begin with
/// bits that are always the same, so that of all jobs too many or none would be taken.
#[derive(Clone, Copy, Debug)]
struct Share(f64);

impl Share {
    fn has(self, trace: TraceId) -> bool {
        let mut drawn = [0; 4];
        blake3::Hasher::new().update(&trace.to_bytes()).finalize_xof().fill(&mut drawn);
        f64::from(u32::from_be_bytes(drawn)) < self.0 * (f64::from(u32::MAX) + 1.0)
    }
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
        let decision = match self.has(trace) {
            true => SamplingDecision::RecordAndSample,
            false => SamplingDecision::Drop,
        };
        let state = parent.map_or_else(TraceState::default, |parent| {
            parent.span().span_context().trace_state().clone()
        });
        SamplingResult { decision, attributes: Vec::new(), trace_state: state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::ids;
    use skyclaw_protocol::{Hlc, JobId};

    fn sent(name: &str, share: Option<&str>) -> (usize, Vec<String>) {
        let mut warnings = Vec::new();
        let sampler = sampler(name, share, &mut warnings);
        let jobs = (0..1000).map(|n| {
            JobId::mint(
                Hlc { ms: 1_700_000_000_000 + n, count: 0 },
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            )
        });
        let taken = jobs.filter(|job| takes(&*sampler, TraceId::from_bytes(ids::trace(job))));
        (taken.count(), warnings)
    }

    #[test]
    fn a_share_of_all_jobs_is_that_share() {
        for name in ["traceidratio", "parentbased_traceidratio"] {
            for (share, about) in [("0", 0), ("0.1", 100), ("0.5", 500), ("0.9", 900), ("1", 1000)]
            {
                let (taken, warnings) = sent(name, Some(share));
                assert!(taken.abs_diff(about) < 50, "{name} {share}: {taken}");
                assert_eq!(warnings, Vec::<String>::new());
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_and_all_is_sent() {
        for (name, share) in [("some", None), ("traceidratio", None), ("traceidratio", Some("2"))] {
            let (taken, warnings) = sent(name, share);
            assert_eq!((taken, warnings.len()), (1000, 1), "{name} {share:?}");
        }
        assert_eq!(sent("always_off", None), (0, Vec::new()));
    }
}
