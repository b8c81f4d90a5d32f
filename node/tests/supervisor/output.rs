//! What jobs print: cut, repaired, and never gathered.

use super::*;

/// D12.
#[tokio::test]
async fn output_is_cut_at_the_bound_and_the_rest_is_read_away() {
    let bench = Bench::with(|config| config.max_output = 100);
    let exact = bench.sh("head -c 100 /dev/zero | tr '\\0' x").await;
    assert_eq!(exact.stdout, "x".repeat(100));
    let more = bench.sh("head -c 101 /dev/zero | tr '\\0' x; echo fine >&2").await;
    assert_eq!(more.stdout, format!("{}\n[output truncated]\n", "x".repeat(80)));
    assert_eq!((more.success, more.stderr.as_str()), (true, "fine\n"));
}

/// D14.
#[tokio::test]
async fn output_that_is_not_utf8_is_reported_with_replacements() {
    let outcome = Bench::new().sh(r"printf 'a\377b\303'").await;
    assert_eq!(outcome.stdout, "a\u{fffd}b\u{fffd}");
}

#[tokio::test]
async fn a_flood_of_output_neither_blocks_the_job_nor_grows_the_daemon() {
    let bench = Bench::new();
    let before = resident_kib();
    let outcome = bench.sh("yes | head -c 200000000; yes | head -c 50000000 >&2").await;
    assert!(outcome.success, "{:?}", outcome.error);
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (128_000, 128_000));
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 40_000, "grew by {grown} KiB");
}

/// Most memory this process ever had, in KiB. The other tests of this process count too.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
