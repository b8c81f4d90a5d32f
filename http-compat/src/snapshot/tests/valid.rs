//! What an original writes is read as it is meant, and its place among others is its own.

use serde_json::json;
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::{JobStatus, Milli, ServiceStatus};

use super::super::{Kind, Standing, host, job, service, stamp};
use super::samples::{NOW, a_host, a_job, a_service, sample, with};
use crate::json;

const DAY: u64 = 86_400_000;
/// 2026-01-01T00:00:00.000Z.
const NEW_YEAR: Wall = Wall(1_767_225_600_000);

#[test]
fn a_host_is_read_and_shown_as_it_was() {
    let raw = a_host().to_string();
    let read = host(&raw, NOW).unwrap();
    assert_eq!(read.view.max_parallel, Milli(2500));
    assert_eq!(json::host::show(&read.view), a_host());
    assert_eq!((read.raw, read.exported), (raw.as_str(), None));
}

#[test]
fn a_job_is_read_and_shown_as_it_was() {
    let raw = a_job().to_string();
    let read = job(&raw, NOW).unwrap();
    assert_eq!(read.view.created, Hlc { ms: NEW_YEAR.0, count: 0 });
    assert_eq!(read.view.status, JobStatus::Completed);
    assert_eq!(json::job::show(&read.view), a_job());
    let queued = with(a_job(), "/status", Some(json!("queued")));
    let queued = job(&queued, NOW).unwrap().view;
    assert_eq!((queued.status, queued.required), (JobStatus::Queued, vec!["shell".to_owned()]));
    let mut leased = a_job();
    leased["status"] = json!("leased");
    leased["leaseExpiresAt"] = json!("2026-01-02T00:01:00.000Z");
    let raw = leased.to_string();
    assert_eq!(json::job::show(&job(&raw, NOW).unwrap().view), leased);
}

#[test]
fn a_service_is_read_and_shown_as_it_was() {
    let raw = a_service().to_string();
    let read = service(&raw, NOW).unwrap();
    assert_eq!(read.view.status, ServiceStatus::Running);
    assert_eq!((read.view.ver, read.view.generation), (0, 0));
    assert_eq!(json::service::whole(&read.view), a_service());
}

#[test]
fn payloads_of_any_kind_and_their_members_are_kept_verbatim() {
    for payload in [
        json!({ "kind": "brew", "coffee": { "beans": [1, 2.5, -3e30, null, true], "ü": "😀\u{0}" } }),
        json!({ "kind": { "even": "this" } }),
        json!({}),
    ] {
        let raw = with(a_job(), "/payload", Some(payload.clone()));
        let read = job(&raw, NOW).unwrap().view;
        assert_eq!(read.payload, payload.to_string().into_bytes());
        assert_eq!(json::job::show(&read)["payload"], payload);
    }
}

#[test]
fn a_record_that_was_asked_for_reads_as_one_that_was_told() {
    let mut record = a_job();
    record["payload"]["args"] = json!([" \\\" \n", "\\", "{ \"a\" : 1 }"]);
    let (told, asked) = (record.to_string(), serde_json::to_string_pretty(&record).unwrap());
    let told = job(&told, NOW).unwrap();
    let asked = job(&asked, NOW).unwrap();
    assert_eq!(told.view, asked.view);
    assert_eq!(told.view.payload, record["payload"].to_string().into_bytes());
}

#[test]
fn members_that_an_original_leaves_out_are_absent() {
    for name in ["submittedBy", "assignedHostId", "result"] {
        let raw = with(a_job(), &format!("/{name}"), None);
        let shown = json::job::show(&job(&raw, NOW).unwrap().view);
        assert_eq!(shown.to_string(), raw);
    }
    for name in ["finishedAt", "durationMs", "exitCode", "stdout", "stderr"] {
        let raw = with(a_job(), &format!("/result/{name}"), None);
        let read = job(&raw, NOW).unwrap().view.result.unwrap();
        // The original sets the time itself.
        assert_eq!(read.finished_at, NEW_YEAR.plus_ms(DAY), "{name}");
        if name != "finishedAt" {
            let shown = json::job::show(&job(&raw, NOW).unwrap().view);
            assert_eq!(shown.to_string(), raw);
        }
    }
    for name in ["cwd", "env"] {
        let raw = with(a_service(), &format!("/{name}"), None);
        let shown = json::service::contract(&service(&raw, NOW).unwrap().view);
        assert_eq!(shown[name], json!(null));
    }
}

#[test]
fn f42_what_has_ended_stands_above_what_has_not_then_the_larger_version_counts() {
    let standing = |ended, version, updated, by: &str| Standing {
        ended,
        version,
        updated: Wall(updated),
        updated_by: by.to_owned(),
    };
    let rising = [
        standing(false, 1, 9, "z"),
        standing(false, 2, 1, "a"),
        standing(false, 2, 2, "a"),
        standing(false, 2, 2, "b"),
        standing(true, 1, 1, "a"),
        standing(true, 1, 1, "b"),
    ];
    assert!(rising.is_sorted_by(|a, b| a < b));
    let raw = a_job().to_string();
    let read = job(&raw, NOW).unwrap().standing();
    assert_eq!(read, Standing { ended: true, ..standing(false, 9, NEW_YEAR.0 + DAY, "node_a") });
    let raw = a_host().to_string();
    assert_eq!(host(&raw, NOW).unwrap().standing(), standing(false, 7, 0, "node_a"));
    let raw = a_service().to_string();
    let read = service(&raw, NOW).unwrap().standing();
    assert_eq!(read, standing(false, 11, NEW_YEAR.0 + DAY, "node_a"));
}

#[test]
fn a_stamp_is_what_the_whole_record_says() {
    for kind in Kind::ALL {
        let raw = with(sample(kind), "/skyclaw", Some(json!("00ff")));
        let stamp = stamp(kind, &raw).unwrap();
        let (id, standing, exported) = match kind {
            Kind::Host => {
                let it = host(&raw, NOW).unwrap();
                (it.view.id.to_string(), it.standing(), it.exported)
            }
            Kind::Job => {
                let it = job(&raw, NOW).unwrap();
                (it.view.id.to_string(), it.standing(), it.exported)
            }
            Kind::Service => {
                let it = service(&raw, NOW).unwrap();
                (it.view.id.to_string(), it.standing(), it.exported)
            }
        };
        assert_eq!((stamp.id, stamp.standing, stamp.exported.clone()), (id, standing, exported));
        assert_eq!(stamp.exported.as_deref(), Some("00ff"));
    }
}
