//! The inputs that are kept: `corpus/<target>/ok-*` are taken, `no-*` are refused, `was-*` broke a reader once.
//!
//! Always: `ok-` and `no-` are what the targets make, byte for byte, so a reader that would no longer
//! take what was written before is noticed here. `SKYCLAW_FUZZ_CORPUS=write` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use skyclaw_tests::workspace_root;

use crate::engine::Target;

/// Largest input that is kept, in bytes: they are altered many thousand times a second.
const MAX_KEPT: usize = 16 << 10;

fn folder(target: &str) -> PathBuf {
    workspace_root().join("tests/fuzz/corpus").join(target)
}

fn all() -> impl Iterator<Item = &'static Target> {
    [
        crate::bundle::ALL,
        crate::documents::ALL,
        crate::frames::ALL,
        crate::http::ALL,
        crate::lines::ALL,
        crate::peers::ALL,
        crate::records::ALL,
        crate::tickets::ALL,
    ]
    .into_iter()
    .flatten()
}

/// What is kept for a target, by name.
pub(crate) fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut kept: Vec<_> = fs::read_dir(folder(target))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a file of the corpus"))
        })
        .collect();
    kept.sort();
    kept
}

/// Reads one of them, and asserts that its name is true.
pub(crate) fn check(target: &Target, name: &str, bytes: &[u8]) {
    let taken = (target.read)(bytes);
    let shown = || format!("{}/{name}", target.name);
    match name.split_once('-').map(|(kind, _)| kind) {
        Some("ok") => assert!(taken, "{} is not taken", shown()),
        Some("no") => assert!(!taken, "{} is taken", shown()),
        Some("was") => {}
        _ => panic!("{} is called neither ok-, no- nor was-", shown()),
    }
}

#[test]
fn what_is_kept_is_what_the_targets_make() {
    let write = std::env::var("SKYCLAW_FUZZ_CORPUS").is_ok_and(|value| value == "write");
    let mut names = BTreeSet::new();
    for target in all() {
        assert!(names.insert(target.name.to_owned()), "two targets are called {}", target.name);
        let (folder, mut made) = (folder(target.name), (target.made)());
        made.sort();
        for (name, bytes) in &made {
            assert!(bytes.len() <= MAX_KEPT, "{}/{name} is too large", target.name);
            if write {
                fs::create_dir_all(&folder).expect("a folder of the corpus");
                fs::write(folder.join(name), bytes).expect("a file of the corpus");
            }
        }
        let mut kept = kept(target.name);
        kept.retain(|(name, _)| !name.starts_with("was-"));
        assert!(kept == made, "{} is not what is made: see SKYCLAW_FUZZ_CORPUS", folder.display());
    }
    let folders: BTreeSet<_> = fs::read_dir(workspace_root().join("tests/fuzz/corpus"))
        .expect("the corpora")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(folders, names, "a corpus for each target, and for nothing else");
}
