//! A bar that shows how far an upload is, where somebody watches.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::{AsyncRead, ReadBuf};

/// A bar on standard error; where that is no terminal, none is seen.
#[derive(Clone, Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar of that many bytes.
    pub(super) fn of(bytes: u64, words: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        let style = "{msg} [{bar:30}] {bytes} of {total_bytes} ({bytes_per_sec})";
        // The template is ours; a wrong one leaves the usual bar.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(words);
        Self(bar)
    }

    /// What is read from `inner` moves the bar, from its beginning on.
    pub(super) fn counting<R>(&self, inner: R) -> Counted<R> {
        self.0.set_position(0);
        Counted { inner, bar: self.0.clone() }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Something to read that moves a bar.
#[derive(Debug)]
pub(super) struct Counted<R> {
    inner: R,
    bar: ProgressBar,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.bar.inc((buffer.filled().len() - before) as u64);
        polled
    }
}
