//! The last lines a service wrote: bounded, and followed by any number of readers.
//!
//! Always: the lines kept take at most the ring's bytes; a reader holds nothing but its place, and
//! is told how many lines were gone before it came to them. Lines are numbered in the order in which they
//! came, whatever the clock says of them. Whoever writes faster than [`RATE`] is read more slowly, so that
//! what prints for ever costs the daemon little.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skyclaw_protocol::clock::Wall;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::time;

/// Longest line kept whole; a longer one is cut into such pieces.
const LINE_BYTES: usize = 8 << 10;

/// What a line costs beside its text.
const LINE_COST: usize = 64;

/// Bytes taken from a pipe at once.
const READ_BYTES: usize = 16 << 10;

/// Bytes read from one stream in a second, on the average.
const RATE: u64 = 4 << 20;

/// Lines of standard error that are quoted where an end is explained, and their characters.
const LAST_WORDS: (usize, usize) = (5, 800);

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The host, about the instance.
    Host,
}

impl Stream {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Host => "host",
        }
    }
}

/// One line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was read.
    pub at: Wall,
    /// Where it came from.
    pub stream: Stream,
    /// Bytes that are no text are U+FFFD.
    pub text: Arc<str>,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next line, and its number: one more than that of the line before.
    Line(u64, LogLine),
    /// So many lines were dropped before they were read.
    Missed(u64),
}

/// The lines. Cheap to clone; clones are the same ring.
#[derive(Clone)]
pub struct LogRing(Arc<Inner>);

struct Inner {
    kept: Mutex<Kept>,
    /// Number of the next line; closed together with the last writer.
    next: watch::Sender<u64>,
    most: usize,
}

struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Number of the first line kept.
    first: u64,
    closed: bool,
}

impl fmt::Debug for LogRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogRing").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl LogRing {
    /// Keeps at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        // In microseconds, faster than lines come in the long run: a ring that takes the place of this one
        // after a restart begins above it, and who goes on reading there takes its lines for new. They fit
        // into the numbers of JavaScript for two centuries.
        let first = time::wall().0.saturating_mul(1000);
        let kept = Kept { lines: VecDeque::new(), bytes: 0, first, closed: false };
        let next = watch::Sender::new(first);
        Self(Arc::new(Inner { kept: Mutex::new(kept), next, most }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the lines kept take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }

    /// Adds a line of the host's own.
    pub fn note(&self, text: &str) {
        for line in text.lines() {
            self.push(Stream::Host, line.as_bytes());
        }
    }

    /// Nothing comes after this: readers end once they have read the rest.
    pub fn close(&self) {
        self.kept().closed = true;
        self.0.next.send_modify(|_| {});
    }

    fn push(&self, stream: Stream, mut bytes: &[u8]) {
        loop {
            let (piece, rest) = bytes.split_at(bytes.len().min(LINE_BYTES));
            let text: Arc<str> = String::from_utf8_lossy(piece).into();
            self.add(LogLine { at: time::wall(), stream, text });
            if rest.is_empty() {
                return;
            }
            bytes = rest;
        }
    }

    fn add(&self, line: LogLine) {
        let mut kept = self.kept();
        kept.bytes += line.text.len() + LINE_COST;
        kept.lines.push_back(line);
        while kept.bytes > self.0.most
            && let Some(gone) = kept.lines.pop_front()
        {
            kept.bytes -= gone.text.len() + LINE_COST;
            kept.first += 1;
        }
        let next = kept.first + kept.lines.len() as u64;
        drop(kept);
        self.0.next.send_replace(next);
    }

    /// Reads a stream to its end, line by line. What stands after the last line's end is a line.
    pub(super) async fn fill(&self, stream: Stream, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let (mut buffer, mut line) = (vec![0; READ_BYTES], Vec::new());
        let mut due = Instant::now();
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            for piece in buffer[..n].split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece);
                if line.ends_with(b"\n") {
                    line.pop();
                    if line.ends_with(b"\r") {
                        line.pop();
                    }
                    self.push(stream, &line);
                    line.clear();
                } else if line.len() >= LINE_BYTES {
                    self.push(stream, &line);
                    line.clear();
                }
            }
            // A burst of a second is free.
            let floor = Instant::now().checked_sub(Duration::from_secs(1));
            due = floor.map_or(due, |floor| due.max(floor));
            due += Duration::from_nanos(n as u64 * 1_000_000_000 / RATE);
            sleep_until(due).await;
        }
        if !line.is_empty() {
            self.push(stream, &line);
        }
    }

    /// The last lines of standard error since the host's last word, in one line.
    #[must_use]
    pub fn last_words(&self) -> String {
        let kept = self.kept();
        let since = kept.lines.iter().rev().take_while(|line| line.stream != Stream::Host);
        let said =
            since.filter(|line| line.stream == Stream::Stderr && !line.text.trim().is_empty());
        let mut lines: Vec<&str> = said.take(LAST_WORDS.0).map(|line| line.text.trim()).collect();
        lines.reverse();
        let text = lines.join(" | ");
        let start = text.len().saturating_sub(LAST_WORDS.1);
        text[text.ceil_char_boundary(start)..].to_owned()
    }

    /// A reader that begins with the last `tail` lines.
    #[must_use]
    pub fn read(&self, tail: usize) -> LogReader {
        let kept = self.kept();
        let skipped = kept.lines.len().saturating_sub(tail) as u64;
        LogReader { next: kept.first + skipped, told: self.0.next.subscribe(), ring: self.clone() }
    }
}

/// A place in a ring.
#[derive(Debug)]
pub struct LogReader {
    ring: LogRing,
    next: u64,
    told: watch::Receiver<u64>,
}

impl LogReader {
    /// The next line that is there already.
    pub fn ready(&mut self) -> Option<Heard> {
        let kept = self.ring.kept();
        if self.next < kept.first {
            let missed = kept.first - self.next;
            self.next = kept.first;
            return Some(Heard::Missed(missed));
        }
        let at = usize::try_from(self.next - kept.first).ok()?;
        let line = kept.lines.get(at)?.clone();
        let number = self.next;
        self.next += 1;
        Some(Heard::Line(number, line))
    }

    /// Waits for the next line; none once the ring is closed and read to its end.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            self.told.mark_unchanged();
            if let Some(heard) = self.ready() {
                return Some(heard);
            }
            if self.ring.kept().closed {
                return None;
            }
            if self.told.changed().await.is_err() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ring: &LogRing, tail: usize) -> Vec<String> {
        let mut reader = ring.read(tail);
        let lines = std::iter::from_fn(|| reader.ready());
        lines
            .map(|heard| match heard {
                Heard::Line(_, line) => line.text.to_string(),
                Heard::Missed(n) => format!("missed {n}"),
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_told_apart_and_a_last_one_without_end_is_kept() {
        let ring = LogRing::new(10_000);
        ring.fill(Stream::Stdout, Some(&b"one\r\n\ntwo\xff\nthree"[..])).await;
        assert_eq!(texts(&ring, 10), ["one", "", "two\u{fffd}", "three"]);
        assert_eq!(texts(&ring, 2), ["two\u{fffd}", "three"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_line_is_cut_and_the_bytes_kept_are_bounded() {
        let ring = LogRing::new(64 << 10);
        let endless = vec![b'x'; 1 << 20];
        ring.fill(Stream::Stdout, Some(&endless[..])).await;
        assert!(ring.bytes() <= 64 << 10, "{}", ring.bytes());
        assert!(texts(&ring, 1000).iter().all(|line| line.len() <= READ_BYTES));
        assert!(!texts(&ring, 1000).is_empty());
        let many = b"\n".repeat(100_000);
        ring.fill(Stream::Stdout, Some(&many[..])).await;
        assert!(ring.bytes() <= 64 << 10 && ring.kept().lines.len() <= 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn what_prints_without_end_is_read_at_a_bounded_pace() {
        let ring = LogRing::new(1000);
        let before = Instant::now();
        let much = [[b'y'; 1023].as_slice(), b"\n"].concat().repeat(20 << 10);
        ring.fill(Stream::Stdout, Some(&much[..])).await;
        assert!(before.elapsed() >= Duration::from_secs(4), "{:?}", before.elapsed());
    }

    #[tokio::test]
    async fn a_reader_that_is_slow_is_told_what_it_missed_and_one_that_waits_is_woken() {
        let ring = LogRing::new(10 * (LINE_COST + 2));
        let mut reader = ring.read(0);
        let first = reader.next;
        for n in 10..30 {
            ring.note(&n.to_string());
        }
        assert_eq!(reader.next().await, Some(Heard::Missed(10)));
        for n in 20..30 {
            let Some(Heard::Line(number, line)) = reader.next().await else { panic!("no line") };
            assert_eq!((number - first, &*line.text), (n - 10, &*n.to_string()));
        }
        let (woken, ()) = tokio::join!(reader.next(), async { ring.note("late") });
        assert!(matches!(woken, Some(Heard::Line(_, line)) if &*line.text == "late"));
        let (end, ()) = tokio::join!(reader.next(), async { ring.close() });
        assert_eq!(end, None);
    }

    #[test]
    fn the_last_words_are_those_of_standard_error_since_the_host_spoke() {
        let ring = LogRing::new(10_000);
        ring.push(Stream::Stderr, b"old");
        ring.note("started");
        ring.push(Stream::Stderr, b"Error: no database");
        ring.push(Stream::Stdout, b"bye");
        ring.push(Stream::Stderr, b"  at main  ");
        assert_eq!(ring.last_words(), "Error: no database | at main");
    }
}
