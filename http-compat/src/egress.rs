//! The proxy by which what runs on a host reaches the outside: one connection of it at a time.
//!
//! ```text
//!   a run ──CONNECT host:port──> serve ──> Way ──> bytes both ways
//!         ──GET http://host/──────────────────────> one request, one answer
//! ```
//!
//! Always: nothing is sent anywhere before [`Way`] has judged where it goes, and it goes there and
//! nowhere else: of a request only the url counts, whatever its Host says. Each plain request has a
//! connection of its own, and is written anew from what was understood of it, so that two ends never
//! read one request as two.

mod answer;
mod request;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use skyclaw_protocol::egress::Place;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::gateway::relay::relay;
use answer::Body;
use request::Asked;

/// Largest request head: what servers usually take.
const MAX_HEAD: usize = 32 << 10;

/// Buffer of a connection, each way.
const BUFFER: usize = 64 << 10;

/// How long things may take. The run's own time bounds all of them.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a request head is complete, also between two requests.
    pub head: Duration,
    /// Until an answer to a plain request begins: models think for minutes.
    pub first_byte: Duration,
    /// Without a byte in either direction: silent connections are kept by those who wait for events.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(600),
        }
    }
}

/// Why a connection outwards is not made, in a sentence for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is not allowed.
    Refused(String),
    /// It is allowed, and did not work.
    Failed(String),
    /// The same, as nothing happened in time.
    TimedOut(String),
}

/// Judges and makes connections outwards.
pub trait Way: Send + Sync {
    /// Connects to `place`, if that is allowed. Given up by dropping.
    fn connect<'a>(
        &'a self,
        place: &'a Place,
        port: u16,
    ) -> BoxFuture<'a, Result<TcpStream, Denied>>;

    /// Hears of a request that was refused before a place was known.
    fn malformed(&self, why: &str);
}

/// Two ends that are to be joined once the answer is out.
type Tunnel = Arc<Mutex<Option<(OnUpgrade, TcpStream)>>>;

/// Serves one connection of a run to its end. All of it ends when the future is dropped.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    way: Arc<dyn Way>,
    patience: Patience,
) {
    let tunnel = Tunnel::default();
    let service = service_fn(|request| {
        let (way, tunnel) = (Arc::clone(&way), Arc::clone(&tunnel));
        async move { Ok::<_, Infallible>(respond(request, way.as_ref(), &tunnel, patience).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(BUFFER)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = served.await {
        if error.is_parse() || error.is_parse_too_large() {
            way.malformed("a request could not be read");
        }
        tracing::debug!(%error, "a connection to the proxy ended");
    }
    let joined = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((theirs, outside)) = joined
        && let Ok(theirs) = theirs.await
        && let Err(error) = relay(TokioIo::<Upgraded>::new(theirs), outside, patience.idle).await
    {
        tracing::debug!(%error, "a connection outwards ended");
    }
}

async fn respond(
    mut request: Request<Incoming>,
    way: &dyn Way,
    tunnel: &Tunnel,
    patience: Patience,
) -> Response<Body> {
    let asked = match Asked::read(&request) {
        Ok(asked) => asked,
        Err(why) => {
            way.malformed(why);
            return answer::told(StatusCode::BAD_REQUEST, why);
        }
    };
    let outside = match way.connect(asked.place(), asked.port()).await {
        Ok(outside) => outside,
        Err(denied) => {
            let mut response = match denied {
                Denied::Refused(why) => answer::told(StatusCode::FORBIDDEN, &why),
                Denied::Failed(why) => answer::told(StatusCode::BAD_GATEWAY, &why),
                Denied::TimedOut(why) => answer::told(StatusCode::GATEWAY_TIMEOUT, &why),
            };
            if let Asked::Tunnel { .. } = asked {
                // Clients have no further use for it, and some would wait for its end.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            return response;
        }
    };
    match asked {
        Asked::Tunnel { .. } => {
            let upgrade = hyper::upgrade::on(&mut request);
            *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, outside));
            Response::new(Body::empty())
        }
        Asked::Plain { authority, .. } => {
            match request::forward(request, &authority, outside, patience).await {
                Ok(response) => response,
                Err((status, why)) => answer::told(status, &why),
            }
        }
    }
}
