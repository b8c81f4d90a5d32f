//! Whole bodies: one bad record does no harm to the others, and a bad body none at all.

use std::fmt::Write as _;

use serde_json::json;

use super::super::{
    Kind, MAX_SNAPSHOT_BYTES, MAX_SNAPSHOT_RECORDS, Malformed, Reason, read, visit,
};
use super::samples::{NOW, a_host, a_job, a_service, with};

#[test]
fn a_body_is_read_whole_in_either_form() {
    let body = json!({
        "nodeId": "node_a", "hosts": [a_host()], "jobs": [a_job(), a_job()],
        "services": [a_service()], "more": { "of": ["this"] },
    });
    for text in [body.to_string(), format!("\u{feff}{body:#}\n")] {
        let read = read(text.as_bytes(), NOW).unwrap();
        assert_eq!(read.node_id.as_deref(), Some("node_a"));
        assert_eq!((read.hosts.len(), read.jobs.len(), read.services.len()), (1, 2, 1));
        assert_eq!(read.counts.total(), 0);
    }
}

#[test]
fn members_may_be_missing_or_null_and_an_empty_body_is_a_snapshot_of_nothing() {
    for text in ["", "  ", "{}", r#"{"hosts":null,"jobs":[]}"#, r#"{"nodeId":7}"#] {
        let read = read(text.as_bytes(), NOW).unwrap();
        assert!(read.node_id.is_none() && read.hosts.is_empty() && read.jobs.is_empty(), "{text}");
    }
}

#[test]
fn what_is_no_body_is_refused_before_anything_is_handed_on() {
    let good = json!({ "hosts": [a_host()] }).to_string();
    let cut = &good[..good.len() - 1];
    let tail = format!("{good} x");
    let twice = format!("{cut},\"jobs\":{{}}}}");
    for text in ["null", "1", "[]", "\"x\"", "{", "nonsense", cut, &tail, &twice, r#"{"jobs":5}"#] {
        let refused = visit(text.as_bytes(), |kind, raw| panic!("{kind:?} {raw} of {text}"));
        assert!(matches!(refused, Err(Malformed::BadJson(_))), "{text}: {refused:?}");
    }
    let refused = visit(b"{\"hosts\":[\"\xff\"]}", |_, _| {});
    assert!(matches!(refused, Err(Malformed::NotUtf8(_))));
}

#[test]
fn a_body_of_nothing_but_brackets_is_an_error_and_no_crash() {
    for open in ["[", "{\"a\":", "{\"jobs\":[", "{\"jobs\":[{\"id\":"] {
        let text = open.repeat(1_000_000);
        assert!(matches!(read(text.as_bytes(), NOW), Err(Malformed::BadJson(_))), "{open}");
    }
}

#[test]
fn f21_a_record_that_is_refused_leaves_the_others() {
    let deep =
        format!(r#"{{"id":"deep","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let bad = [
        "null".to_owned(),
        "[[[]]]".to_owned(),
        r#"{"id":5}"#.to_owned(),
        r#"{"id":"\ud800"}"#.to_owned(),
        deep,
        with(a_job(), "/createdAt", None),
        with(a_job(), "/version", Some(json!(9_007_199_254_740_991_u64))),
    ];
    let mut text = "{\"jobs\":[".to_owned();
    for (n, bad) in bad.iter().enumerate() {
        let good = with(a_job(), "/id", Some(json!(format!("job_{n}"))));
        write!(text, "{bad},{good},").unwrap();
    }
    write!(text, "{}]}}", a_job()).unwrap();
    let read = read(text.as_bytes(), NOW).unwrap();
    assert_eq!(read.jobs.len(), bad.len() + 1);
    assert_eq!(read.counts.total(), bad.len() as u64);
    assert_eq!(read.counts.of(Reason::Malformed), 2);
    assert_eq!(read.counts.of(Reason::WrongType), 2);
    assert_eq!(read.counts.of(Reason::Version), 1);
    assert_eq!(read.counts.of(Reason::Missing), 2);
    assert_eq!(read.refused.len(), bad.len());
}

#[test]
fn equal_ids_are_handed_on_as_often_as_they_stand_there() {
    let newer = with(a_job(), "/version", Some(json!(10)));
    let text = format!("{{\"jobs\":[{},{newer},{}]}}", a_job(), a_job());
    let mut seen = Vec::new();
    let node = visit(text.as_bytes(), |kind, raw| seen.push((kind, raw.len()))).unwrap();
    assert_eq!((node, seen.len()), (None, 3));
    assert!(seen.iter().all(|(kind, _)| *kind == Kind::Job));
}

#[test]
fn longer_bodies_and_more_records_than_allowed_are_refused_as_such() {
    let body = vec![b' '; MAX_SNAPSHOT_BYTES + 1];
    assert_eq!(read(&body, NOW).unwrap_err(), Malformed::TooLarge);
    assert!(read(&body[1..], NOW).is_ok());
    let text = format!("{{\"jobs\":[{}1]}}", "1,".repeat(MAX_SNAPSHOT_RECORDS));
    assert_eq!(read(text.as_bytes(), NOW).unwrap_err(), Malformed::TooMany);
    let text = format!("{{\"jobs\":[{}1]}}", "1,".repeat(MAX_SNAPSHOT_RECORDS - 1));
    let all = read(text.as_bytes(), NOW).unwrap();
    assert_eq!(all.counts.total(), MAX_SNAPSHOT_RECORDS as u64);
    assert_eq!(all.refused.len(), 100);
}

#[test]
fn sixty_four_mib_of_one_record_cost_a_refusal() {
    let mut text = String::with_capacity(MAX_SNAPSHOT_BYTES);
    text.push_str(r#"{"jobs":[{"id":"large","payload":{"a":""#);
    let end = format!("\"}}}},{}]}}", a_job());
    let room = MAX_SNAPSHOT_BYTES - text.len() - end.len();
    text.extend(std::iter::repeat_n('x', room));
    text.push_str(&end);
    assert_eq!(text.len(), MAX_SNAPSHOT_BYTES);
    let read = read(text.as_bytes(), NOW).unwrap();
    assert_eq!((read.jobs.len(), read.counts.of(Reason::TooLarge)), (1, 1));
}

/// Bytes that change, go and come at random: nothing panics, and each record is read or refused.
#[test]
fn a_body_that_was_damaged_on_its_way_is_refused_or_read_in_part() {
    let body = json!({
        "nodeId": "node_a", "hosts": [a_host(), a_host()], "jobs": [a_job(), a_job()],
        "services": [a_service()],
    });
    let whole = body.to_string().into_bytes();
    let mut chance = 0x5eed_u64;
    let mut below = |bound: usize| {
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(chance >> 33).unwrap() % bound
    };
    let (mut bodies, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = u8::try_from(below(256)).unwrap(),
                1 => bytes[at] = b"0123456789\"{}[],:e-.tfn\\"[below(24)],
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"0123456789\"{}[],:e-.tfn\\"[below(24)]),
            }
        }
        let mut seen = 0;
        if visit(&bytes, |_, _| seen += 1).is_ok() {
            let read = read(&bytes, NOW).unwrap();
            let taken = read.hosts.len() + read.jobs.len() + read.services.len();
            assert_eq!(taken + usize::try_from(read.counts.total()).unwrap(), seen);
            bodies += 1;
            refused += read.counts.total();
        }
    }
    assert!(bodies > 1000 && refused > 100, "{bodies} bodies, {refused} records refused");
}
