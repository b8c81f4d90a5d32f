//! Every way the gateway itself answers a request with an error: status, text, name in the metrics.
//!
//! Always: the text says what failed and what can be done, and names instances, never their
//! addresses.

use std::io;
use std::time::Duration;

use hyper::StatusCode;

/// Why one attempt came to nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// No connection.
    Connect(io::Error),
    /// No connection in time.
    ConnectTime(Duration),
    /// No head of an answer in time.
    AnswerTime(Duration),
    /// Checks say that it is gone, and what it was asked can be asked elsewhere.
    Lost,
    /// The connection broke, or what came over it was no HTTP.
    Broken(hyper::Error),
    /// A kept connection turned out to be closed, and the request cannot be sent twice. No fault of the
    /// endpoint: it may close what is idle at any time.
    Stale,
    /// It changed the protocol though nobody asked for that.
    Upgraded,
    /// The caller's own body broke off or did not arrive in time. No fault of the endpoint.
    Caller,
}

impl Failed {
    /// Whether it counts against the endpoint.
    pub(super) const fn is_the_endpoints(&self) -> bool {
        !matches!(self, Self::Caller | Self::Stale)
    }

    /// The name in the metrics.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::ConnectTime(_) => "connect_time",
            Self::AnswerTime(_) => "answer_time",
            Self::Lost => "lost",
            Self::Broken(_) => "broken",
            Self::Stale => "stale",
            Self::Upgraded => "upgraded",
            Self::Caller => "caller",
        }
    }

    /// Whether time ran out.
    pub(super) const fn is_time(&self) -> bool {
        matches!(self, Self::ConnectTime(_) | Self::AnswerTime(_) | Self::Lost)
    }

    /// What happened, without addresses.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                _ => format!("no connection: {error}"),
            },
            Self::ConnectTime(after) => format!("no connection within {after:?}"),
            Self::AnswerTime(after) => format!("no answer within {after:?}"),
            Self::Lost => "it does not answer any more".to_owned(),
            Self::Broken(error) if error.is_parse_too_large() => {
                "the head of its answer is too large".to_owned()
            }
            Self::Broken(error) if error.is_parse() => "its answer is not HTTP".to_owned(),
            Self::Broken(error) if error.is_incomplete_message() => {
                "it closed the connection without an answer".to_owned()
            }
            Self::Broken(_) => "the connection broke".to_owned(),
            Self::Stale => {
                "it closed the connection as the request came, which may or may not be carried out"
                    .to_owned()
            }
            Self::Upgraded => "it changed the protocol unasked".to_owned(),
            Self::Caller => "the request's body did not arrive".to_owned(),
        }
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Neither a service nor a page of the gateway.
    #[error("not found")]
    NotFound,
    /// The key does not decode.
    #[error("URI malformed")]
    BadKey,
    /// HTTP/1.1 without a Host, or with several.
    #[error("the request must carry exactly one Host header")]
    BadHost,
    /// The service is unknown or has no running instance. The text is the original's.
    #[error("no healthy endpoints for service {0}")]
    NoEndpoints(String),
    /// Too many requests under way.
    #[error("the gateway is busy: {0} requests {1}under way; try again in a second")]
    Busy(usize, &'static str),
    /// It passed through gateways too often.
    #[error("the request went through {0} gateways; an endpoint of the service leads back to one")]
    Loop(usize),
    /// No endpoint answered.
    #[error("fetch failed: {}; see `skyclaw service {service}`", listed(.tried))]
    NoAnswer { service: String, tried: Vec<(String, String)> },
    /// No endpoint answered in time.
    #[error("timed out: {}; see `skyclaw service {service}`", listed(.tried))]
    NoAnswerInTime { service: String, tried: Vec<(String, String)> },
    /// The request's body broke off.
    #[error("the body of the request did not arrive")]
    BrokenBody,
}

fn listed(tried: &[(String, String)]) -> String {
    let each: Vec<String> = tried.iter().map(|(who, why)| format!("{who}: {why}")).collect();
    each.join("; ")
}

impl Refused {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadKey | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::BrokenBody => StatusCode::REQUEST_TIMEOUT,
            Self::NoEndpoints(_) | Self::Busy(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Loop(_) => StatusCode::LOOP_DETECTED,
            Self::NoAnswer { .. } => StatusCode::BAD_GATEWAY,
            Self::NoAnswerInTime { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The name in the metrics.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::BadKey => "bad_key",
            Self::BadHost => "bad_host",
            Self::NoEndpoints(_) => "no_endpoints",
            Self::Busy(..) => "busy",
            Self::Loop(_) => "loop",
            Self::NoAnswer { .. } => "no_answer",
            Self::NoAnswerInTime { .. } => "no_answer_in_time",
            Self::BrokenBody => "broken_body",
        }
    }

    /// What a person may do about it, where the text has no room for it.
    pub(super) const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoEndpoints(_) => Some(
                "no running instance is known under this name or id; `skyclaw services` lists \
                 services, `skyclaw service NAME` says what keeps one from running",
            ),
            _ => None,
        }
    }
}
