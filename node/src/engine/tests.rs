//! What must not be lost on its way to the engine: while its store is away, and while its inbox is full.

use super::*;

#[test]
fn what_is_told_at_changes_only_is_kept_while_the_store_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, receiver) = sync_channel(ENGINE_INBOX);
    let network = NetworkId::of_name("n");
    let life = Life {
        config: EngineConfig {
            db_path: folder.path().join("x.db"),
            store: skyclaw_store::Options::new([0; 32]),
            machine: MachineConfig::usual(network, "a"),
        },
        inbox: receiver,
        shared: Arc::default(),
    };
    let node = NodeId([7; 32]);
    inbox.send(Input::Coordinators(vec![node])).unwrap();
    inbox.send(Input::Revoked(BTreeMap::from([(node, Wall(5))]))).unwrap();
    inbox.send(Input::Outside { known: 3, alive: 2, seen: 9 }).unwrap();
    inbox.send(Input::Stop).unwrap();
    assert!(life.refuse_for(STORE_RETRY, "the disk is away"), "asked to stop");
    assert_eq!(life.shared.coordinators(), [node]);
    assert_eq!(life.shared.revoked(), BTreeMap::from([(node, Wall(5))]));
    assert_eq!(life.shared.outside(), ((3, 2), 9), "the bridge tells of it at changes only");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_lost_waits_for_room_and_for_no_engine_that_has_ended() {
    let (inbox, receiver) = sync_channel(1);
    assert!(put(&inbox, Input::Drain).await);
    let waiting = tokio::spawn({
        let inbox = inbox.clone();
        async move { put(&inbox, Input::Gone(NodeId([7; 32]))).await }
    });
    tokio::time::sleep(10 * INBOX_AGAIN).await;
    assert!(!waiting.is_finished());
    assert!(matches!(receiver.try_recv(), Ok(Input::Drain)));
    assert!(waiting.await.unwrap());
    assert!(matches!(receiver.try_recv(), Ok(Input::Gone(_))));
    drop(receiver);
    assert!(!put(&inbox, Input::Drain).await);
}
