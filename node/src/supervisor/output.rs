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
}

impl Capture {
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most: most.min(MAX_OUTPUT_BYTES), cut: false }
    }

    /// More came than is kept.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// What was read until now, as text.
    pub(super) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }

    /// The text to report: cut by bytes, broken or invalid UTF-8 as U+FFFD.
    pub(super) fn into_text(mut self) -> String {
        if self.cut {
            self.kept.truncate(self.most.saturating_sub(MARK.len()));
            self.kept.extend_from_slice(MARK.as_bytes());
        }
        let text = match String::from_utf8(self.kept) {
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
    capture.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(most: usize, chunks: &[&[u8]]) -> String {
        let mut capture = Capture::new(most);
        chunks.iter().for_each(|chunk| capture.push(chunk));
        capture.into_text()
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

    #[test]
    fn replaced_bytes_do_not_grow_beyond_what_a_result_may_hold() {
        let text = text(usize::MAX, &[&vec![0xff; MAX_OUTPUT_BYTES]]);
        assert!(text.len() <= MAX_OUTPUT_BYTES && text.ends_with(MARK));
    }
}
