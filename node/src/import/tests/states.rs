//! What state the files are in: with a WAL, without, cut short, of others.

use super::*;

#[test]
fn what_stands_in_the_wal_alone_is_read_and_nothing_is_changed() {
    let original = Original::new();
    original.host("h1");
    original.job("job_1");
    original.key("k", r#"{"job":{"id":"job_1"}}"#);
    let folder = original.crashed();
    let path = folder.path().join("coordinator.db");
    let wal = fs::metadata(folder.path().join("coordinator.db-wal")).unwrap();
    assert!(wal.len() > 0, "the test needs a WAL");

    let before = files(folder.path());
    let found = read(&path);
    assert_eq!(found.ids(Kind::Host), ["h1"]);
    assert_eq!(found.records[1].1, job("job_1"));
    assert_eq!(found.records[2].1["response"], json!({ "job": { "id": "job_1" } }));
    assert!(found.refused.is_empty() && found.unread.is_empty(), "{found:?}");
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_file_without_a_wal_is_read() {
    let original = Original::new();
    original.job("job_1");
    let Original { folder, connection } = original;
    connection.close().unwrap();
    assert_eq!(files(folder.path()).len(), 1, "the last one out moves the WAL into the file");
    let path = folder.path().join("coordinator.db");
    assert_eq!(read(&path).ids(Kind::Job), ["job_1"]);
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn the_copy_is_gone_afterwards() {
    let original = Original::new();
    original.job("job_1");
    let folder = original.crashed();
    let source = Source::open(&folder.path().join("coordinator.db")).unwrap();
    let copy = PathBuf::from(source.connection.path().unwrap());
    assert!(copy.exists() && !copy.starts_with(folder.path()), "{}", copy.display());
    drop(source);
    assert!(!copy.parent().unwrap().exists());
}

#[test]
fn what_is_written_after_the_start_is_not_in() {
    let original = Original::new();
    original.job("job_1");
    let folder = original.crashed();
    let path = folder.path().join("coordinator.db");
    let source = Source::open(&path).unwrap();
    let late = Connection::open(&path).unwrap();
    late.execute("INSERT INTO hosts VALUES ('h2', '{}')", ()).unwrap();
    let mut kinds = Vec::new();
    let unread = source.each(|row| {
        if let Row::Record(kind, _) = row {
            kinds.push(kind);
        }
        true
    });
    assert_eq!((kinds, unread.len()), (vec![Kind::Job], 0));
}

#[test]
fn files_of_others_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let refused = |bytes: &[u8], word: &str| {
        fs::write(&path, bytes).unwrap();
        let text = error(&path).to_string();
        assert!(text.contains(word) && text.contains("file"), "{text}");
    };
    refused(b"", "it is empty");
    refused(b"SQLite", "it ends within");
    refused(b"hello, this is a text of some length", "begins otherwise");
    refused(b"redb\x1a\x0a\xa9\x0d\x0a and more", "skyclaw-node backup");
    assert!(matches!(error(&folder.path().join("none")), OpenError::Unreadable { .. }));
    assert!(matches!(error(folder.path()), OpenError::Unreadable { .. }));

    let other = Original::with("CREATE TABLE songs (title TEXT); CREATE TABLE jobs (x TEXT)");
    let text = error(&other.path()).to_string();
    assert!(text.contains("not the database of an original") && text.contains("songs"), "{text}");
    let views = Original::with(
        "CREATE TABLE a (id TEXT); CREATE VIEW hosts AS SELECT 1; CREATE VIEW jobs AS SELECT 1",
    );
    assert!(matches!(error(&views.path()), OpenError::Foreign { .. }));
}

#[test]
fn a_file_that_was_cut_short_gives_what_can_be_read_and_says_so() {
    let original = Original::new();
    for at in 0..2000 {
        original.job(&format!("job_{at}"));
    }
    original.host("h1");
    let Original { folder, connection } = original;
    connection.close().unwrap();
    let path = folder.path().join("coordinator.db");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    // Depending on which pages are left, it cannot be opened, or a table ends early.
    match Source::open(&path) {
        Err(OpenError::Damaged { detail, .. }) => assert!(!detail.is_empty()),
        Err(error) => panic!("{error}"),
        Ok(_) => {
            let found = read(&path);
            assert!(!found.unread.is_empty(), "{} records", found.records.len());
            assert!(found.records.len() < 2001);
        }
    }
    fs::write(&path, &whole[..100]).unwrap();
    assert!(matches!(error(&path), OpenError::Damaged { .. }));
}

#[test]
fn a_flipped_page_costs_its_table_and_no_other() {
    let original = Original::new();
    for at in 0..2000 {
        original.job(&format!("job_{at}"));
    }
    original.key("k", "{}");
    let Original { folder, connection } = original;
    connection.close().unwrap();
    let path = folder.path().join("coordinator.db");
    let mut bytes = fs::read(&path).unwrap();
    let text = br#""id":"job_1000""#;
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap() / 4096 * 4096;
    bytes[at..at + 64].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let found = read(&path);
    assert_eq!(found.unread.len(), 1, "{:?}", found.unread);
    assert_eq!(found.unread[0].kind, Kind::Job);
    assert!(found.records.iter().any(|(kind, _)| *kind == Kind::Key), "the keys were read");
}
