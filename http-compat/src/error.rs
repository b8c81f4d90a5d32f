//! Every way a request is refused: its status, its text, its name in the metrics.
//!
//! Always: the only file of the API that gives an error a status (the gateway has its own).

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use skyclaw_protocol::Refusal;
use skyclaw_protocol::principal::Scope;

use crate::auth::Enough;
use crate::backend::MembershipRefusal;
use crate::json;

/// Names the job a refused submission had minted.
const JOB_ID: HeaderName = HeaderName::from_static("x-skyclaw-job-id");

/// Why a request is refused. Unless it is [`ApiError::Refused`], the node never saw it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The body is no JSON, or no JSON that can be asked for fields.
    #[error("{0}")]
    BadJson(String),
    /// A field, header or query parameter is missing or wrong; the text names it.
    #[error("{0}")]
    BadField(String),
    /// An id in the path does not decode.
    #[error("URI malformed")]
    BadTarget,
    /// HTTP/1.1 without a Host header.
    #[error("the Host header is missing")]
    NoHost,
    /// The body ended early or its framing is broken.
    #[error("the body could not be read: {0}")]
    BrokenBody(String),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {0:?}")]
    SlowBody(Duration),
    /// Something is larger than it may be; the text says what and how large it may be.
    #[error("{0}")]
    TooLarge(String),
    /// Too many large bodies are being read.
    #[error("busy: too many large bodies are being read")]
    BodyRoom,
    /// The shared token is missing or wrong.
    #[error("unauthorized")]
    Unauthorized,
    /// The key of a principal does not cover the route.
    #[error("this key may not do that: it needs {}", Enough(.0))]
    Forbidden(&'static [Scope]),
    /// The record is shown to the key, but is another's.
    #[error("this {0} belongs to somebody else: only its owner and administrators change it")]
    NotOwn(&'static str),
    /// The principal has used up a bound.
    #[error("{what}; try again in {retry_s} s")]
    OverQuota {
        /// Which.
        what: String,
        /// When to come again, in seconds.
        retry_s: u64,
    },
    /// The key of the public API is missing or wrong.
    #[error("invalid api key")]
    InvalidApiKey,
    /// No keys are configured.
    #[error("public api is disabled")]
    PublicDisabled,
    /// The key does not cover what was asked for.
    #[error("requested capabilities are not allowed for this api key")]
    CapabilityNotAllowed,
    /// The key does not cover shell jobs.
    #[error("shell jobs are not allowed for this api key")]
    ShellNotAllowed,
    /// The key covers agents without tools alone.
    #[error(
        "agent jobs with tools are not allowed for this api key: send payload.toolPolicy \"none\""
    )]
    ToolsNotAllowed,
    /// No such route.
    #[error("not found")]
    NoRoute,
    /// No such job, host or service.
    #[error("{0} not found")]
    NoRecord(&'static str),
    /// Membership is not changed, and why.
    #[error(transparent)]
    Membership(#[from] MembershipRefusal),
    /// The node cannot do its work now, and why.
    #[error("not ready: {}", .0.join("; "))]
    NotReady(Vec<String>),
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A defect of ours.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl ApiError {
    /// The name in the metrics.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::BadJson(_) => "bad_json",
            Self::BadField(_) => "bad_field",
            Self::BadTarget => "bad_target",
            Self::NoHost => "no_host_header",
            Self::BrokenBody(_) => "broken_body",
            Self::SlowBody(_) => "slow_body",
            Self::TooLarge(_) => "too_large",
            Self::BodyRoom => "body_room",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden(_) => "scope",
            Self::NotOwn(_) => "not_own",
            Self::OverQuota { .. } => "over_quota",
            Self::InvalidApiKey => "invalid_api_key",
            Self::PublicDisabled => "public_disabled",
            Self::CapabilityNotAllowed => "capability_not_allowed",
            Self::ShellNotAllowed => "shell_not_allowed",
            Self::ToolsNotAllowed => "tools_not_allowed",
            Self::NoRoute => "no_route",
            Self::NoRecord(_) => "no_record",
            Self::Membership(_) => "membership",
            Self::NotReady(_) => "not_ready",
            Self::Refused(refusal) => refusal_reason(refusal),
            Self::Internal(_) => "internal",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::BadJson(_)
            | Self::BadField(_)
            | Self::BadTarget
            | Self::NoHost
            | Self::BrokenBody(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::InvalidApiKey => StatusCode::UNAUTHORIZED,
            Self::CapabilityNotAllowed
            | Self::ShellNotAllowed
            | Self::ToolsNotAllowed
            | Self::Forbidden(_)
            | Self::NotOwn(_) => StatusCode::FORBIDDEN,
            Self::OverQuota { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRoute | Self::NoRecord(_) => StatusCode::NOT_FOUND,
            Self::SlowBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyRoom | Self::PublicDisabled | Self::NotReady(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Membership(refusal) => match refusal {
                MembershipRefusal::Bad(_) => StatusCode::BAD_REQUEST,
                MembershipRefusal::May(_) => StatusCode::CONFLICT,
                MembershipRefusal::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Refused(refusal) => refusal_status(refusal),
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer the caller gets.
    pub(crate) fn into_response(self) -> Response {
        let mut response = json::answer(&self.body());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        match &self {
            Self::BodyRoom | Self::Refused(Refusal::Busy(_) | Refusal::Stopping) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::OverQuota { retry_s, .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*retry_s));
            }
            Self::Refused(Refusal::OverQuota { retry_s, .. }) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*retry_s));
            }
            // What is left of the body cannot be told from the next request.
            Self::SlowBody(_) | Self::BrokenBody(_) | Self::NoHost => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Refused(
                Refusal::TargetNotMet { job: Some(job), .. }
                | Refusal::HomeAway { job: Some(job), .. },
            ) => {
                if let Ok(id) = HeaderValue::from_bytes(job.as_str().as_bytes()) {
                    headers.insert(JOB_ID, id);
                }
            }
            _ => {}
        }
        response
    }

    fn body(&self) -> Value {
        match self {
            Self::NotReady(reasons) => {
                json!({ "ok": false, "error": self.to_string(), "reasons": reasons })
            }
            _ => json!({ "error": self.to_string() }),
        }
    }
}

const fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownHost(_)
        | Refusal::UnknownJob(_)
        | Refusal::UnknownService(_)
        | Refusal::UnknownPrincipal(_) => StatusCode::NOT_FOUND,
        Refusal::AssignedElsewhere { .. }
        | Refusal::NotLeased(_)
        | Refusal::AlreadyEnded { .. }
        | Refusal::NotAssigned { .. }
        | Refusal::HostTaken(_)
        | Refusal::PrincipalExists(_)
        | Refusal::NotOwner(_)
        | Refusal::KeyReuse { .. } => StatusCode::CONFLICT,
        Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::BadReceipt { .. } | Refusal::NothingToKeep(_) => StatusCode::BAD_REQUEST,
        Refusal::RoleMissing { .. } => StatusCode::FORBIDDEN,
        Refusal::OverQuota { .. } => StatusCode::TOO_MANY_REQUESTS,
        // Also what a later protocol adds: nothing was done, another node may do it.
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The one word for each kind of refusal, in metrics and in spans: it holds nothing of what the texts hold (names,
/// paths, what others sent).
#[must_use]
pub const fn refusal_reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownHost(_) => "unknown_host",
        Refusal::HostTaken(_) => "host_taken",
        Refusal::RoleMissing { .. } => "role_missing",
        Refusal::UnknownJob(_) => "unknown_job",
        Refusal::UnknownService(_) => "unknown_service",
        Refusal::UnknownPrincipal(_) => "unknown_principal",
        Refusal::PrincipalExists(_) => "principal_exists",
        Refusal::NotOwner(_) => "not_own",
        Refusal::OverQuota { .. } => "over_quota",
        Refusal::NothingToKeep(_) => "bad_field",
        Refusal::AssignedElsewhere { .. } => "assigned_elsewhere",
        Refusal::NotLeased(_) => "not_leased",
        Refusal::AlreadyEnded { .. } => "already_ended",
        Refusal::NotAssigned { .. } => "not_assigned",
        Refusal::KeyReuse { .. } => "key_reuse",
        Refusal::InsufficientPeers { .. } => "insufficient_peers",
        Refusal::TargetNotMet { .. } => "target_not_met",
        Refusal::LowSpace(_) => "low_space",
        Refusal::Clock(_) => "clock",
        Refusal::Store(_) => "store",
        Refusal::Busy(_) => "busy",
        Refusal::Full { .. } => "full",
        Refusal::TooLarge(_) => "too_large",
        Refusal::BadReceipt { .. } => "bad_receipt",
        Refusal::HomeAway { .. } => "home_away",
        Refusal::Stopping => "stopping",
        _ => "other",
    }
}
