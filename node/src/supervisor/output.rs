//! One output stream of a job, bounded while it is read.
//!
//! Always: never more than the bound and one read buffer are in memory; what is beyond the bound
//! is still read, so that the job does not block on a full pipe.

use skyclaw_protocol::limits::MAX_OUTPUT_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What stands where a text was cut.
const MARK: &str = "\n[output truncated]\n";

/// Bytes taken from a pipe at once: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// The kept part of a stream.
#[derive(Debug)]
pub(super) struct Capture {
    kept: Vec<u8>,
    most: usize,
    cut: bool,
    /// What was reported, once it was, for those who still read.
    last: Option<String>,
}

impl Capture {
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most: most.min(MAX_OUTPUT_BYTES), cut: false, last: None }
    }

    /// More came than is kept.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// What comes next from a place on, at most so many bytes of it, and how many bytes of text stand
    /// before it; none if nothing is there yet.
    ///
    /// Always: what is given is the beginning of the text to report. So the last bytes wait, where the mark
    /// will stand if more comes than is kept, and a character of which only a part has come.
    pub(super) fn read(&self, place: &mut Place, most: usize) -> Option<(usize, String)> {
        if let Some(last) = &self.last {
            let from = last.floor_char_boundary(place.text.max(place.from));
            let to = last.floor_char_boundary(from + most);
            place.text = place.text.max(to);
            return (from < to).then(|| (from, last[from..to].to_owned()));
        }
        let end = self.kept.len().min(self.most.saturating_sub(MARK.len()));
        while place.raw < end && !place.full {
            let piece = &self.kept[place.raw..end.min(place.raw + most)];
            let whole = piece.len() - unfinished(piece);
            if whole == 0 {
                return None;
            }
            let text = String::from_utf8_lossy(&piece[..whole]);
            // Only output that is mostly not text comes to this bound.
            let room = (MAX_OUTPUT_BYTES - MARK.len()).saturating_sub(place.text);
            place.full |= text.len() > room;
            let text = &text[..text.floor_char_boundary(room)];
            if text.is_empty() {
                return None;
            }
            let before = place.text;
            (place.raw, place.text) = (place.raw + whole, before + text.len());
            let known = text.floor_char_boundary(place.from.saturating_sub(before));
            if known < text.len() {
                return Some((before + known, text[known..].to_owned()));
            }
        }
        None
    }

    /// Nothing more will be given at this place before the end.
    pub(super) const fn is_full(&self, place: &Place) -> bool {
        self.last.is_none() && (self.cut || place.full)
    }

    /// As [`Self::text`], and whoever reads is given the rest of it.
    pub(super) fn last(&mut self) -> String {
        let text = self.text();
        self.last.insert(text).clone()
    }

    /// The text to report: cut by bytes, broken or invalid UTF-8 as U+FFFD. It takes what is kept.
    pub(super) fn text(&mut self) -> String {
        let mut kept = std::mem::take(&mut self.kept);
        if self.cut {
            kept.truncate(self.most.saturating_sub(MARK.len()));
            kept.extend_from_slice(MARK.as_bytes());
        }
        let text = match String::from_utf8(kept) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        // U+FFFD is three bytes: only output that is mostly not text grows beyond the protocol.
        if text.len() <= MAX_OUTPUT_BYTES {
            return text;
        }
        let end = text.floor_char_boundary(MAX_OUTPUT_BYTES - MARK.len());
        format!("{}{MARK}", &text[..end])
    }
}

/// How far a stream was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes of output taken, and the bytes of text that they came to.
    raw: usize,
    text: usize,
    /// Text before this is known to the reader.
    from: usize,
    /// The text is as long as one may be.
    full: bool,
}

impl Place {
    /// So many bytes of text are known to the reader.
    pub(super) const fn at(from: usize) -> Self {
        Self { raw: 0, text: 0, from, full: false }
    }
}

/// Bytes at the end that may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let invalid = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

/// Takes one output of a process.
pub(super) trait Fill {
    /// Takes what came next.
    fn push(&mut self, bytes: &[u8]);

    /// Reads to the end. A failing read ends the stream like its end does.
    async fn fill(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            self.push(&buffer[..n]);
        }
    }
}

/// An output that can be quoted before its end.
pub(super) trait Quoted: Fill {
    /// What came until now, as text.
    fn so_far(&self) -> String;
}

impl Quoted for Capture {
    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

impl Fill for Capture {
    fn push(&mut self, bytes: &[u8]) {
        let room = self.most - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.cut |= bytes.len() > room;
    }
}

/// A text that is not the output itself, cut like one.
pub(super) fn cut(text: String, most: usize) -> String {
    let mut capture = Capture::new(most);
    capture.push(text.as_bytes());
    capture.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(most: usize, chunks: &[&[u8]]) -> String {
        let mut capture = Capture::new(most);
        chunks.iter().for_each(|chunk| capture.push(chunk));
        capture.text()
    }

    #[test]
    fn exactly_the_bound_is_kept_whole() {
        assert_eq!(text(30, &[&[b'a'; 30]]), "a".repeat(30));
        assert_eq!(text(0, &[b""]), "");
    }

    /// D12.
    #[test]
    fn one_byte_more_is_cut_to_the_bound_with_the_mark() {
        let cut = text(30, &[&[b'a'; 30], b"a"]);
        assert_eq!(cut, format!("{}{MARK}", "a".repeat(10)));
        assert_eq!(cut.len(), 30);
    }

    #[test]
    fn a_bound_below_the_mark_leaves_the_mark_alone() {
        assert_eq!(text(5, &[b"abcdef"]), MARK);
        assert_eq!(text(0, &[b"a"]), MARK);
        assert_eq!(text(20, &[&[b'x'; 21]]), MARK);
    }

    /// D13.
    #[test]
    fn a_character_cut_in_half_is_replaced() {
        assert_eq!(text(22, &["aé".repeat(20).as_bytes()]), format!("a\u{fffd}{MARK}"));
        assert_eq!(text(9, &[b"a\xff\xc3b"]), "a\u{fffd}\u{fffd}b");
    }

    /// Reads after each push, `most` bytes at once, from `from` on.
    fn looked_on(capture: &mut Capture, bytes: &[u8], step: usize, from: usize) -> String {
        let (mut place, mut seen) = (Place::at(from), String::new());
        for chunk in bytes.chunks(step) {
            capture.push(chunk);
            while let Some((offset, text)) = capture.read(&mut place, 5) {
                assert!(!text.is_empty());
                if seen.is_empty() {
                    assert!(offset <= from);
                    seen.push_str(&text[from - offset..]);
                } else {
                    assert_eq!(offset, from + seen.len());
                    seen.push_str(&text);
                }
            }
        }
        seen
    }

    #[test]
    fn what_is_read_while_it_comes_is_the_beginning_of_what_is_reported() {
        let bytes = "aé日𝄞\n".repeat(9).into_bytes();
        let broken = [bytes.as_slice(), b"\xff\xe6\x97", b"b\xf0\x9d\x84", &bytes].concat();
        for bytes in [bytes, broken] {
            for most in [30, 70, bytes.len(), bytes.len() + 1, 400] {
                for step in [1, 2, 3, 7, 1000] {
                    let mut capture = Capture::new(most);
                    let seen = looked_on(&mut capture, &bytes, step, 0);
                    let text = capture.last();
                    assert!(text.starts_with(&seen), "{most} {step}: {seen:?} of {text:?}");
                    // Only what stands where the mark would, and half a character, had to wait.
                    assert!(text.len() - seen.len() <= 3 * MARK.len() + 3);
                    // It comes with the end.
                    for from in [0, seen.len(), text.len()] {
                        let (mut place, mut rest) = (Place::at(from), String::new());
                        while let Some((_, piece)) = capture.read(&mut place, 7) {
                            rest.push_str(&piece);
                        }
                        assert_eq!(rest, text[from..]);
                    }
                }
            }
        }
    }

    #[test]
    fn output_that_grows_beyond_what_a_result_may_hold_is_read_no_further() {
        let bytes =
            [b"a".as_slice(), &vec![0xff; MAX_OUTPUT_BYTES - 100], &b"xy".repeat(40)].concat();
        let mut capture = Capture::new(MAX_OUTPUT_BYTES);
        capture.push(&bytes);
        let (mut place, mut seen) = (Place::default(), String::new());
        while let Some((_, text)) = capture.read(&mut place, 16 << 10) {
            seen.push_str(&text);
        }
        assert!(capture.is_full(&place));
        assert!(seen.len() > MAX_OUTPUT_BYTES - 100 && capture.last().starts_with(&seen));
        assert!(!capture.is_full(&place));
    }

    #[test]
    fn a_reader_that_knows_a_part_is_given_the_rest() {
        let bytes = ["aé日𝄞".as_bytes(), b"\xff"].concat().repeat(5);
        let mut capture = Capture::new(400);
        let all = looked_on(&mut capture, &bytes, 1000, 0);
        for from in (0..=all.len()).filter(|from| all.is_char_boundary(*from)) {
            let mut capture = Capture::new(400);
            assert_eq!(looked_on(&mut capture, &bytes, 4, from), all[from..]);
        }
    }

    #[test]
    fn replaced_bytes_do_not_grow_beyond_what_a_result_may_hold() {
        let text = text(usize::MAX, &[&vec![0xff; MAX_OUTPUT_BYTES]]);
        assert!(text.len() <= MAX_OUTPUT_BYTES && text.ends_with(MARK));
    }
}
