//! What the API is told at start. Values are resolved elsewhere; nothing here reads them.

use std::time::Duration;

use skyclaw_protocol::limits::MAX_BODY_BYTES;

use crate::auth::{PublicKey, Secret};
use crate::metrics::HttpMetrics;

/// The default of [`ApiConfig::body_timeout`]: 8 MiB in it needs 280 KB/s, and a body held back
/// on purpose does not keep its memory for longer.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Who names the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// One who knows the node's token: the span goes on in that trace, and is kept if that is.
    Trusted,
    /// Another who was admitted: the span may name that trace, no more.
    Stranger,
}

/// Takes a span that was not entered yet, a well-formed `traceparent`, and whose it is.
pub type JoinTrace = fn(&tracing::Span, &str, Caller);

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// The shared token of the private routes; none means that no check is made.
    pub token: Option<Secret>,
    /// Keys of the public API; none means that it is disabled.
    pub public_keys: Vec<PublicKey>,
    /// Value of `access-control-allow-origin` on public answers. A text that cannot stand in a
    /// header leaves the header out, so that no origin is allowed.
    pub cors_origin: String,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Longest time a request body may take to arrive.
    pub body_timeout: Duration,
    /// Names and addresses beside their own that hosts may give for their services; `*` for any.
    pub endpoint_hosts: Vec<String>,
    /// Where requests and refusals are counted.
    pub metrics: HttpMetrics,
    /// Leads the span of a request to the trace that its header `traceparent` names; none where nothing
    /// is traced.
    pub join_trace: Option<JoinTrace>,
}

impl Default for ApiConfig {
    /// No token, no public keys, any origin, [`MAX_BODY_BYTES`], 30 s, metrics that are not
    /// registered anywhere.
    fn default() -> Self {
        Self {
            token: None,
            public_keys: Vec::new(),
            cors_origin: "*".to_owned(),
            max_body_bytes: MAX_BODY_BYTES,
            body_timeout: BODY_TIMEOUT,
            endpoint_hosts: Vec::new(),
            metrics: HttpMetrics::default(),
            join_trace: None,
        }
    }
}
