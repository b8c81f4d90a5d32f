//! Values on a stream: four bytes of length, then CBOR.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skyclaw_protocol::blob::{Head, MAX_HEAD_BYTES, Outline};
use skyclaw_protocol::{Hash, codec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why nothing can be taken from a stream.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It ended or failed: more may come if it is asked again.
    #[error("the stream broke: {0}")]
    Broke(#[from] io::Error),
    /// What came is not what was asked for: no more is taken from there.
    #[error("it sent what is not the blob")]
    Lied,
}

/// The bytes of a value in its frame.
pub(super) fn framed<T: Serialize>(value: &T) -> Vec<u8> {
    let body = codec::encode(value);
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes()[..], &body].concat()
}

pub(super) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> io::Result<()> {
    to.write_all(&framed(value)).await?;
    to.flush().await
}

pub(super) async fn read<T: Serialize + DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Result<T, Refused> {
    let len = from.read_u32().await?;
    let len = usize::try_from(len).ok().filter(|len| *len <= most).ok_or(Refused::Lied)?;
    let mut body = vec![0; len];
    from.read_exact(&mut body).await?;
    codec::decode(&body, most).map_err(|_| Refused::Lied)
}

/// Reads the head with which a blob begins, and checks it.
///
/// # Errors
/// [`Refused`].
pub async fn read_head(
    from: &mut (impl AsyncRead + Unpin),
    hash: Hash,
) -> Result<Outline, Refused> {
    let head: Head = read(from, MAX_HEAD_BYTES).await?;
    Outline::check(hash, head).map_err(|_| Refused::Lied)
}
