//! Each way out of the directory, and each way to fill the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use skyclaw_protocol::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_DEPTH, MAX_BUNDLE_PATH};
use tar::EntryType;

use super::{Place, Tar, read};
use crate::bundle::UnpackError;
use crate::bundle::unpack::unpack_most;

#[test]
fn paths_that_lead_out_are_refused() {
    for (name, why) in [
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("a/..", "leads out"),
        ("/evil", "is absolute"),
        ("//evil", "is absolute"),
        ("..", "leads out"),
    ] {
        let refusal = Place::new().refusal(&Tar::new().file("fine", b"x").file(name, b"x").bytes());
        assert!(refusal.contains(why) && refusal.contains(name), "{name}: {refusal}");
        let refusal = Place::new().refusal(&Tar::new().folder(name).bytes());
        assert!(refusal.contains(why), "{name}: {refusal}");
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in ["../outside", "/etc/passwd", "..", "a/../../x", "./../x", "a/.."] {
        let refusal = Place::new().refusal(&Tar::new().symlink("link", target).bytes());
        assert!(refusal.contains("link"), "{target}: {refusal}");
    }
    let deep = Tar::new().folder("a").symlink("a/link", "../../outside").bytes();
    assert!(Place::new().refusal(&deep).contains("leads out"));
}

/// Each link alone stays inside; together they would not.
#[test]
fn links_through_links_do_not_lead_out() {
    let tar = Tar::new().folder("a").folder("a/b").symlink("a/b/up", "../..");
    let refusal = Place::new().refusal(&tar.symlink("out", "a/b/up/..").bytes());
    assert!(refusal.contains("behind a name"), "{refusal}");
}

#[test]
fn nothing_is_written_through_a_link() {
    for target in [".", "a", "b"] {
        let tar = Tar::new().folder("a").symlink("link", target).file("link/file", b"x");
        let refusal = Place::new().refusal(&tar.bytes());
        assert!(refusal.contains("behind a link"), "{refusal}");
    }
    // A link that is replaced, or a file that a link is put in place of.
    let tar = Tar::new().symlink("x", "y").file("x", b"x");
    assert!(Place::new().refusal(&tar.bytes()).contains("comes twice"));
    let tar = Tar::new().file("x", b"x").symlink("x", "y");
    assert!(Place::new().refusal(&tar.bytes()).contains("comes twice"));
    let tar = Tar::new().folder("x").symlink("x", "y");
    assert!(Place::new().refusal(&tar.bytes()).contains("comes twice"));
    let tar = Tar::new().symlink("x", "y").folder("x");
    assert!(Place::new().refusal(&tar.bytes()).contains("comes twice"));
    let tar = Tar::new().file("x", b"x").file("x/y", b"x");
    assert!(Place::new().refusal(&tar.bytes()).contains("lies in a file"));
}

#[test]
fn hard_links_name_files_of_the_bundle_alone() {
    for target in ["../outside", "/etc/passwd", "missing", "folder", "soft", "later"] {
        let tar = Tar::new().folder("folder").symlink("soft", "folder");
        let tar = tar.link(EntryType::Link, "hard", target).file("later", b"x");
        let refusal = Place::new().refusal(&tar.bytes());
        assert!(refusal.contains("hard"), "{target}: {refusal}");
    }
    let place = Place::new();
    let tar = Tar::new().file("a/file", b"text").link(EntryType::Link, "b/same", "a/file");
    assert_eq!(place.unpack(&tar.bytes()).unwrap().files, 2);
    assert_eq!(read(&place.path("into/b/same")), "text");
}

#[test]
fn devices_pipes_holes_and_unknown_kinds_are_refused() {
    let kinds = [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::new(b'S'),
        EntryType::new(b'Z'),
    ];
    for kind in kinds {
        let header = Tar::header(kind, "thing", 0);
        let refusal = Place::new().refusal(&Tar::new().raw(header, b"").bytes());
        assert!(refusal.contains("thing is"), "{kind:?}: {refusal}");
    }
    let list = b"22 GNU.sparse.major=1\n";
    let tar = Tar::new().raw(Tar::header(EntryType::XHeader, "x", list.len() as u64), list);
    assert!(Place::new().refusal(&tar.file("f", b"").bytes()).contains("holes"));
}

#[test]
fn rights_of_others_are_taken_away() {
    let place = Place::new();
    let mut tar = Tar::new();
    for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755), ("open", 0o666), ("closed", 0o000)] {
        let mut header = Tar::header(EntryType::Regular, name, 1);
        header.set_mode(mode);
        tar = tar.raw(header, b"x");
    }
    place.unpack(&tar.bytes()).unwrap();
    for (name, wanted) in [("suid", 0o755), ("sgid", 0o755), ("open", 0o644), ("closed", 0o644)] {
        let mode = fs::metadata(place.path("into").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0, "{name}");
        // The mask of this process may take more.
        assert_eq!(mode & 0o777 & !wanted, 0, "{name}: {mode:o}");
        assert_eq!(mode & 0o400, 0o400, "{name}");
    }
}

#[test]
fn too_many_entries_are_refused() {
    let place = Place::new();
    // Ten folders above, that no entry names, and the file itself.
    fs::write(place.path("b"), Tar::new().file(&format!("{}f", "d/".repeat(10)), b"").bytes())
        .unwrap();
    let unpack = |most| unpack_most(&place.path("b"), &place.path("into"), most);
    let error = unpack(10).unwrap_err();
    assert!(matches!(error, UnpackError::TooMany), "{error}");
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 2);
    unpack(11).unwrap();
}

#[test]
fn endless_extensions_are_refused() {
    let mut tar = Tar::new();
    for _ in 0..5 {
        tar = tar.raw(Tar::header(EntryType::XGlobalHeader, "g", 0), b"");
    }
    assert!(Place::new().refusal(&tar.bytes()).contains("for ever"));
}

/// What a header declares is believed no further than there are bytes.
#[test]
fn sizes_that_lie_are_refused() {
    for size in [2, 1 << 20, MAX_BLOB_BYTES + 1, u64::MAX / 2, u64::MAX] {
        let mut bytes = Tar::new().bytes();
        let mut header = Tar::header(EntryType::Regular, "liar", size);
        header.set_cksum();
        bytes.clear();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"x");
        let refusal = Place::new().refusal(&bytes);
        let right =
            if size > MAX_BLOB_BYTES && size < u64::MAX { "more than" } else { "no whole tar" };
        assert!(refusal.contains(right), "{size}: {refusal}");
    }
    let list = b"9 size=9\n";
    let tar = Tar::new().raw(Tar::header(EntryType::XHeader, "x", list.len() as u64), list);
    assert!(Place::new().refusal(&tar.file("f", b"x").bytes()).contains("size twice"));
}

#[test]
fn long_and_deep_paths_are_refused() {
    let long = |name: String| {
        let header = Tar::header(EntryType::GNULongName, "././@LongLink", name.len() as u64);
        Tar::new().raw(header, name.as_bytes()).file("short", b"x").bytes()
    };
    assert!(Place::new().refusal(&long("x".repeat(MAX_BUNDLE_PATH + 1))).contains("too long"));
    assert!(Place::new().refusal(&long("x".repeat(1 << 20))).contains("too long"));
    assert!(Place::new().refusal(&long("d/".repeat(MAX_BUNDLE_DEPTH) + "f")).contains("too deep"));
    let name = |bytes: usize| long(format!("{}/f", "x".repeat(bytes)));
    assert!(Place::new().refusal(&name(256)).contains("holds a name that is too long"));
    Place::new().unpack(&name(255)).unwrap();
    assert!(Place::new().refusal(&long("../evil".into())).contains("leads out"));
    let place = Place::new();
    place.unpack(&long(format!("{}/f", "x".repeat(200)))).unwrap();
    assert_eq!(read(&place.path("into").join("x".repeat(200)).join("f")), "x");
}

#[test]
fn an_entry_has_one_name() {
    let list = b"14 path=other\n";
    let other = |tar: Tar| tar.raw(Tar::header(EntryType::XHeader, "x", list.len() as u64), list);
    let place = Place::new();
    place.unpack(&other(Tar::new()).file("f", b"x").bytes()).unwrap();
    assert_eq!(read(&place.path("into/other")), "x");
    let twice = other(other(Tar::new())).file("f", b"x").bytes();
    assert!(Place::new().refusal(&twice).contains("two names"));
    assert!(
        Place::new().refusal(&Tar::new().file("f", b"").file("f", b"").bytes()).contains("twice")
    );
    assert!(
        Place::new().refusal(&Tar::new().file("f", b"").file("./f", b"").bytes()).contains("twice")
    );
}

#[test]
fn what_is_no_tar_is_refused() {
    for bytes in [&b""[..], b"no tar", &[0; 1024], &[7; 4096]] {
        let refusal = Place::new().refusal(bytes);
        assert!(refusal.contains("no whole tar"), "{refusal}");
    }
}

#[test]
fn a_directory_that_is_in_use_is_left_as_it_is() {
    let place = Place::new();
    fs::create_dir(place.path("into")).unwrap();
    fs::write(place.path("bundle"), Tar::new().file("f", b"x").bytes()).unwrap();
    fs::write(place.path("into/mine"), "mine").unwrap();
    assert!(crate::bundle::unpack(&place.path("bundle"), &place.path("into")).is_err());
    assert_eq!(fs::read_dir(place.path("into")).unwrap().count(), 1);
    // An empty one is taken.
    fs::remove_file(place.path("into/mine")).unwrap();
    place.unpack(&Tar::new().file("f", b"x").bytes()).unwrap();
}

/// Names from outside stand in messages; they must not steer a terminal.
#[test]
fn messages_hold_no_control_characters() {
    let refusal = Place::new().refusal(&Tar::new().file("../\u{1b}[2Jx", b"").bytes());
    assert!(!refusal.chars().any(char::is_control), "{refusal:?}");
}
