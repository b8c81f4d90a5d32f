//! Packing real trees.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use skyclaw_protocol::Hash;

use super::{Place, read};
use crate::bundle::{PackError, Packed, pack, unpack};

fn write(top: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// All that is below a folder, by name.
fn listing(top: &Path) -> Vec<String> {
    fn walk(top: &Path, at: PathBuf, found: &mut Vec<String>) {
        for entry in fs::read_dir(top.join(&at)).unwrap() {
            let path = at.join(entry.unwrap().file_name());
            let meta = fs::symlink_metadata(top.join(&path)).unwrap();
            found.push(path.to_str().unwrap().to_owned());
            if meta.is_dir() {
                walk(top, path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(top, PathBuf::new(), &mut found);
    found.sort();
    found
}

fn bytes(packed: &Packed) -> Vec<u8> {
    std::io::read_to_string(packed.open().unwrap()).unwrap().into_bytes()
}

/// What comes out of what was packed.
fn through(place: &Place, top: &Path) -> Vec<String> {
    let packed = pack(top).unwrap();
    place.unpack(&bytes(&packed)).unwrap();
    listing(&place.path("into"))
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path();
    let long = format!("{}/{}", "n".repeat(120), "m".repeat(120));
    write(top, &[("server.js", "run"), ("src/a.js", "a"), (".env.example", "x"), (&long, "long")]);
    fs::create_dir(top.join("data")).unwrap();
    fs::set_permissions(top.join("server.js"), fs::Permissions::from_mode(0o775)).unwrap();
    symlink("../server.js", top.join("src/main.js")).unwrap();
    symlink(&long, top.join("to-long")).unwrap();
    symlink("missing", top.join("broken")).unwrap();

    let place = Place::new();
    assert_eq!(through(&place, top), listing(top));
    let into = place.path("into");
    assert_eq!(read(&into.join("src/main.js")), "run");
    assert_eq!(read(&into.join("to-long")), "long");
    assert_eq!(fs::read_link(into.join("broken")).unwrap(), Path::new("missing"));
    let runs = |name| fs::metadata(into.join(name)).unwrap().permissions().mode() & 0o100 != 0;
    assert!(runs("server.js") && !runs("src/a.js"));
}

#[test]
fn the_same_tree_is_the_same_bundle() {
    let make = |order: &[(&str, &str)], age: u64| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), order);
        for (name, _) in order {
            let file = File::options().write(true).open(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(if age > 0 { 0o600 } else { 0o664 }))
                .unwrap();
        }
        pack(dir.path()).unwrap()
    };
    let one = make(&[("a", "1"), ("b/c", "2"), ("b.d", "3")], 0);
    let other = make(&[("b.d", "3"), ("b/c", "2"), ("a", "1")], 86_400);
    assert_eq!(one.hash, other.hash);
    assert_eq!(one.hash, Hash::of(&bytes(&one)));
    assert_eq!((one.bytes, one.files), (bytes(&one).len() as u64, 3));
    assert_ne!(one.hash, make(&[("a", "1"), ("b/c", "2"), ("b.d", "4")], 0).hash);
}

#[test]
fn what_ignore_files_name_is_left_out_and_the_own_one_has_the_last_word() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path();
    write(
        top,
        &[
            (".gitignore", "node_modules/\ndist\n*.log\n.env\n"),
            (".skyclawignore", "!dist\n/tests\nsecret.*\n"),
            ("dist/main.js", ""),
            ("node_modules/x/index.js", ""),
            ("a.log", ""),
            (".env", ""),
            ("tests/t.js", ""),
            ("src/tests/kept.js", ""),
            ("src/.gitignore", "deep.txt\n"),
            ("src/deep.txt", ""),
            ("src/secret.key", ""),
            (".git/config", ""),
            ("vendor/.git", "gitdir: x"),
            (".skyclaw/node.db", "key"),
            ("skyclaw.toml", "token = 1"),
            ("src/skyclaw.toml", "an example"),
        ],
    );
    let place = Place::new();
    assert_eq!(
        through(&place, top),
        [
            ".gitignore",
            ".skyclawignore",
            "dist",
            "dist/main.js",
            "src",
            "src/.gitignore",
            "src/skyclaw.toml",
            "src/tests",
            "src/tests/kept.js",
            "vendor",
        ]
    );
    assert_eq!(pack(top).unwrap().left_out, [".env", "a.log", "node_modules", "tests"]);
}

#[test]
fn without_ignore_files_node_modules_travels() {
    let source = tempfile::tempdir().unwrap();
    write(source.path(), &[("node_modules/x/index.js", ""), ("index.js", "")]);
    let place = Place::new();
    assert!(through(&place, source.path()).contains(&"node_modules/x/index.js".to_owned()));
}

/// As git does: the repository's rules hold in each of its folders, and those above it do not.
#[test]
fn ignore_files_above_count_within_a_repository_only() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path();
    write(
        top,
        &[
            (".gitignore", "x\n"),
            ("repo/.git/HEAD", ""),
            ("repo/.gitignore", "y\n"),
            ("repo/app/x", ""),
            ("repo/app/y", ""),
            ("plain/app/x", ""),
        ],
    );
    assert_eq!(through(&Place::new(), &top.join("repo/app")), ["x"]);
    assert_eq!(through(&Place::new(), &top.join("plain/app")), ["x"]);
}

#[test]
fn links_that_lead_out_are_named() {
    for target in ["/etc/passwd", "../../x", "a/../x"] {
        let source = tempfile::tempdir().unwrap();
        write(source.path(), &[("a/file", "")]);
        symlink(target, source.path().join("a/link")).unwrap();
        let error = pack(source.path()).unwrap_err();
        assert!(error.to_string().starts_with("a/link is a link"), "{error}");
        // Left out, it is no hindrance.
        fs::write(source.path().join(".skyclawignore"), "link\n").unwrap();
        pack(source.path()).unwrap();
    }
}

#[test]
fn sockets_and_pipes_are_named() {
    let source = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.path().join("socket")).unwrap();
    let error = pack(source.path()).unwrap_err();
    assert!(error.to_string().starts_with("socket is neither"), "{error}");
}

#[test]
fn what_is_no_directory_or_has_nothing_in_it_is_refused() {
    let source = tempfile::tempdir().unwrap();
    assert!(matches!(pack(source.path()), Err(PackError::Nothing(_))));
    assert!(matches!(pack(&source.path().join("no")), Err(PackError::NotADirectory(_))));
    write(source.path(), &[("file", "")]);
    assert!(matches!(pack(&source.path().join("file")), Err(PackError::NotADirectory(_))));
}

#[test]
fn a_tree_that_is_too_large_is_refused_without_writing_it() {
    let source = tempfile::tempdir().unwrap();
    let file = File::create(source.path().join("large")).unwrap();
    file.set_len(skyclaw_protocol::limits::MAX_BLOB_BYTES + 1).unwrap();
    assert!(matches!(pack(source.path()), Err(PackError::TooLarge)));
}

#[test]
fn a_bad_ignore_file_keeps_everything_back() {
    let source = tempfile::tempdir().unwrap();
    write(source.path(), &[(".skyclawignore", "secret[z-a]\n"), ("secret", "")]);
    assert!(matches!(pack(source.path()), Err(PackError::Walk(_))));
}

#[test]
fn unpacking_what_is_not_there_leaves_nothing() {
    let place = Place::new();
    assert!(unpack(&place.path("missing"), &place.path("into")).is_err());
    assert!(!place.path("into").exists());
}
