//! The way of a running job's output from its host to a coordinator: through a tunnel, as lines of JSON.
//!
//! ```text
//!   {"stream": "stdout", "offset": 12, "text": "..."}   what came next
//!   {"full": "stdout"}                                  beyond this nothing of the stream is kept
//!   {"ended": true}                                     the run is over; its result has the rest
//! ```
//!
//! Always: nothing is gathered on the way. Whoever reads slowly is waited for, and whoever opens the tunnel
//! again says how far it has read.

use serde::{Deserialize, Serialize};
use skyclaw_protocol::{JobId, codec};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::supervisor::{OutputPiece, OutputReader, Outputs, Stream};

/// Longest header: an id and some numbers.
const MAX_HEADER: usize = 4 << 10;

/// Longest line: a piece of 16 KiB, each byte of it escaped or replaced, with room.
const MAX_LINE: u64 = 128 << 10;

/// Of which run, from where on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputHeader {
    /// Which job.
    pub job: JobId,
    /// Which run of it.
    pub attempt: u32,
    /// Bytes of its standard output that the reader has.
    pub stdout: u64,
    /// And of its standard error.
    pub stderr: u64,
    /// Also what is to come.
    pub follow: bool,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    offset: u64,
    #[serde(skip_serializing_if = "is_default")]
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    full: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    ended: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Serves the output of jobs that run here. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OutputTunnels(Outputs);

/// A tunnel that brings output.
#[derive(Debug)]
pub struct OutputServing {
    reader: OutputReader,
    follow: bool,
}

impl OutputTunnels {
    /// Of the jobs of this host.
    #[must_use]
    pub const fn new(outputs: Outputs) -> Self {
        Self(outputs)
    }

    /// Opens what a header names.
    ///
    /// # Errors
    /// Why not, for the opener.
    pub fn open(&self, header: &[u8]) -> Result<OutputServing, String> {
        let OutputHeader { job, attempt, stdout, stderr, follow } =
            codec::decode(header, MAX_HEADER)
                .map_err(|error| format!("the header does not decode: {error}"))?;
        let from = [stdout, stderr].map(|from| usize::try_from(from).unwrap_or(usize::MAX));
        let reader = self.0.read(&job, attempt, from);
        let reader =
            reader.ok_or_else(|| format!("run {attempt} of {job} is not under way here"))?;
        Ok(OutputServing { reader, follow })
    }
}

impl OutputServing {
    /// Writes what there is until the run or its reader ends.
    pub async fn run(mut self, tunnel: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let (mut from, mut to) = tokio::io::split(tunnel);
        let write = async {
            loop {
                let piece = if self.follow { self.reader.next().await } else { self.reader.now() };
                let last = piece.is_none();
                if !last || self.follow {
                    to.write_all(&line(piece)).await?;
                    to.flush().await?;
                }
                if last {
                    return to.shutdown().await;
                }
            }
        };
        // The opener says nothing, and keeps its half open for as long as it reads: a silent run must
        // not keep a tunnel whose reader is gone.
        let gone = async { while let Ok(1..) = from.read(&mut [0; 64]).await {} };
        tokio::select! {
            _ = write => {}
            () = gone => {}
        }
    }
}

fn line(piece: Option<OutputPiece>) -> Vec<u8> {
    let line = match piece {
        Some(OutputPiece::Text { stream, offset, text }) => {
            let stream = Some(stream.as_str().to_owned());
            Line { stream, offset: offset as u64, text, ..Line::default() }
        }
        Some(OutputPiece::Full(stream)) => {
            Line { full: Some(stream.as_str().to_owned()), ..Line::default() }
        }
        None => Line { ended: true, ..Line::default() },
    };
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// What a tunnel brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// A piece.
    Piece(OutputPiece),
    /// The run is over.
    Ended,
    /// The tunnel is: all that was there was brought, or it broke, or is not what it should be.
    Over,
}

/// Reads such a tunnel.
#[derive(Debug)]
pub(crate) struct OutputLines<R> {
    from: BufReader<R>,
    /// What has come of a line: waiting for it may be broken off.
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> OutputLines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from: BufReader::new(from), line: Vec::new() }
    }

    /// The next line. It may be dropped while it waits: nothing is lost.
    pub(crate) async fn next(&mut self) -> Brought {
        let room = MAX_LINE.saturating_sub(self.line.len() as u64);
        // What was read stays in the line, however the wait ends.
        let read = (&mut self.from).take(room).read_until(b'\n', &mut self.line).await;
        let bytes = std::mem::take(&mut self.line);
        if read.is_err() || !bytes.ends_with(b"\n") {
            return Brought::Over;
        }
        let Ok(line) = serde_json::from_slice::<Line>(&bytes) else { return Brought::Over };
        match line {
            Line { ended: true, .. } => Brought::Ended,
            Line { stream: Some(stream), offset, text, .. } => {
                let offset = usize::try_from(offset).ok();
                let piece = stream_of(&stream).zip(offset).map(|(stream, offset)| {
                    Brought::Piece(OutputPiece::Text { stream, offset, text })
                });
                piece.unwrap_or(Brought::Over)
            }
            Line { full: Some(stream), .. } => {
                let stream = stream_of(&stream);
                stream.map_or(Brought::Over, |it| Brought::Piece(OutputPiece::Full(it)))
            }
            _ => Brought::Over,
        }
    }
}

fn stream_of(word: &str) -> Option<Stream> {
    [Stream::Stdout, Stream::Stderr].into_iter().find(|stream| stream.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_anything_else_is_the_end() {
        let text = |stream, offset, text: &str| OutputPiece::Text {
            stream,
            offset,
            text: text.to_owned(),
        };
        let pieces = [
            text(Stream::Stdout, 0, "a\n\u{1b}\"é"),
            OutputPiece::Full(Stream::Stdout),
            text(Stream::Stderr, 70_000, "x"),
        ];
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|it| line(Some(it.clone()))).collect();
        bytes.extend(line(None));
        let mut lines = OutputLines::new(bytes.as_slice());
        for piece in pieces {
            assert_eq!(lines.next().await, Brought::Piece(piece));
        }
        assert_eq!(lines.next().await, Brought::Ended);
        assert_eq!(lines.next().await, Brought::Over);
        for nonsense in
            [&b"{}\n"[..], b"[]\n", b"{\"stream\":\"host\"}\n", b"\xff\n", b"{\"full\":\"\"}"]
        {
            assert_eq!(OutputLines::new(nonsense).next().await, Brought::Over);
        }
        // Half a line stays when whoever waits for the rest gives up.
        let (mut to, from) = tokio::io::duplex(1 << 10);
        let mut lines = OutputLines::new(from);
        let whole = line(Some(OutputPiece::Full(Stream::Stderr)));
        let (half, rest) = whole.split_at(7);
        to.write_all(half).await.unwrap();
        let short = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(short, lines.next()).await.is_err());
        to.write_all(rest).await.unwrap();
        assert_eq!(lines.next().await, Brought::Piece(OutputPiece::Full(Stream::Stderr)));
        let long =
            [b"{\"stream\":\"stdout\",\"text\":\"".as_slice(), &vec![b'x'; 200 << 10]].concat();
        assert_eq!(OutputLines::new(long.as_slice()).next().await, Brought::Over);
    }
}
