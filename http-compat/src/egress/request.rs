//! What a request to the proxy asks for, and how a plain one goes on.

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::{PathAndQuery, Scheme, Uri};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use skyclaw_protocol::egress::Place;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::answer::Body;
use super::{MAX_HEAD, Patience};
use crate::gateway::headers::{is_of_the_connection, listed};

/// Port of plain HTTP where the url names none.
const HTTP: u16 = 80;

/// A request that was understood.
#[derive(Debug)]
pub(super) enum Asked {
    /// Bytes both ways.
    Tunnel { place: Place, port: u16 },
    /// One exchange of plain HTTP.
    Plain { place: Place, port: u16, authority: HeaderValue },
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn read(request: &Request<Incoming>) -> Result<Self, &'static str> {
        let uri = request.uri();
        let Some(authority) = uri.authority() else {
            return Err("this is a proxy: ask it with CONNECT host:port, or for http://host/path");
        };
        if authority.as_str().contains('@') {
            return Err("a user and a password do not belong in front of a host here");
        }
        let place = Place::parse(authority.host())
            .map_err(|_| "the host is neither a name nor an address as it is usually written")?;
        // What stands behind the colon and is no port would be read as none.
        let port = authority.port_u16().filter(|port| *port != 0);
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && port.is_none() {
            return Err("the port must be a number from 1 to 65535");
        }
        if request.method() == Method::CONNECT {
            let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
            if framed.iter().any(|name| request.headers().contains_key(name)) {
                return Err("a CONNECT request has no body");
            }
            let port = port.ok_or("a CONNECT request names host and port")?;
            return Ok(Self::Tunnel { place, port });
        }
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err("only http:// is asked for in the clear: use CONNECT for anything else");
        }
        let authority = HeaderValue::from_str(authority.as_str());
        let authority = authority.map_err(|_| "the host cannot be written in a header")?;
        Ok(Self::Plain { place, port: port.unwrap_or(HTTP), authority })
    }

    pub(super) const fn place(&self) -> &Place {
        let (Self::Tunnel { place, .. } | Self::Plain { place, .. }) = self;
        place
    }

    pub(super) const fn port(&self) -> u16 {
        let (Self::Tunnel { port, .. } | Self::Plain { port, .. }) = self;
        *port
    }
}

/// Headers without what is of one connection only.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let listed = listed(headers);
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let dropped = is_of_the_connection(name)
            || *name == header::TRAILER
            || listed.iter().any(|it| it == name.as_str());
        if !dropped {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

/// Sends a plain request over a connection of its own.
///
/// # Errors
/// The status to answer with, and why.
pub(super) async fn forward(
    request: Request<Incoming>,
    authority: &HeaderValue,
    outside: TcpStream,
    patience: Patience,
) -> Result<Response<Body>, (StatusCode, String)> {
    let broke = |error: hyper::Error| (StatusCode::BAD_GATEWAY, format!("it broke: {error}"));
    let opened =
        http1::Builder::new().max_buf_size(2 * MAX_HEAD).handshake(TokioIo::new(outside)).await;
    let (mut sender, connection) = opened.map_err(broke)?;
    // It ends with the answer, or with whoever waits for it.
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection outwards ended");
        }
    }));
    let (theirs, body) = request.into_parts();
    let mut ours = Request::new(body);
    *ours.method_mut() = theirs.method;
    *ours.uri_mut() = Uri::from(path(&theirs.uri));
    *ours.headers_mut() = passed_on(&theirs.headers);
    let headers = ours.headers_mut();
    headers.insert(header::HOST, authority.clone());
    // Invited here already.
    headers.remove(header::EXPECT);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let answered = timeout(patience.first_byte, sender.send_request(ours)).await;
    let late = |_| {
        let seconds = patience.first_byte.as_secs();
        (StatusCode::GATEWAY_TIMEOUT, format!("it did not answer within {seconds} s"))
    };
    let response = answered.map_err(late)?.map_err(broke)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err((StatusCode::BAD_GATEWAY, "it changed its protocol unasked".to_owned()));
    }
    let (mut parts, body) = response.into_parts();
    parts.headers = passed_on(&parts.headers);
    Ok(Response::from_parts(parts, Body::of(body, driver, patience.idle)))
}

/// What is asked of the server itself.
fn path(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}
