//! Codes for phones, and times in words.

use std::time::Duration;

use super::super::args::lifetime;
use super::*;

#[test]
fn a_ticket_fits_a_code_that_fits_a_terminal() {
    let line = format!("skyclaw1{}", "a2b3".repeat(260));
    let code = qr(&line).unwrap();
    let widths: Vec<usize> = code.lines().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]));
    assert!(widths[0] <= 110 && widths.len() <= 56, "{} x {}", widths[0], widths.len());
    assert!(qr(&"a".repeat(5000)).is_none());
}

#[test]
fn times_are_numbers_with_a_unit() {
    assert_eq!(lifetime("7d"), Ok(Duration::from_secs(7 * 86_400)));
    assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
    for wrong in ["", "7", "d", "-1d", "1.5h", "0m", "99999999999999w", "7\u{e9}"] {
        assert!(lifetime(wrong).is_err(), "{wrong}");
    }
}
