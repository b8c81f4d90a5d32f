//! Remembered answers of originals.

use skyclaw_protocol::ImportedKey;
use skyclaw_protocol::clock::Wall;

use crate::imported::{ImportedKeys, PutKeys};

fn key(route: &str, key: &str, expires: u64) -> ImportedKey {
    ImportedKey {
        route: route.to_owned(),
        key: key.to_owned(),
        hash: vec![7; 32],
        status: 200,
        response: br#"{"job":{"id":"job_1"}}"#.to_vec(),
        expires: Wall(expires),
    }
}

#[test]
fn answers_are_kept_until_they_expire_and_the_first_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db.imported");
    let keys = ImportedKeys::open(&path).unwrap();
    assert!(keys.is_empty() && keys.get("/v1/jobs", "k", Wall(0)).unwrap().is_none());
    assert!(!keys.sweep(Wall(9)).unwrap());

    let first = key("/v1/jobs", "k", 100);
    let put = keys.put(&[first.clone(), key("/v1/jobs", "k2", 50)]).unwrap();
    assert_eq!(put, PutKeys { taken: 2, known: 0, full: 0 });
    let other = ImportedKey { status: 201, ..first.clone() };
    let put = keys.put(&[other, key("/v1/services", "k", 100)]).unwrap();
    assert_eq!(put, PutKeys { taken: 1, known: 1, full: 0 });
    drop(keys);

    let keys = ImportedKeys::open(&path).unwrap();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys.get("/v1/jobs", "k", Wall(99)).unwrap(), Some(first));
    assert_eq!(keys.get("/v1/jobs", "k", Wall(100)).unwrap(), None);
    assert!(keys.has("/v1/jobs", "k").unwrap());
    assert_eq!(keys.get("/v1/job", "sk", Wall(0)).unwrap(), None);
    assert!(!keys.sweep(Wall(50)).unwrap());
    assert_eq!(keys.len(), 2);
    assert!(!keys.has("/v1/jobs", "k2").unwrap());
    assert!(!keys.sweep(Wall(1000)).unwrap());
    assert!(keys.is_empty());
}

#[test]
fn an_answer_that_does_not_check_out_counts_as_absent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.db.imported");
    let keys = ImportedKeys::open(&path).unwrap();
    keys.put(&[key("/v1/jobs", "k", 100)]).unwrap();
    drop(keys);
    let mut bytes = std::fs::read(&path).unwrap();
    let text = b"job_1";
    let at: Vec<_> =
        (0..bytes.len() - text.len()).filter(|at| &bytes[*at..at + text.len()] == text).collect();
    assert!(!at.is_empty());
    for at in at {
        bytes[at] = b'J';
    }
    std::fs::write(&path, bytes).unwrap();
    // redb may see it by its own checksums, or not.
    if let Ok(keys) = ImportedKeys::open(&path) {
        assert_eq!(keys.get("/v1/jobs", "k", Wall(0)).unwrap(), None);
    }
}
