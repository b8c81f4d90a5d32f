//! Codes for phones.

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
