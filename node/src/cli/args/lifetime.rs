//! How long something counts, in words.

use std::time::Duration;

/// A time in words: a whole number with s, m, h, d or w behind it.
pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 30m, 12h, 7d or 4w".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let all = count.checked_mul(seconds).filter(|all| *all > 0 && *all < u64::from(u32::MAX));
    all.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        for (text, seconds) in
            [("90s", 90), ("45m", 2700), ("12h", 43_200), ("30d", 30 * 86_400), ("4w", 28 * 86_400)]
        {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "7", "d", "-1d", "1.5h", "0m", "99999999999999w", "7\u{e9}", "3\u{b5}"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
