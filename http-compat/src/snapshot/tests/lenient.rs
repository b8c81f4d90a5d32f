//! What an original stored unchecked (F18, F19, F28) and nothing depends on is read as it was meant.

use serde_json::{Value, json};
use skyclaw_protocol::limits::{MAX_OUTPUT_BYTES, MAX_PARALLEL, MAX_TEXT_BYTES};
use skyclaw_protocol::{Milli, ServiceStatus};

use super::super::{host, job, service};
use super::samples::{NOW, a_host, a_job, a_service, with};

#[test]
fn f28_a_host_whose_max_parallel_was_no_number_takes_one_job() {
    let read = |value: Option<Value>| {
        let raw = with(a_host(), "/maxParallel", value);
        host(&raw, NOW).unwrap().view.max_parallel
    };
    assert_eq!(read(Some(Value::Null)), Milli::whole(1));
    assert_eq!(read(None), Milli::whole(1));
    assert_eq!(read(Some(json!(0))), Milli::whole(1));
    assert_eq!(read(Some(json!(-5))), Milli::whole(1));
    assert_eq!(read(Some(json!(2.5))), Milli(2500));
    assert_eq!(read(Some(json!(1e300))), Milli::whole(MAX_PARALLEL));
}

#[test]
fn counts_of_leases_are_for_show() {
    for (sent, shown) in
        [(json!(null), 0), (json!(-1), 0), (json!(3), 3), (json!(1e300), 1e12 as u64)]
    {
        let raw = with(a_host(), "/activeLeases", Some(sent));
        assert_eq!(host(&raw, NOW).unwrap().view.active_leases, Milli::whole(shown));
    }
}

#[test]
fn f28_outputs_and_errors_that_are_no_text_are_shown_as_json() {
    for name in ["stdout", "stderr"] {
        let raw = with(a_job(), &format!("/result/{name}"), Some(json!({ "a": [1] })));
        let result = job(&raw, NOW).unwrap().view.result.unwrap();
        let read = if name == "stdout" { result.stdout } else { result.stderr };
        assert_eq!(read.as_deref(), Some(r#"{"a":[1]}"#));
    }
    let raw = with(a_job(), "/error", Some(json!(["x"])));
    assert_eq!(job(&raw, NOW).unwrap().view.error.as_deref(), Some(r#"["x"]"#));
}

#[test]
fn long_outputs_and_errors_are_cut_rather_than_lose_the_end_of_the_job() {
    let long = "ü".repeat(MAX_OUTPUT_BYTES);
    let mut record = a_job();
    record["result"]["stdout"] = json!(long);
    record["error"] = json!(long);
    let raw = record.to_string();
    let read = job(&raw, NOW).unwrap().view;
    assert_eq!(read.error.unwrap().len(), MAX_TEXT_BYTES);
    let stdout = read.result.unwrap().stdout.unwrap();
    assert_eq!(stdout.len(), MAX_OUTPUT_BYTES);
    assert!(long.starts_with(&stdout));
}

#[test]
fn numbers_of_a_result_that_cannot_be_are_left_out() {
    for wrong in [json!("7"), json!(1e300), json!({}), json!(true)] {
        let mut record = a_job();
        record["result"]["durationMs"] = wrong.clone();
        record["result"]["exitCode"] = wrong;
        let raw = record.to_string();
        let result = job(&raw, NOW).unwrap().view.result.unwrap();
        assert_eq!((result.duration, result.exit_code), (None, None));
        assert_eq!(result.stdout.as_deref(), Some("a  b\n"));
    }
    let raw = with(a_job(), "/result/exitCode", Some(json!(-9.0)));
    assert_eq!(job(&raw, NOW).unwrap().view.result.unwrap().exit_code, Some(-9));
}

#[test]
fn the_end_of_a_lease_that_is_no_time_is_left_out() {
    for wrong in ["+033658-09-27T01:46:40.000Z", "9999-12-31T23:59:59.999Z", "soon", ""] {
        let raw = with(a_job(), "/leaseExpiresAt", Some(json!(wrong)));
        assert_eq!(job(&raw, NOW).unwrap().view.lease_expires, None, "{wrong}");
    }
}

#[test]
fn f28_an_assignment_in_a_state_that_is_none_counts_as_failed() {
    for word in [json!("banana"), json!(null), json!(7)] {
        let mut record = a_service();
        record["assignments"][0]["status"] = word;
        let raw = record.to_string();
        let read = service(&raw, NOW).unwrap().view;
        assert_eq!(read.assignments[0].status, ServiceStatus::Failed);
    }
}

#[test]
fn variables_are_what_node_would_start_a_process_with() {
    let env = json!({ "B": 1, "A": true, "C": null, "D": "x", "E": 1.5 });
    let raw = with(a_service(), "/env", Some(env));
    let read = service(&raw, NOW).unwrap().view.def.env.unwrap();
    let pairs: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("B", "1"), ("A", "true"), ("C", "null"), ("D", "x"), ("E", "1.5")]);
}

#[test]
fn replicas_are_whole_and_at_least_one() {
    for (sent, read) in
        [(json!(null), 1), (json!(0), 1), (json!(-3), 1), (json!(1.2), 2), (json!(3), 3)]
    {
        let raw = with(a_service(), "/replicas", Some(sent));
        assert_eq!(service(&raw, NOW).unwrap().view.def.replicas, read);
    }
}

#[test]
fn lists_of_capabilities_come_into_their_stored_form() {
    let raw = with(a_host(), "/capabilities", Some(json!([" b", "a", "b", ""])));
    assert_eq!(host(&raw, NOW).unwrap().view.capabilities, ["a", "b"]);
}

#[test]
fn of_a_member_that_stands_twice_the_last_counts_and_unknown_ones_are_passed_over() {
    let raw = a_host().to_string();
    let inner = raw.strip_prefix('{').unwrap();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let raw = format!(r#"{{"version":1e99,"future":{deep},"name":5,{inner}"#);
    assert_eq!(host(&raw, NOW).unwrap().view.version, 7);
}
