//! Tests.
use crate::*;
#[test]
fn what_is_committed_is_read_after_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b.db");
    let o = Store::open(&path, &Options::new([7; 32])).unwrap();
    assert!(o.created);
    let id = o.key.id();
    drop(o);
    let o = Store::open(&path, &Options::new([8; 32])).unwrap();
    assert!(!o.created);
    assert_eq!(o.key.id(), id);
    println!("{:?}", std::fs::read_dir(dir.path().join("a")).unwrap().collect::<Vec<_>>());
}
