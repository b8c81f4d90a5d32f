//! Control records: kept, replaced, forgotten, in backups, and no trouble to files without them.

use skyclaw_protocol::NetworkId;
use skyclaw_protocol::batch::Write;
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::controls::ControlKey;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::control::Control;

use super::world::{World, options};
use crate::tables::CONTROLS;
use crate::{CommitError, Store, restore};

fn network() -> NetworkId {
    NetworkId::of_name("test")
}

/// Its content is of a kind that this version does not know: to the store all are alike.
pub(super) fn control(id: &str, ms: u64, bytes: usize) -> Signed<Control> {
    let control = Control {
        kind: "some".into(),
        id: id.into(),
        at: Hlc { ms, count: 0 },
        last: false,
        until: None,
        body: vec![7; bytes],
    };
    Signed::seal(&NodeKey::from_seed(&[5; 32]), network(), control)
}

fn write(control: &Signed<Control>) -> Write {
    Write::Control(Box::new(control.clone()))
}

#[test]
fn the_last_one_written_of_each_is_read_after_reopen_and_after_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    let mut world = World::new();
    let mut opened = Store::open(&path, &options()).unwrap();
    let [a, newer, b, gone] =
        [("a", 1), ("a", 2), ("b", 1), ("c", 1)].map(|(id, ms)| control(id, ms, 20));
    let writes = vec![write(&a), write(&b), write(&gone), write(&newer)];
    opened.store.commit(world.batch(writes)).unwrap();
    let writes = vec![Write::ForgetControl(ControlKey::of(gone.body()))];
    opened.store.commit(world.batch(writes)).unwrap();
    let copy = folder.path().join("copy.db");
    opened.reader.backup(&copy, network()).unwrap();
    drop(opened);
    let wanted = [newer, b];
    assert_eq!(Store::open(&path, &options()).unwrap().snapshot.controls, wanted);
    let restored = folder.path().join("restored.db");
    restore(&copy, &restored, [9; 32]).unwrap();
    assert_eq!(Store::open(&restored, &options()).unwrap().snapshot.controls, wanted);
}

#[test]
fn a_file_of_the_version_before_opens_and_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db");
    drop(Store::open(&path, &options()).unwrap());
    let db = redb::Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    assert!(txn.delete_table(CONTROLS).unwrap());
    txn.commit().unwrap();
    drop(db);
    let mut opened = Store::open(&path, &options()).unwrap();
    assert!(opened.snapshot.controls.is_empty());
    let one = control("a", 1, 20);
    opened.store.commit(World::new().batch(vec![write(&one)])).unwrap();
    drop(opened);
    assert_eq!(Store::open(&path, &options()).unwrap().snapshot.controls, [one]);
}

#[test]
fn one_that_could_not_be_read_back_is_refused() {
    let mut opened = Store::open_disk(&crate::testing::Disk::new(), &options()).unwrap();
    let writes = vec![write(&control("a", 1, 3000))];
    let error = opened.store.commit(World::new().batch(writes)).unwrap_err();
    assert!(matches!(error, CommitError::TooLong { kind: "control", .. }), "{error}");
}
