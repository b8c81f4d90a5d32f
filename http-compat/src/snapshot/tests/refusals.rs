//! Hostile and broken records (F21): each is refused by itself, with the reason for which it is counted.

use serde_json::{Value, json};
use skyclaw_protocol::limits::{MAX_BODY_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES};

use super::super::{Kind, MAX_FOREIGN_VERSION, Reason, host, job};
use super::samples::{NOW, a_host, a_job, a_service, reason, sample, with};

/// Members without which there is no record.
fn needed(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Host => {
            &["id", "name", "capabilities", "lastSeenAt", "registeredAt", "updatedBy", "version"]
        }
        Kind::Job => &[
            "id",
            "createdAt",
            "updatedAt",
            "updatedBy",
            "version",
            "status",
            "attempts",
            "requirement",
            "payload",
        ],
        Kind::Service => &[
            "id",
            "name",
            "command",
            "requiredCapabilities",
            "status",
            "createdAt",
            "updatedAt",
            "updatedBy",
            "version",
        ],
    }
}

/// Members that may hold anything, since they are for show or skipped.
const ANYTHING: &[&str] = &["error", "leaseExpiresAt", "skyclaw"];

#[test]
fn f21_a_record_that_lacks_a_member_is_refused_and_so_is_null() {
    for kind in Kind::ALL {
        assert_eq!(reason(kind, &sample(kind).to_string()), None);
        for name in needed(kind) {
            let pointer = format!("/{name}");
            let gone = with(sample(kind), &pointer, None);
            assert_eq!(reason(kind, &gone), Some(Reason::Missing), "{name}");
            let null = with(sample(kind), &pointer, Some(Value::Null));
            assert_eq!(reason(kind, &null), Some(Reason::Missing), "{name}");
        }
    }
}

#[test]
fn f21_a_member_of_another_type_refuses_the_record() {
    let values = [json!(true), json!(-1.5), json!("text"), json!([[]]), json!({ "a": 1 })];
    for kind in Kind::ALL {
        for (name, good) in sample(kind).as_object().unwrap() {
            if ANYTHING.contains(&name.as_str()) {
                continue;
            }
            for wrong in &values {
                let same = std::mem::discriminant(wrong) == std::mem::discriminant(good);
                // A payload may be any object; numbers have tests of their own.
                if same {
                    continue;
                }
                let raw = with(sample(kind), &format!("/{name}"), Some(wrong.clone()));
                let why = reason(kind, &raw);
                let fits = matches!(why, Some(Reason::WrongType | Reason::Malformed));
                assert!(fits, "{kind:?} {name} {wrong}: {why:?}");
            }
        }
    }
    for raw in ["null", "1", "\"x\"", "[]", "true"] {
        for kind in Kind::ALL {
            assert_eq!(reason(kind, raw), Some(Reason::Malformed), "{raw}");
        }
    }
}

#[test]
fn f21_versions_that_nobody_counted_to_are_refused() {
    for kind in Kind::ALL {
        let version = |version: &str| {
            let raw = with(sample(kind), "/version", Some(json!(12345)));
            reason(kind, &raw.replace("12345", version))
        };
        let most = MAX_FOREIGN_VERSION;
        for fine in ["0", "1", "7.0", "4e3", &most.to_string()] {
            assert_eq!(version(fine), None, "{fine}");
        }
        let over = (most + 1).to_string();
        for wrong in [
            &over,
            "9007199254740991",
            "9007199254740993",
            "1e300",
            "-1",
            "1.5",
            "18446744073709551616",
        ] {
            assert_eq!(version(wrong), Some(Reason::Version), "{wrong}");
        }
        // No number that can be held.
        assert_eq!(version("1e999"), Some(Reason::WrongType));
        assert_eq!(version("\"7\""), Some(Reason::WrongType));
    }
}

#[test]
fn times_that_are_none_before_1970_or_days_ahead_are_refused() {
    let times: [(Kind, &[&str]); 3] = [
        (Kind::Host, &["lastSeenAt", "registeredAt"]),
        (Kind::Job, &["createdAt", "updatedAt"]),
        (Kind::Service, &["createdAt", "updatedAt"]),
    ];
    for (kind, names) in times {
        for name in names {
            let time = |time: &str| {
                reason(kind, &with(sample(kind), &format!("/{name}"), Some(json!(time))))
            };
            for fine in
                ["1970-01-01T00:00:00.000Z", "2026-01-03T03:04:05.678Z", "2026-01-02T03:04:05Z"]
            {
                assert_eq!(time(fine), None, "{name} {fine}");
            }
            for wrong in [
                "9999-12-31T23:59:59.999Z",
                "+275760-09-13T00:00:00.000Z",
                "1969-12-31T23:59:59.999Z",
                "2026-13-02T03:04:05.678Z",
                "yesterday",
                "",
                "1767323045678",
            ] {
                assert_eq!(time(wrong), Some(Reason::Time), "{name} {wrong}");
            }
            for ahead in ["2026-01-03T03:04:05.679Z", "9000-01-01T00:00:00.000Z"] {
                assert_eq!(time(ahead), Some(Reason::Ahead), "{name} {ahead}");
            }
        }
    }
}

#[test]
fn ids_that_cannot_be_are_refused() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    for kind in Kind::ALL {
        for id in ["", "a\nb", "\u{0}", &long] {
            let raw = with(sample(kind), "/id", Some(json!(id)));
            assert_eq!(reason(kind, &raw), Some(Reason::Id), "{id:?}");
        }
        let odd = with(sample(kind), "/id", Some(json!("any text / ünïcode")));
        assert_eq!(reason(kind, &odd), None);
    }
    let raw = with(a_job(), "/assignedHostId", Some(json!("")));
    assert_eq!(reason(Kind::Job, &raw), Some(Reason::Id));
    let mut record = a_service();
    record["assignments"][1]["hostId"] = json!("a\u{7}");
    assert_eq!(reason(Kind::Service, &record.to_string()), Some(Reason::Id));
}

#[test]
fn states_that_are_none_are_refused() {
    for kind in [Kind::Job, Kind::Service] {
        for word in ["banana", "", "Queued", "cancelled"] {
            let raw = with(sample(kind), "/status", Some(json!(word)));
            assert_eq!(reason(kind, &raw), Some(Reason::Status), "{word}");
        }
    }
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    for wrong in [json!(-1), json!(0.5), json!(1e18)] {
        let raw = with(a_job(), "/attempts", Some(wrong));
        assert_eq!(reason(Kind::Job, &raw), Some(Reason::Number));
    }
    let raw = with(a_service(), "/replicas", Some(json!(1001)));
    assert_eq!(reason(Kind::Service, &raw), Some(Reason::Number));
}

#[test]
fn what_is_larger_than_ours_may_be_is_refused() {
    let text = json!("x".repeat(MAX_TEXT_BYTES + 1));
    let many = json!((0..65).map(|n| n.to_string()).collect::<Vec<_>>());
    let large = json!({ "kind": "x", "data": "x".repeat(MAX_BODY_BYTES) });
    let assigned = a_service()["assignments"][0].clone();
    for (kind, pointer, value) in [
        (Kind::Host, "/name", text.clone()),
        (Kind::Host, "/updatedBy", json!("x".repeat(257))),
        (Kind::Host, "/capabilities", many.clone()),
        (Kind::Host, "/capabilities", json!(["x".repeat(257)])),
        (Kind::Job, "/submittedBy", text.clone()),
        (Kind::Job, "/requirement/requiredCapabilities", many),
        (Kind::Job, "/payload", large),
        (Kind::Job, "/anything", json!("x".repeat(33 << 20))),
        (Kind::Service, "/name", text),
        (Kind::Service, "/args", json!(["x".repeat(65 << 10)])),
        (Kind::Service, "/env", json!({ "A": "x".repeat(65 << 10) })),
        (Kind::Service, "/assignments", json!(vec![assigned; 1001])),
        (Kind::Service, "/anything", json!("x".repeat(3 << 20))),
    ] {
        let raw = with(sample(kind), pointer, Some(value));
        assert_eq!(reason(kind, &raw), Some(Reason::TooLarge), "{pointer}");
    }
}

#[test]
fn payloads_that_could_not_be_shown_again_are_refused() {
    let payload = |payload: &str| {
        let raw = with(a_job(), "/payload", Some(json!({ "here": 1 })));
        reason(Kind::Job, &raw.replace(r#"{"here":1}"#, payload))
    };
    let nested =
        |depth: usize| format!(r#"{{"kind":{}1{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(payload(&nested(100)), None);
    for depth in [101, 127, 128, 1000, 1_000_000] {
        assert_eq!(payload(&nested(depth)), Some(Reason::TooDeep), "{depth}");
    }
    let objects = format!(r#"{}1{}"#, r#"{"a":"#.repeat(200_000), "}".repeat(200_000));
    assert_eq!(payload(&objects), Some(Reason::TooDeep));
    for wrong in [r#"{"n":1e999}"#, r#"{"s":"\ud800"}"#, r#"{"\udc00":1}"#] {
        assert_eq!(payload(wrong), Some(Reason::Malformed), "{wrong}");
    }
    for wrong in ["[]", "1", "\"x\"", "true"] {
        assert_eq!(payload(wrong), Some(Reason::WrongType), "{wrong}");
    }
}

#[test]
fn a_refusal_says_which_record_it_is_about_and_what_is_wrong() {
    let raw = with(a_job(), "/version", Some(json!(1e20)));
    let refused = job(&raw, NOW).unwrap_err();
    assert!(refused.to_string().starts_with("job job_1: version must be"), "{refused}");
    let raw = with(a_host(), "/id", Some(json!("a\u{1b}[31m")));
    let said = host(&raw, NOW).unwrap_err().to_string();
    assert!(said.starts_with(r"host a\u{1b}[31m: id is not usable"), "{said}");
    let said = host("7", NOW).unwrap_err().to_string();
    assert!(said.starts_with("a host without a usable id: the record must be an object"), "{said}");
}
