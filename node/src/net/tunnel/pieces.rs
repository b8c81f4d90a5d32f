//! The bytes of a tunnel in pieces, so that an end is told from a break.
//!
//! A piece is its length, two bytes big-endian, and so many bytes; one of length 0 is the end of a
//! direction. A connection that breaks looks like the end of its streams: without this a download
//! that was cut off would look complete.
//!
//! Always: at most one piece is held back, and reading sends it on, too, so that whoever asks and
//! waits need not flush.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use tokio::io::ReadBuf;

/// Bytes in a piece at most: a few of the transport's frames.
const PIECE: usize = 32 << 10;

/// Both directions of a stream.
#[derive(Debug)]
pub(super) struct Pieces<S> {
    stream: S,
    /// The length of the next piece, as far as it came.
    head: Vec<u8>,
    /// Bytes of the current piece that are still to come.
    left: usize,
    /// The other side said that it ends.
    ended: bool,
    /// What is still to be written, from here on.
    out: Vec<u8>,
    at: usize,
    /// Whoever writes waits for room: it is woken, and nobody else may be in its place.
    waits: bool,
    /// We said that we end.
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pieces<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self {
            stream,
            head: Vec::new(),
            left: 0,
            ended: false,
            out: Vec::new(),
            at: 0,
            waits: false,
            closed: false,
        }
    }

    /// What is held back goes first, for whoever writes.
    fn make_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let drained = self.drain(cx);
        self.waits = drained.is_pending();
        drained
    }

    /// Writes what is held back.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at < self.out.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.at..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += written;
        }
        self.out.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.waits
            && self.at < self.out.len()
            && let Poll::Ready(Ok(())) = self.drain(cx)
        {
            // Whoever writes hears of errors, and of a flush that is not done.
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
        if self.ended || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        while self.left == 0 {
            let mut length = [0; 2];
            let missing = &mut length[self.head.len()..];
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, missing))?;
            if read == 0 {
                return Poll::Ready(Err(broke()));
            }
            self.head.extend_from_slice(&missing[..read]);
            if let [high, low] = self.head[..] {
                self.head.clear();
                self.left = usize::from(u16::from_be_bytes([high, low]));
                if self.left == 0 {
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let most = self.left.min(buffer.remaining());
        let read =
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer.initialize_unfilled_to(most)))?;
        if read == 0 {
            return Poll::Ready(Err(broke()));
        }
        self.left -= read;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.make_room(cx))?;
        let bytes = &bytes[..bytes.len().min(PIECE)];
        if !bytes.is_empty() {
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            self.out.extend_from_slice(&length.to_be_bytes());
            self.out.extend_from_slice(bytes);
            // What does not go now goes with the next call.
            if let Poll::Ready(Err(error)) = self.drain(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.make_room(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            ready!(self.make_room(cx))?;
            self.closed = true;
            self.out.extend_from_slice(&[0, 0]);
        }
        ready!(self.make_room(cx))?;
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

fn broke() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tunnel broke")
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

    use super::*;

    async fn write(pieces: &mut Pieces<Compat<DuplexStream>>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| pieces.poll_write(cx, bytes)).await.unwrap();
            bytes = &bytes[written..];
        }
        poll_fn(|cx| pieces.poll_flush(cx)).await.unwrap();
    }

    async fn read(pieces: &mut Pieces<Compat<DuplexStream>>) -> io::Result<Vec<u8>> {
        let (mut got, mut block) = (Vec::new(), vec![0; 1000]);
        loop {
            let mut buffer = ReadBuf::new(&mut block);
            poll_fn(|cx| pieces.poll_read(cx, &mut buffer)).await?;
            match buffer.filled() {
                [] => return Ok(got),
                some => got.extend_from_slice(some),
            }
        }
    }

    fn sample(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at % 251) as u8).collect()
    }

    #[tokio::test]
    async fn what_is_written_comes_whole_through_narrow_and_wide_pipes() {
        for (width, size) in [(1, 300), (7, 100_000), (1 << 20, 1_000_000)] {
            let (one, other) = tokio::io::duplex(width);
            let (mut one, mut other) = (Pieces::new(one.compat()), Pieces::new(other.compat()));
            let sent = sample(size);
            let send = async {
                write(&mut one, &sent).await;
                poll_fn(|cx| one.poll_shutdown(cx)).await.unwrap();
                assert!(poll_fn(|cx| one.poll_write(cx, b"x")).await.is_err(), "it said the end");
            };
            let ((), got) = tokio::join!(send, read(&mut other));
            assert!(got.unwrap() == sent, "{width}");
        }
    }

    #[tokio::test]
    async fn a_break_anywhere_is_no_end() {
        let (one, mut raw) = tokio::io::duplex(1 << 20);
        let mut one = Pieces::new(one.compat());
        write(&mut one, &sample(40_000)).await;
        poll_fn(|cx| one.poll_shutdown(cx)).await.unwrap();
        drop(one);
        let mut all = Vec::new();
        raw.read_to_end(&mut all).await.unwrap();
        for cut in [0, 1, 2, 3, 100, all.len() - 3, all.len() - 2, all.len() - 1] {
            let (mut raw, other) = tokio::io::duplex(1 << 20);
            raw.write_all(&all[..cut]).await.unwrap();
            drop(raw);
            let broke = read(&mut Pieces::new(other.compat())).await.unwrap_err();
            assert_eq!(broke.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    /// Whoever writes without flushing and then waits for an answer gets it.
    #[tokio::test]
    async fn reading_sends_what_is_held_back() {
        let (one, other) = tokio::io::duplex(16);
        let (mut one, mut other) = (Pieces::new(one.compat()), Pieces::new(other.compat()));
        let asked = async {
            let question = sample(1000);
            assert_eq!(poll_fn(|cx| one.poll_write(cx, &question)).await.unwrap(), 1000);
            read(&mut one).await.unwrap()
        };
        let answered = async {
            let mut block = [0; 1000];
            let mut buffer = ReadBuf::new(&mut block);
            while buffer.remaining() > 0 {
                poll_fn(|cx| other.poll_read(cx, &mut buffer)).await.unwrap();
            }
            write(&mut other, b"answer").await;
            poll_fn(|cx| other.poll_shutdown(cx)).await.unwrap();
        };
        let both = async { tokio::join!(asked, answered).0 };
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), both).await;
        assert_eq!(answer.expect("nobody waits for ever"), b"answer");
    }
}
