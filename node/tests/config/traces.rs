//! Where traces go. The variables of OpenTelemetry are set for all programs of a machine, more often than not.

use std::time::Duration;

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

/// A password as people type it; what was not escaped ends it early, or makes the url none.
const ODD: [&str; 9] = [
    "user:geheim@a:4317",
    "http://user:ge/heim@a",
    "http://user:8/heim@a",
    "http://user:ge/heim,geheim@a",
    "http://a/v1?key=geheim",
    "http://a/#geheim",
    "http://user:ge?heim@a",
    "http://user:8#heim@a",
    "ftp://user:geheim@a",
];

#[test]
fn no_collector_ends_the_start_only_where_it_was_meant_for_this_node() {
    for odd in ODD {
        let error = error_of(&[("SKYCLAW_OTLP", odd)]);
        assert!(
            error.starts_with("SKYCLAW_OTLP (env) is `***`, allowed is a url"),
            "{odd}: {error}"
        );
        assert!(!error.contains("heim"), "{error}");
        for name in [OTEL, OTEL_TRACES] {
            let resolved = from_env(&[(name, odd)]);
            assert_eq!(endpoint(&resolved), None, "{odd}");
            let warnings = format!("{:?}", resolved.warnings);
            assert!(warnings.contains("no traces are sent"), "{warnings}");
            let report = resolved.report.to_json(&resolved.warnings).to_string();
            let shown = format!("{report}{}", resolved.report.to_text());
            assert!(!shown.contains("heim"), "{odd}: {shown}");
        }
    }
}

#[test]
fn what_opens_the_collector_is_not_shown() {
    for url in ["http://user:geheim1@a", "http://user:ge,heim1@a", "http://user:ge%2Fheim1@a"] {
        let resolved = from_env(&[
            ("SKYCLAW_OTLP", url),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=geheim2"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=geheim3"),
        ]);
        let report = resolved.report.to_json(&resolved.warnings).to_string();
        let shown = format!("{report}{}{:?}", resolved.report.to_text(), resolved.config.traces);
        assert!(shown.contains("http://***@a/"), "{shown}");
        assert!(!shown.contains("heim") && !shown.contains("user:"), "{shown}");
        assert_eq!(endpoint(&resolved), Some("http://a/v1/traces"));
        let traces = resolved.config.traces.as_ref().expect("they go somewhere");
        let basic = traces.basic.as_ref().expect("with a password");
        assert_eq!(basic.expose().replace(['/', ','], ""), "user:geheim1");
    }
}

#[test]
fn what_is_for_traces_alone_goes_before_what_is_for_all() {
    let both = from_env(&[
        ("SKYCLAW_OTLP", "http://a"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
    ]);
    let traces = both.config.traces.expect("they go somewhere");
    assert_eq!(traces.headers.expect("headers").expose(), "a=2");
    assert_eq!(traces.timeout, Duration::from_secs(2));
    let one = from_env(&[("SKYCLAW_OTLP", "http://a"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000")]);
    assert_eq!(one.config.traces.expect("they go somewhere").timeout, Duration::from_secs(3));
}

#[test]
fn a_delay_of_nothing_is_held_where_it_does_not_spin() {
    let resolved = from_env(&[("SKYCLAW_OTLP", "http://a"), ("OTEL_BSP_SCHEDULE_DELAY", "0")]);
    let traces = resolved.config.traces.expect("they go somewhere");
    assert_eq!(traces.delay, Duration::from_millis(100));
    assert!(resolved.warnings.iter().any(|said| said.contains("100 is used")));
}

#[test]
fn traces_are_off_where_opentelemetry_is() {
    for off in [
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", "console"),
    ] {
        let quiet = from_env(&[(OTEL, "http://a"), off]);
        assert_eq!(endpoint(&quiet), None, "{off:?}");
        assert_eq!(quiet.warnings, Vec::<String>::new(), "{off:?}");
        let asked = from_env(&[("SKYCLAW_OTLP", "http://a"), off]);
        assert_eq!(endpoint(&asked), None, "{off:?}");
        assert!(asked.warnings[0].contains(off.0), "{:?}", asked.warnings);
    }
    for on in [("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "console, otlp")] {
        assert!(endpoint(&from_env(&[(OTEL, "http://a"), on])).is_some(), "{on:?}");
    }
}

#[test]
fn other_variables_of_opentelemetry_are_no_slips() {
    let vars = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    assert_eq!(from_env(&vars).warnings, Vec::<String>::new());
}
