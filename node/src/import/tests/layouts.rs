//! Columns under other names, and rows that are no records.

use super::*;

#[test]
fn the_originals_own_columns_are_read() {
    let original = Original::new();
    original.key("k 1", r#"{"job":{"id":"job_1","version":3}}"#);
    let folder = original.crashed();
    let found = read(&folder.path().join("coordinator.db"));
    let want = json!({
        "route": "/v1/jobs", "key": "k 1", "hash": "ab12", "status": 200,
        "response": { "job": { "id": "job_1", "version": 3 } },
        "createdAt": CREATED, "expiresAt": CREATED,
    });
    assert_eq!(found.records, [(Kind::Key, want)]);
}

/// A fork that kept the tables and named the columns its own way.
#[test]
fn renamed_columns_are_found_by_what_they_hold_or_by_pieces_of_their_names() {
    let original = Original::with(
        r#"CREATE TABLE hosts ("key" TEXT PRIMARY KEY, seen INTEGER, "the ""record""" TEXT);
        CREATE TABLE jobs (data TEXT NOT NULL, note TEXT);
        CREATE TABLE idempotency (
            idempotency_key TEXT, endpoint TEXT, fingerprint TEXT, answer TEXT, code INTEGER,
            expires_ms INTEGER, created_ms REAL
        );"#,
    );
    let run = |sql: &str, values: [String; 2]| original.connection.execute(sql, values).unwrap();
    run("INSERT INTO hosts VALUES (?1, 7, ?2)", ["h1".into(), host("h1").to_string()]);
    run("INSERT INTO jobs VALUES (?1, ?2)", [job("job_1").to_string(), "{}".into()]);
    run(
        "INSERT INTO idempotency VALUES (?1, '/v1/jobs', 'ff', ?2, 200, 12, 7.0)",
        ["k".into(), r#"{"job":{}}"#.into()],
    );
    let folder = original.crashed();
    let found = read(&folder.path().join("coordinator.db"));
    assert_eq!((found.ids(Kind::Host), found.ids(Kind::Job)), (vec!["h1"], vec!["job_1"]));
    let want = json!({
        "route": "/v1/jobs", "key": "k", "hash": "ff", "status": 200, "response": { "job": {} },
        "createdAt": 7, "expiresAt": 12,
    });
    assert_eq!(found.records[2], (Kind::Key, want));
    assert!(found.refused.is_empty() && found.unread.is_empty(), "{found:?}");
}

#[test]
fn a_table_whose_columns_tell_nothing_is_told_and_the_others_are_read() {
    let original = Original::with(
        "CREATE TABLE hosts (id TEXT, json TEXT); CREATE TABLE jobs (a TEXT, b BLOB);
        CREATE TABLE idempotency (k TEXT, v TEXT); INSERT INTO jobs VALUES ('x', 'y');",
    );
    original.host("h1");
    let folder = original.crashed();
    let found = read(&folder.path().join("coordinator.db"));
    assert_eq!(found.ids(Kind::Host), ["h1"]);
    let unread: Vec<_> = found.unread.iter().map(|it| (it.kind, it.why.contains('('))).collect();
    assert_eq!(unread, [(Kind::Job, true), (Kind::Key, true)]);
    assert!(found.unread[1].why.contains("k, v"), "{:?}", found.unread);
}

#[test]
fn rows_that_are_no_records_are_refused_alone() {
    let original = Original::new();
    original.job("job_1");
    original.job_as("job_2", "{\"id\":");
    original.job_as("job_3", "[1]");
    original.job("job_4");
    let blob = "INSERT INTO jobs VALUES ('job_5', 'x', x'7b7d')";
    original.connection.execute(blob, ()).unwrap();
    let broken = "INSERT INTO jobs VALUES ('job_6', 'x', CAST(x'7bff7d' AS TEXT))";
    original.connection.execute(broken, ()).unwrap();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    original.job_as("job_7", &format!(r#"{{"id":"job_7","payload":{deep}}}"#));
    original.key("k1", "no json");
    original.key("k2", "{}");
    let folder = original.crashed();
    let source = Source::open(&folder.path().join("coordinator.db")).unwrap();
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    let unread = source.each(|row| {
        match row {
            Row::Record(kind, raw) => taken.push((kind, raw.get()[..12].to_owned())),
            Row::Refused(row) => refused.push((row.kind, row.id, row.why)),
        }
        true
    });
    assert_eq!(unread, []);
    // How deep a record may be, the coordinator says.
    let kinds: Vec<_> = taken.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Job, Kind::Job, Kind::Job, Kind::Key], "{taken:?}");
    let whys: Vec<_> = refused.iter().map(|(_, _, why)| why.as_str()).collect();
    assert!(whys[0].contains("no JSON"), "{whys:?}");
    assert!(whys[1..4] == ["it is no JSON object", "it is no text", whys[3]], "{whys:?}");
    assert!(whys[3].contains("UTF-8"), "{whys:?}");
    assert_eq!(refused[4].1, "/v1/jobs k1");
    assert_eq!(refused.len(), 5);
}

#[test]
fn a_record_beyond_the_bound_is_not_loaded() {
    let original = Original::new();
    let sql =
        "INSERT INTO jobs VALUES ('job_1', 'x', '{\"id\":\"' || hex(zeroblob(17000000)) || '\"}')";
    original.connection.execute(sql, ()).unwrap();
    original.job("job_2");
    let folder = original.crashed();
    let found = read(&folder.path().join("coordinator.db"));
    assert_eq!(found.ids(Kind::Job), ["job_2"]);
    assert!(found.refused[0].why.contains("bytes"), "{:?}", found.refused);
}

#[test]
fn pages_have_bounds_in_records_and_bytes() {
    let raw = |bytes: usize| {
        serde_json::value::to_raw_value(&json!({ "id": "x".repeat(bytes) })).unwrap()
    };
    let mut pages = Pages::default();
    let full: Vec<_> = (0..1200).filter_map(|_| pages.add(Kind::Job, raw(10))).collect();
    let lengths: Vec<_> = full.iter().map(super::super::Page::len).collect();
    assert_eq!(lengths, [500, 500]);
    assert_eq!(pages.add(Kind::Job, raw(9 << 20)).map(|page| page.len()), Some(200));
    assert_eq!(pages.add(Kind::Host, raw(1)).map(|page| page.len()), Some(1));
    let rest = pages.rest().unwrap();
    assert_eq!(serde_json::to_value(&rest).unwrap(), json!({ "hosts": [{ "id": "x" }] }));
    assert!(Pages::default().rest().is_none());
}
