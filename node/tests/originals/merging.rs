//! What a merge takes, what it passes over, and what is left after restarts and damage.

use bytes::Bytes;
use serde_json::json;
use skyclaw_http_compat::Backend;
use skyclaw_http_compat::snapshot::{Exporter, Kind, Malformed};
use skyclaw_node::originals::MergeError;
use skyclaw_protocol::{JobId, JobStatus, NetworkId};

use super::world::{World, host, iso, job, service};

#[tokio::test]
async fn a_snapshot_is_taken_once_and_shown_after_a_restart() {
    let mut world = World::new().await;
    let body = json!({
        "nodeId": "node_o", "hosts": [host("h_o", 3)], "services": [service("svc_o", 4)],
        "jobs": [job("job_q", 5, "queued", &iso(9000)), job("job_c", 6, "completed", &iso(8000))],
    });
    let mut changes = world.originals().changes();
    let merged = world.merge(&body).await;
    assert_eq!((merged.node_id.as_deref(), merged.changed), (Some("node_o"), 4));
    assert_eq!((merged.held, merged.highest_version), (0, 6));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let again = world.merge(&body).await;
    assert_eq!((again.changed, again.held, again.highest_version), (0, 4, 6));
    assert!(!changes.has_changed().unwrap());

    world.start_again().await;
    assert_eq!(world.originals().highest_version(), 6);
    let queued = world.originals().queued();
    assert_eq!(queued.len(), 1);
    assert_eq!((queued[0].id.as_str(), &*queued[0].required), ("job_q", &["shell".to_owned()][..]));
    let ended = world.handle().job(JobId::new("job_c").unwrap()).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.updated_by.as_str()), (JobStatus::Completed, "node_o"));
    assert_eq!(world.handle().hosts().await.unwrap().len(), 1);
    assert_eq!(world.handle().services().await.unwrap().len(), 1);
    let waiting = world.originals().unfinished(None).await.unwrap();
    assert_eq!(waiting.len(), 1);
    let after = Some((waiting[0].created.wall(), waiting[0].id.clone()));
    assert_eq!(world.originals().unfinished(after).await.unwrap(), []);

    world.originals().clear().await.unwrap();
    assert_eq!(world.originals().count(), 0);
    assert_eq!(world.handle().job(JobId::new("job_c").unwrap()).await.unwrap(), None);
    world.stop().await;
}

#[tokio::test]
async fn rule_23_what_comes_back_of_ours_is_told_and_not_taken() {
    let mut world = World::new().await;
    let ours = world.submit().await;
    let exporter = Exporter::new(NetworkId::of_name("local"));
    let exported = exporter.job(&ours);
    let mut of_others = job("job_other", 9, "leased", &iso(5));
    of_others["skyclaw"] = json!("another network");
    let merged = world.merge(&json!({ "jobs": [exported, of_others] })).await;
    assert_eq!((merged.changed, merged.highest_version), (0, ours.version.max(9)));
    let shown: Vec<_> = merged.exported.iter().map(|(kind, it)| (*kind, it.id.as_str())).collect();
    assert_eq!(shown, [(Kind::Job, ours.id.as_str()), (Kind::Job, "job_other")]);
    assert_eq!(merged.exported[0].1.exported.as_deref(), Some(exporter.network()));
    assert_eq!(merged.exported[0].1.standing.version, ours.version);
    assert_eq!(world.originals().count(), 0);
    world.stop().await;
}

#[tokio::test]
async fn of_a_register_here_only_the_end_is_taken() {
    let mut world = World::new().await;
    let ours = world.submit().await;
    let id = ours.id.as_str();
    let merged = world.merge(&json!({ "jobs": [job(id, 500, "queued", &iso(5))] })).await;
    assert_eq!((merged.changed, merged.held), (0, 1));
    assert_eq!(world.originals().queued(), []);
    let merged = world.merge(&json!({ "jobs": [job(id, 3, "failed", &iso(5))] })).await;
    assert_eq!(merged.changed, 1);
    let shown = world.handle().job(ours.id).await.unwrap().unwrap();
    assert_eq!((shown.status, shown.updated_by.as_str()), (JobStatus::Failed, "node_o"));
    world.stop().await;
}

#[tokio::test]
async fn a_job_that_became_ours_waits_at_originals_no_more() {
    let mut world = World::new().await;
    world.merge(&json!({ "jobs": [job("job_q", 5, "queued", &iso(9000))] })).await;
    assert_eq!(world.originals().queued().len(), 1);
    let theirs = world.handle().job(JobId::new("job_q").unwrap()).await.unwrap().unwrap();
    let ours = world.adopt("job_q", theirs.created.wall()).await;
    assert_eq!(world.originals().queued(), []);
    assert!(ours.version > 1);
    let shown = world.handle().job(ours.id).await.unwrap().unwrap();
    assert_ne!(shown.updated_by, "node_o");
    world.stop().await;
}

#[tokio::test]
async fn f21_refused_records_are_counted_by_reason_once_however_often_they_come() {
    let mut world = World::new().await;
    let mut bare = job("job_1", 1, "queued", &iso(5));
    bare.as_object_mut().unwrap().shift_remove("requirement");
    let huge = job("job_2", 9_007_199_254_740_991, "queued", &iso(5));
    let body = json!({ "jobs": [bare, huge, 7, job("job_3", 1, "queued", &iso(5))] });
    for round in 0..3 {
        let merged = world.merge(&body).await;
        assert_eq!(merged.changed, usize::from(round == 0));
        let refused: Vec<_> = merged.refused.into_iter().collect();
        assert_eq!(refused, [("bad_version", 1), ("malformed", 1), ("missing", 1)]);
        assert_eq!(merged.highest_version, 1, "a number nobody counted to raises nothing");
    }
    let metrics = world.handle().metrics();
    for line in [
        "skyclaw_original_records_refused_total{reason=\"bad_version\"} 1",
        "skyclaw_original_records_refused_total{reason=\"missing\"} 1",
        "skyclaw_original_records_refused_total{reason=\"too_deep\"} 0",
        "skyclaw_original_records{kind=\"job\"} 1",
        "skyclaw_original_merges_total 3",
        "skyclaw_original_records_merged_total 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    world.stop().await;
}

#[tokio::test]
async fn of_equal_ids_in_one_snapshot_the_highest_is_taken() {
    let mut world = World::new().await;
    let all = [3, 9, 1].map(|version| job("job_1", version, "queued", &iso(5)));
    let merged = world.merge(&json!({ "jobs": all })).await;
    assert_eq!((merged.changed, merged.held), (1, 2));
    let shown = world.handle().job(JobId::new("job_1").unwrap()).await.unwrap().unwrap();
    assert_eq!(shown.version, 9);
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_is_none_changes_nothing_and_makes_no_file() {
    let mut world = World::new().await;
    for body in ["[]", "{\"jobs\":[{}", "\u{0}"] {
        let refused = world.originals().merge(Bytes::from(body)).await.unwrap_err();
        assert!(matches!(refused, MergeError::Malformed(Malformed::BadJson(_))), "{refused}");
    }
    assert!(!world.folder.path().join("node.db.originals").exists());
    world.stop().await;
}

#[tokio::test]
async fn a_copy_that_is_damaged_is_put_aside_and_begun_anew() {
    let mut world = World::new().await;
    let body = json!({ "jobs": [job("job_1", 1, "queued", &iso(5))] });
    world.merge(&body).await;
    world.stop().await;
    let file = world.folder.path().join("node.db.originals");
    std::fs::write(&file, b"nonsense").unwrap();
    world.node = Some(super::world::start(world.folder.path()).await);
    assert_eq!(world.originals().count(), 0);
    assert_eq!(world.merge(&body).await.changed, 1);
    let aside = world.folder.path().join("node.db.originals.damaged");
    assert_eq!(std::fs::read(aside).unwrap(), b"nonsense");
    world.stop().await;
}

#[tokio::test]
async fn many_merges_at_once_are_one_after_the_other() {
    let mut world = World::new().await;
    let merges = (0..20).map(|n| {
        let (originals, created) = (world.originals(), iso(5));
        let jobs: Vec<_> =
            (0..50).map(|m| job(&format!("job_{m}"), n * 7 % 20 + 1, "queued", &created)).collect();
        let body = Bytes::from(json!({ "jobs": jobs }).to_string());
        tokio::spawn(async move { originals.merge(body).await.unwrap() })
    });
    for merge in merges.collect::<Vec<_>>() {
        merge.await.unwrap();
    }
    assert_eq!(world.originals().count(), 50);
    let shown = world.handle().job(JobId::new("job_7").unwrap()).await.unwrap().unwrap();
    assert_eq!(shown.version, 20);
    world.stop().await;
}
