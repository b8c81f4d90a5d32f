//! Small rules on text that the old clients rely on.

use std::cmp::Ordering;

/// Trims as JavaScript does: Unicode spaces and the byte order mark, but not NEL.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}')
}

/// Orders as JavaScript sorts: by UTF-16 code unit, which differs from UTF-8 beyond the BMP.
fn by_code_unit(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// A capability list in its stored form: trimmed, without blanks and duplicates, sorted.
pub(crate) fn capability_list<'a>(list: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut out: Vec<String> =
        list.into_iter().map(trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    out.sort_by(|a, b| by_code_unit(a, b));
    out.dedup();
    out
}

/// The start of `text`, at most `max` bytes, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
