//! Where traces go. The variables of OpenTelemetry are set for all programs of a machine, more often than not.

use skyclaw_node::config::{Layer, Resolved};

use super::{env, error_of, file, flags, from_env, resolve};

const OTEL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const OTEL_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

fn endpoint(resolved: &Resolved) -> Option<&str> {
    resolved.config.traces.as_ref().map(|traces| traces.endpoint.expose())
}

#[test]
fn traces_go_nowhere_unless_somebody_says_where() {
    let resolved = from_env(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")]);
    assert_eq!(endpoint(&resolved), None);
    assert_eq!(resolved.warnings, Vec::<String>::new());
}

#[test]
fn the_nearest_name_for_the_collector_counts() {
    let base = |url: &str| Some(format!("{url}/v1/traces"));
    for (vars, expected) in [
        (&[("SKYCLAW_OTLP", "http://a:1"), (OTEL, "http://b")][..], base("http://a:1")),
        (&[(OTEL, "https://b/under/")], base("https://b/under")),
        (
            &[(OTEL, "http://b"), (OTEL_TRACES, "http://c/as/it/is")],
            Some("http://c/as/it/is".into()),
        ),
    ] {
        assert_eq!(endpoint(&from_env(vars)), expected.as_deref(), "{vars:?}");
    }
    let line = || file("otlp = \"http://f\"");
    let by = |flags, vars: &[(&str, &str)]| resolve(flags, env(vars), line()).expect("right");
    assert_eq!(endpoint(&by(Layer::default(), &[])), base("http://f").as_deref());
    assert_eq!(endpoint(&by(Layer::default(), &[(OTEL, "http://b")])), base("http://b").as_deref());
    let flag = flags(&["--otlp", "http://g"]);
    assert_eq!(endpoint(&by(flag, &[(OTEL, "http://b")])), base("http://g").as_deref());
}

#[test]
fn a_program_that_cannot_send_traces_says_so() {
    for vars in [("SKYCLAW_OTLP", "http://a"), (OTEL, "http://a"), (OTEL_TRACES, "http://a")] {
        let warnings = from_env(&[vars]).warnings;
        let said =
            warnings.iter().any(|said| said.contains(vars.0) && said.contains("built without"));
        assert_eq!(said, !cfg!(feature = "otel"), "{warnings:?}");
    }
}

#[test]
fn no_collector_ends_the_start_only_where_it_was_meant_for_this_node() {
    let error = error_of(&[("SKYCLAW_OTLP", "user:geheim@a:4317")]);
    assert!(error.starts_with("SKYCLAW_OTLP (env) is `"), "{error}");
    let resolved = from_env(&[(OTEL, "localhost:4317")]);
    assert_eq!(endpoint(&resolved), None);
    assert!(resolved.warnings.iter().any(|said| said.contains("no traces are sent")));
}

#[test]
fn what_opens_the_collector_is_not_shown() {
    let resolved = from_env(&[
        ("SKYCLAW_OTLP", "http://user:geheim1@a"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=geheim2"),
    ]);
    let shown = format!("{resolved:?} {}", resolved.report.to_json(&resolved.warnings));
    assert!(resolved.report.to_text().contains("http://***@a"));
    assert!(!shown.contains("geheim2"), "{shown}");
    assert!(!resolved.report.to_text().contains("geheim"), "{}", resolved.report.to_text());
}

#[test]
fn other_variables_of_opentelemetry_are_no_slips() {
    let vars = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    assert_eq!(from_env(&vars).warnings, Vec::<String>::new());
}
