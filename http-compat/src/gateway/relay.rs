//! Bytes both ways between two connections.
//!
//! Always: a direction that has nothing to pass on holds no memory; a piece is read only once the
//! one before it was taken.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

/// What is read at once, on the stack of whoever polls.
const PIECE: usize = 16 << 10;

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Read and not yet taken; from `from` on.
    left: Vec<u8>,
    from: usize,
    unflushed: bool,
    end: End,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// Nothing more comes; the other side is to be told.
    Telling,
    Told,
}

impl Way {
    /// Moves bytes until one side has to wait. Ready when the direction has ended.
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.end == End::Told {
                return Poll::Ready(Ok(()));
            }
            while self.from < self.left.len() {
                let rest = self.left.get(self.from..).unwrap_or_default();
                let taken = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
                if taken == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                *moved = true;
                self.from += taken;
            }
            if !self.left.is_empty() {
                (self.left, self.from) = (Vec::new(), 0);
            }
            if self.end == End::Telling {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.end = End::Told;
                continue;
            }
            self.step(cx, from, to, moved)?;
            if self.left.is_empty() && self.end == End::Open {
                return Poll::Pending;
            }
        }
    }

    /// Reads a piece and writes what is taken of it at once. Leaves `left` empty and the direction
    /// open if it has to wait for more.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        moved: &mut bool,
    ) -> io::Result<()> {
        let mut piece = [0; PIECE];
        loop {
            let mut buf = ReadBuf::new(&mut piece);
            match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                Poll::Pending => {
                    if self.unflushed && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
                        self.unflushed = false;
                    }
                    return Ok(());
                }
                Poll::Ready(read) => read?,
            }
            let read = buf.filled();
            if read.is_empty() {
                self.end = End::Telling;
                return Ok(());
            }
            *moved = true;
            self.unflushed = true;
            let taken = match Pin::new(&mut *to).poll_write(cx, read) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => 0,
            };
            if taken < read.len() {
                self.left = read.get(taken..).unwrap_or_default().to_vec();
                return Ok(());
            }
        }
    }
}

/// Passes bytes both ways until both directions have ended, or for `idle` nothing moved.
pub(crate) async fn relay(
    mut a: impl AsyncRead + AsyncWrite + Unpin,
    mut b: impl AsyncRead + AsyncWrite + Unpin,
    idle: Duration,
) -> io::Result<()> {
    let (mut there, mut back) = (Way::default(), Way::default());
    let mut timer = pin!(sleep(idle));
    let mut last = Instant::now();
    poll_fn(|cx| {
        let mut moved = false;
        let one = there.poll_move(cx, &mut a, &mut b, &mut moved)?;
        let other = back.poll_move(cx, &mut b, &mut a, &mut moved)?;
        if one.is_ready() && other.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if moved {
            last = Instant::now();
        }
        while timer.as_mut().poll(cx).is_ready() {
            let end = last + idle;
            if end <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    })
    .await
}
