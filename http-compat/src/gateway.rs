//! The gateway: callers of services on one side, the instances of services on the other.
//!
//! Always: bodies pass in both directions without being gathered; whatever a caller does is never
//! held against an instance; what is known of an instance is kept under its [`EndpointId`], so that
//! it survives a change of the table; a request is sent again only if its method is idempotent and
//! no byte of an answer was passed on.
//!
//! Read [`Table`] for what can be reached, then `target` (which service a request names), `forward`
//! (the attempts) and `exchange` (one of them). `front` owns the callers' connections.

mod attempt;
mod balance;
mod budget;
mod config;
mod connector;
mod download;
mod error;
mod exchange;
mod forward;
mod front;
pub(crate) mod headers;
mod health;
mod known;
mod legacy;
mod live;
mod metrics;
mod open;
mod pool;
mod probe;
pub(crate) mod relay;
mod sniff;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;
mod upload;
mod workers;

pub use config::GatewayConfig;
pub use connector::{Connector, PathKind, Stream, TcpOnly};
pub use front::serve_gateway;
pub use legacy::BadAnswer;
pub use metrics::GatewayMetrics;
pub use table::{BadUrl, Endpoint, EndpointId, HttpPlace, Route, Table, Unreached, endpoint};
pub use target::named;
