//! The service that a local network runs: a web server of a few lines, so that nothing else has to be
//! installed. It answers every request with what lies in `greeting.txt` beside it and who it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Longest request; what is asked does not matter.
const LONGEST: usize = 16 << 10;

/// Longest a caller may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Callers at once: a person and a gateway's checks.
const CALLERS: usize = 64;

/// Serves at the port in `PORT` until it is killed.
///
/// # Errors
/// There is no such port, or nothing that is to be said.
pub async fn serve() -> io::Result<()> {
    let wrong = |text: &'static str| io::Error::new(io::ErrorKind::InvalidInput, text);
    let port = std::env::var("PORT").ok().and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| wrong("PORT is no port"))?;
    let greeting = std::fs::read_to_string("greeting.txt")?;
    let body = json!({ "hello": greeting.trim(), "process": std::process::id(), "port": port });
    let body = format!("{body}\n");
    let answer: Arc<str> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let callers = Arc::new(Semaphore::new(CALLERS));
    loop {
        // It is never closed.
        let Ok(turn) = Arc::clone(&callers).acquire_owned().await else { return Ok(()) };
        let (stream, _) = listener.accept().await?;
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            // Whoever hangs up meanwhile misses the answer.
            let _ = tokio::time::timeout(PATIENCE, tell(stream, &answer)).await;
            drop(turn);
        });
    }
}

async fn tell(mut stream: TcpStream, answer: &str) -> io::Result<()> {
    let mut asked = Vec::new();
    while asked.len() < LONGEST && !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut asked).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
