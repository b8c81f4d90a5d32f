//! Bundles, unpacked into a folder that has a neighbour.
//!
//! Always: nothing is written outside, nothing is left of one that is refused, no link leads out, and
//! there are no more entries than the bundle has room to name.

use std::fs;
use std::path::{Path, PathBuf};

use skyclaw_node::bundle;
use tar::{Builder, EntryType, Header};

use crate::engine::targets;

targets! {
    bundles { bundles, &WORDS, unpacked }
}

const WORDS: [&str; 10] =
    ["../", "/", "./", "..", "\0", "0000644", "7777777", "ustar\0", "20 path=../outside\n", "sub/"];

/// Bytes of a header of tar, and of a block.
const BLOCK: usize = 512;

/// Where the sum of a header stands.
const SUM: std::ops::Range<usize> = 148..156;

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn tar(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let mut header = header(*kind, name, if link { 0 } else { content.len() as u64 });
        let body = if link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
            header.set_cksum();
            ""
        } else {
            content
        };
        builder.append(&header, body.as_bytes()).expect("into memory");
    }
    builder.into_inner().expect("into memory")
}

fn bundles() -> Vec<(String, Vec<u8>)> {
    use EntryType::{Directory, Link, Regular, Symlink, XHeader};
    let tree = tar(&[
        (Directory, "sub/", ""),
        (Regular, "sub/a.txt", "content"),
        (Regular, "b", ""),
        (Symlink, "sub/link", "a.txt"),
        (Symlink, "up", "sub/a.txt"),
    ]);
    let made: [(&str, Vec<u8>); 9] = [
        ("ok-tree", tree.clone()),
        ("ok-long-name", tar(&[(XHeader, "x", "21 path=sub/longer.t\n"), (Regular, "y", "z")])),
        ("ok-deep", tar(&[(Regular, "a/b/c/d/e/f/g/h", "deep")])),
        ("no-cut", tree[..BLOCK + 100].to_vec()),
        ("no-climbs", tar(&[(Regular, "../outside", "x")])),
        ("no-absolute", tar(&[(Regular, "/outside", "x")])),
        ("no-link-out", tar(&[(Symlink, "l", "../outside")])),
        ("no-through-link", tar(&[(Symlink, "l", "/"), (Regular, "l/outside", "x")])),
        ("no-hard-link", tar(&[(Link, "l", "../outside"), (Regular, "l", "x")])),
    ];
    made.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// As it is, and with the sums of its headers set right: whoever makes one up makes those right, too.
fn unpacked(bytes: &[u8]) -> bool {
    let mut mended = bytes.to_vec();
    for block in mended.chunks_exact_mut(BLOCK) {
        // Content is left alone.
        if block[257..262] == *b"ustar" {
            block[SUM].fill(b' ');
            let sum: u32 = block.iter().copied().map(u32::from).sum();
            block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let as_it_is = unpack(bytes);
    as_it_is | (mended != bytes && unpack(&mended))
}

fn unpack(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("outside"), "untouched").expect("written");
    fs::write(at("bundle"), bytes).expect("written");
    let done = bundle::unpack(&at("bundle"), &at("into"));
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    left.sort();
    let wanted: &[&str] =
        if done.is_ok() { &["bundle", "into", "outside"] } else { &["bundle", "outside"] };
    assert_eq!(left, wanted);
    assert_eq!(fs::read_to_string(at("outside")).expect("it is there"), "untouched");
    let Ok(done) = done else { return false };
    let inside = fs::canonicalize(at("into")).expect("it was made");
    let mut found = Vec::new();
    walk(&inside, &mut found);
    let files = found.iter().filter(|path| path.is_symlink() || path.is_file());
    assert_eq!(files.count(), done.files);
    // Folders on the way to a file need no entry of their own, but a byte or two of its name.
    assert!(found.len() <= bytes.len() && done.bytes <= bytes.len() as u64);
    for link in found.iter().filter(|path| path.is_symlink()) {
        let leads = fs::canonicalize(link).unwrap_or_else(|_| {
            let target = fs::read_link(link).expect("a link");
            assert!(target.is_relative(), "{} leads to {}", link.display(), target.display());
            inside.clone()
        });
        assert!(leads.starts_with(&inside), "{} leads to {}", link.display(), leads.display());
    }
    true
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        found.push(path.clone());
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found);
        }
    }
}
