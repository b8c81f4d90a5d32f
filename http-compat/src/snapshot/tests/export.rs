//! What an original is told of ours it can show, and its hosts can run none of it.

use serde_json::{Value, json};
use skyclaw_protocol::{JobStatus, NetworkId};

use super::super::{Exporter, host, job, read, service};
use super::samples::{NOW, a_host, a_job, a_service, with};

fn exporter() -> Exporter {
    Exporter::new(NetworkId::of_name("of a test"))
}

fn exported_job(status: &str) -> Value {
    let raw = with(a_job(), "/status", Some(json!(status)));
    exporter().job(&job(&raw, NOW).unwrap().view)
}

#[test]
fn a_job_that_has_not_ended_is_held_for_ever_by_a_host_that_cannot_be() {
    for status in ["queued", "leased"] {
        let out = exported_job(status);
        assert_eq!(out["status"], "leased");
        assert_eq!(out["leaseExpiresAt"], "9999-12-31T23:59:59.999Z");
        assert_eq!(out["assignedHostId"], exporter().holder().as_str());
        assert_eq!(out["version"], 9);
    }
}

#[test]
fn a_job_that_has_ended_is_told_as_it_is() {
    for status in ["completed", "failed"] {
        let mut out = exported_job(status);
        assert_eq!(out["skyclaw"], exporter().network());
        out.as_object_mut().unwrap().shift_remove("skyclaw");
        assert_eq!(
            out,
            serde_json::from_str::<Value>(&with(a_job(), "/status", Some(json!(status)))).unwrap()
        );
    }
}

#[test]
fn a_service_wants_what_it_has() {
    let raw = a_service().to_string();
    let out = exporter().service(&service(&raw, NOW).unwrap().view);
    assert_eq!(out["replicas"], 2);
    assert_eq!(out["assignments"], a_service()["assignments"]);
    let raw = with(a_service(), "/assignments", Some(json!([])));
    let out = exporter().service(&service(&raw, NOW).unwrap().view);
    assert_eq!(out["replicas"], 1);
    assert_eq!(out["assignments"][0]["hostId"], exporter().holder().as_str());
    assert_eq!(out["assignments"][0]["status"], "pending");
}

#[test]
fn what_was_exported_is_known_again_as_ours() {
    let exporter = exporter();
    let (a_host, a_service) = (a_host().to_string(), a_service().to_string());
    let hosts = vec![exporter.host(&host(&a_host, NOW).unwrap().view)];
    let jobs = vec![exported_job("queued"), exported_job("failed")];
    let services = vec![exporter.service(&service(&a_service, NOW).unwrap().view)];
    let body = exporter.body("node_b", hosts, jobs, services);
    assert!(!body.contains(&b'\n'));
    let back = read(&body, NOW).unwrap();
    assert_eq!((back.node_id.as_deref(), back.counts.total()), (Some("node_b"), 0));
    let network = Some(exporter.network().to_owned());
    assert_eq!(back.hosts[0].exported, network);
    assert_eq!(back.services[0].exported, network);
    assert_eq!(back.jobs.iter().filter(|job| job.exported == network).count(), 2);
    assert_eq!(back.jobs[0].view.status, JobStatus::Leased);
    // A mark of any form is one.
    for mark in [json!(true), json!({}), json!("")] {
        let raw = with(a_job(), "/skyclaw", Some(mark));
        assert!(job(&raw, NOW).unwrap().exported.is_some());
    }
}
