//! The standard output of an agent: kept whole up to a bound, and noticed when it is complete.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::output::Fill;
use crate::openclaw::{MAX_STDOUT_BYTES, is_whole};

/// What was read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kept: Vec<u8>,
    /// There was more.
    pub(super) truncated: bool,
    hash: Sha256,
    whole: Arc<Notify>,
    told: bool,
}

impl Answer {
    /// `whole` is told once when the answer is complete.
    pub(super) fn new(whole: Arc<Notify>) -> Self {
        Self { kept: Vec::new(), truncated: false, hash: Sha256::new(), whole, told: false }
    }

    /// SHA-256 of all that was written, in hexadecimal.
    pub(super) fn sha256(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.hash.clone().finalize())
    }
}

impl Fill for Answer {
    fn push(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        let room = MAX_STDOUT_BYTES - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.truncated |= bytes.len() > room;
        if !self.told && !self.truncated && is_whole(&self.kept) {
            self.told = true;
            self.whole.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_told_when_the_answer_is_complete_and_not_before() {
        let whole = Arc::<Notify>::default();
        let mut answer = Answer::new(Arc::clone(&whole));
        answer.push(b"{\"ok\": true, \"usage\": {}");
        assert!(!answer.told);
        answer.push(b"}\n");
        whole.notified().await;
        answer.push(b"more");
        assert!(answer.kept.ends_with(b"}\nmore"));
    }

    #[test]
    fn what_is_too_long_is_counted_and_hashed_but_not_kept() {
        let mut answer = Answer::new(Arc::default());
        answer.push(&vec![b'x'; MAX_STDOUT_BYTES]);
        assert!(!answer.truncated);
        answer.push(b"y");
        assert!(answer.truncated && answer.kept.len() == MAX_STDOUT_BYTES);
        assert_eq!(answer.sha256().len(), 64);
    }
}
