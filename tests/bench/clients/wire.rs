//! A connection that is read by lines and by counted bytes.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::words;

/// Lines end with CR LF.
pub(super) struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

impl Wire {
    pub(super) async fn open(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        Ok(Self { stream, read: BytesMut::with_capacity(16 << 10) })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(words)
    }

    async fn more(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.read).await.map_err(words)? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> Result<String, String> {
        let mut from = 0;
        loop {
            if let Some(at) = self.read[from..].windows(2).position(|two| two == b"\r\n") {
                let line = self.read.split_to(from + at + 2);
                return Ok(String::from_utf8_lossy(&line[..from + at]).into_owned());
            }
            from = self.read.len().saturating_sub(1);
            self.more().await?;
        }
    }

    /// So many bytes, and the end of a line that follows them.
    pub(super) async fn bytes(&mut self, count: usize) -> Result<BytesMut, String> {
        while self.read.len() < count + 2 {
            self.more().await?;
        }
        let bytes = self.read.split_to(count);
        let _ = self.read.split_to(2);
        Ok(bytes)
    }
}
