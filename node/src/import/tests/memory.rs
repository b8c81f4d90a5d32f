//! Files of any size are read in the memory of a few pages.

use super::*;

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hundred_thousand_records_are_read_in_bounded_memory() {
    let original = Original::new();
    let filler = "x".repeat(1500);
    original.connection.execute_batch("BEGIN").unwrap();
    {
        let sql = "INSERT INTO jobs VALUES (?1, ?2, ?3)";
        let mut insert = original.connection.prepare(sql).unwrap();
        for at in 0..100_000 {
            let id = format!("job_{at}");
            let text = format!(r#"{{"id":"{id}","payload":{{"kind":"shell","x":"{filler}"}}}}"#);
            insert.execute((&id, CREATED, &text)).unwrap();
        }
    }
    original.connection.execute_batch("COMMIT").unwrap();
    let Original { folder, connection } = original;
    connection.close().unwrap();

    let source = Source::open(&folder.path().join("coordinator.db")).unwrap();
    let before = resident_kib();
    let (mut pages, mut sent, mut most) = (Pages::default(), 0, before);
    let unread = source.each(|row| {
        let Row::Record(kind, raw) = row else { panic!("{row:?}") };
        if let Some(page) = pages.add(kind, raw) {
            sent += page.len();
            most = most.max(resident_kib());
        }
        true
    });
    sent += pages.rest().map_or(0, |page| page.len());
    assert_eq!((sent, unread), (100_000, Vec::new()));
    // 160 MB of records.
    assert!(most - before < 48 << 10, "{} KiB more", most - before);
}
