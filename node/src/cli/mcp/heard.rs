//! What a command wrote, as words for the agent that asked for it.
//!
//! Always: of much the last is kept, and that something is missing is said.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::hints;
use crate::cli::output::Output;

/// Kept of each of both outputs, in bytes: less than an answer may have.
const MOST: usize = 48 << 10;

/// Both outputs of one command.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    out: Tail,
    err: Tail,
}

impl Heard {
    /// For the command to write to.
    pub(super) fn output(&self) -> Output {
        Output::into(self.out.clone(), self.err.clone())
    }

    /// Its result.
    pub(super) fn text(&self) -> String {
        self.out.text()
    }

    /// What it said beside it.
    pub(super) fn words(&self) -> String {
        hints::words(&self.err.text().replace("[skyclaw] ", ""))
    }
}

/// The end of what was written.
#[derive(Clone, Debug, Default)]
struct Tail(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    lost: u64,
}

impl Tail {
    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = kept.bytes.as_slices();
        let text = String::from_utf8_lossy(&[front, back].concat()).into_owned();
        if kept.lost == 0 { text } else { format!("[cut: {} bytes before]\n{text}", kept.lost) }
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes.extend(bytes);
        let over = kept.bytes.len().saturating_sub(MOST);
        kept.bytes.drain(..over);
        kept.lost += over as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_much_the_end_is_kept() {
        let heard = Heard::default();
        let mut output = heard.output();
        output.text("first\n").unwrap();
        output.say("a word");
        assert_eq!((heard.text(), heard.words()), ("first\n".into(), "a word\n".into()));
        output.text(&"x".repeat(MOST)).unwrap();
        let text = heard.text();
        assert!(text.starts_with("[cut: 6 bytes before]\nxxx"), "{}", &text[..40]);
    }
}
