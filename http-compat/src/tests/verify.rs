//! Jobs that several hosts are to run.

use serde_json::{Value, json};
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::receipt::Receipt;
use skyclaw_protocol::verify::{Said, Told, Verify};
use skyclaw_protocol::{Command, Hash, HostId};

use super::rig::rig;
use crate::receipt::{self, tests::receipt as sample};

fn job(verify: Value, more: Value) -> Value {
    let mut body = json!({ "payload": { "kind": "shell", "command": "true" }, "verify": verify });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn verify_is_taken_and_shown_where_it_was_asked_for() {
    let rig = rig();
    for (asked, verify) in [
        (json!({ "copies": 3, "agree": 2 }), Verify { copies: 3, agree: 2 }),
        (json!({ "copies": 2 }), Verify { copies: 2, agree: 2 }),
    ] {
        let answer = rig.post("/v1/jobs", job(asked, json!({}))).await.ok();
        let Command::Submit(request) = rig.fake.last() else { panic!() };
        assert_eq!(request.verify, Some(verify));
        assert_eq!(request.required, ["receipt"], "only hosts that sign may run it");
        let shown = json!({ "copies": verify.copies, "agree": verify.agree, "verdict": "open",
            "results": [] });
        assert_eq!(answer["job"]["verify"], shown);
    }
    let plain = rig.post("/v1/jobs", job(Value::Null, json!({}))).await.ok();
    assert!(plain["job"].get("verify").is_none());
    let Command::Submit(request) = rig.fake.last() else { panic!() };
    assert!(request.verify.is_none() && request.required.is_empty());
}

#[tokio::test]
async fn what_cannot_be_verified_is_refused() {
    let rig = rig();
    let agent =
        json!({ "payload": { "kind": "openclaw-agent", "message": "x", "idempotent": true } });
    let run = json!({ "payload": { "kind": "openclaw-run", "args": ["agent"] } });
    let two = || json!({ "copies": 2, "agree": 2 });
    for (verify, more, text) in [
        (json!({ "copies": 0 }), json!({}), "verify.copies must be from 1 to 5"),
        (json!({ "copies": 6 }), json!({}), "verify.copies must be from 1 to 5"),
        (json!({ "agree": 2 }), json!({}), "verify.copies is required"),
        (json!({ "copies": 3, "agree": 0 }), json!({}), "verify.agree must be from 1 to 3"),
        (json!({ "copies": 3, "agree": 4 }), json!({}), "verify.agree must be from 1 to 3"),
        (
            two(),
            json!({ "retry": 1 }),
            "verify goes neither with retry nor with work that is not to be repeated",
        ),
        (two(), run, "verify goes neither with retry nor with work that is not to be repeated"),
        (two(), agent, "verify is not for agent jobs: their answers differ by nature"),
    ] {
        rig.post("/v1/jobs", job(verify, more)).await.refused(400, text);
    }
    let strange = rig.post("/v1/jobs", job(json!({ "copies": 2, "hosts": 2 }), json!({}))).await;
    assert_eq!(strange.status, 400, "{}", strange.text);
}

#[tokio::test]
async fn who_said_what_is_shown_and_the_receipts_of_those_that_agree_are_handed_out() {
    let rig = rig();
    rig.post("/v1/jobs", job(json!({ "copies": 3, "agree": 2 }), json!({}))).await.ok();
    let (mut told, mut receipts) = (Vec::new(), Vec::new());
    for (n, stdout) in [(1, "right"), (2, "forged"), (3, "right")] {
        let key = NodeKey::from_seed(&[n; 32]);
        let host = HostId::new(format!("h{n}")).unwrap();
        let stdout = Hash::of(stdout.as_bytes());
        let receipt = Receipt { host: host.clone(), stdout, ..sample(&key) };
        let said = Said::of(&receipt);
        told.push(Told { host, node: key.id(), attempt: n.into(), said });
        receipts.push(Signed::seal(&key, receipt.network, receipt).raw().clone());
    }
    let id = {
        let mut state = rig.fake.state();
        let job = &mut state.jobs[0];
        let view = job.verify.as_mut().unwrap();
        (view.told, view.receipts) = (told, receipts.clone());
        job.id.to_string()
    };
    let shown = rig.get(&format!("/v1/jobs/{id}")).await.ok()["job"]["verify"].clone();
    let agrees: Vec<&Value> =
        shown["results"].as_array().unwrap().iter().map(|told| &told["agrees"]).collect();
    assert_eq!(
        (shown["verdict"].as_str(), agrees),
        (Some("agreed"), vec![&json!(true), &json!(false), &json!(true)])
    );
    assert_eq!(shown["results"][0]["digest"], shown["results"][2]["digest"]);
    assert_eq!(shown["results"][1]["host"], "h2");
    let answer = rig.get(&format!("/v1/jobs/{id}/receipt")).await.ok();
    let right = [&receipts[0], &receipts[2]].map(|raw| receipt::show(raw).unwrap());
    assert_eq!(answer["receipts"], json!(right));
    // While none agree, all that there are.
    rig.fake.state().jobs[0].verify.as_mut().unwrap().told.remove(2);
    let answer = rig.get(&format!("/v1/jobs/{id}/receipt")).await.ok();
    assert_eq!(answer["receipts"].as_array().map(Vec::len), Some(3));
}
