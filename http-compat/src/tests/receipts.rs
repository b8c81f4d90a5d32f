//! Receipts in reports and in answers.

use serde_json::{Value, json};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::{Command, NetworkId};

use super::rig::{Rig, rig};
use crate::receipt::{self, tests::receipt as sample};

fn document() -> Value {
    let key = NodeKey::from_seed(&[5; 32]);
    let signed = Signed::seal(&key, NetworkId::of_name("local"), sample(&key));
    receipt::show(signed.raw()).unwrap()
}

async fn complete(rig: &Rig, id: &str, receipt: Value) -> super::rig::Reply {
    let body = json!({ "hostId": "h", "success": true, "receipt": receipt });
    rig.post(&format!("/v1/jobs/{id}/complete"), body).await
}

#[tokio::test]
async fn a_receipt_is_shown_with_its_job_and_alone_and_in_no_listing() {
    let rig = rig();
    rig.host("h").await;
    let id = rig.claimed("h").await;
    let answer = complete(&rig, &id, document()).await.ok();
    assert!(answer["job"]["result"].get("receipt").is_none(), "hosts get no more than before");
    match rig.fake.last() {
        Command::Complete(report) => {
            let sent = report.receipt.expect("it was read");
            assert_eq!(receipt::show(&sent).unwrap(), document());
        }
        other => panic!("{other:?}"),
    }
    let job = rig.get(&format!("/v1/jobs/{id}")).await.ok();
    assert_eq!(job["job"]["result"]["receipt"], document());
    let alone = rig.get(&format!("/v1/jobs/{id}/receipt")).await.ok();
    assert_eq!(alone, json!({ "receipt": document() }));
    let listed = rig.get("/v1/jobs").await.ok();
    assert!(listed["jobs"][0]["result"].is_object());
    assert!(listed["jobs"][0]["result"].get("receipt").is_none());
}

#[tokio::test]
async fn without_one_there_is_none() {
    let rig = rig();
    rig.host("h").await;
    let id = rig.claimed("h").await;
    rig.get(&format!("/v1/jobs/{id}/receipt")).await.refused(404, "receipt not found");
    rig.get("/v1/jobs/other/receipt").await.refused(404, "job not found");
    complete(&rig, &id, Value::Null).await.ok();
    rig.get(&format!("/v1/jobs/{id}/receipt")).await.refused(404, "receipt not found");
    let job = rig.get(&format!("/v1/jobs/{id}")).await.ok();
    assert!(job["job"]["result"].get("receipt").is_none());
}

#[tokio::test]
async fn what_is_no_receipt_is_refused_by_its_member() {
    let rig = rig();
    rig.host("h").await;
    let id = rig.claimed("h").await;
    let with = |name: &str, value: Value| {
        let mut document = document();
        document[name] = value;
        document
    };
    for (wrong, text) in [
        (json!("x"), "the document is missing or wrong"),
        (with("payload", json!("00")), "payload is missing or wrong"),
        (with("sandbox", json!("strong")), "sandbox is missing or wrong"),
        (with("endedAt", json!("soon")), "endedAt is missing or wrong"),
        (with("more", json!(1)), "more is no part of a receipt"),
    ] {
        let text = format!("receipt is not usable: {text}");
        complete(&rig, &id, wrong).await.refused(400, &text);
    }
    let file = json!({ "path": "x".repeat(4000), "hash": "0".repeat(64), "bytes": 1 });
    let many = with("outputs", json!(vec![file; 20]));
    complete(&rig, &id, many).await.refused(400, "receipt is too long");
}
