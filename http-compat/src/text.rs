//! Small rules on text that the old clients rely on.

use skyclaw_protocol::placement;

/// Trims as JavaScript does: Unicode spaces and the byte order mark, but not NEL.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}')
}

/// A capability list in its stored form: trimmed as JavaScript does, without blanks and
/// duplicates, sorted.
pub(crate) fn capability_list<'a>(list: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    placement::capability_list(list.into_iter().map(|text| trim(text).to_owned()))
}

/// The start of `text`, at most `max` bytes, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
