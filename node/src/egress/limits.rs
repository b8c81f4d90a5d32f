//! What one run may take of the proxy, each with its reason.

use std::time::Duration;

/// Connections of one run at once: package managers open about fifty, browsers six to a host. Also where
/// the sandbox leads them to the door.
pub(crate) const CONNECTIONS: usize = 128;

/// Names looked up at once for one run. A lookup holds a thread, and a name server that does not
/// answer holds it for half a minute.
pub(super) const LOOKUPS: usize = 8;

/// Addresses of one name that are tried; more would only use up the time.
pub(super) const ADDRESSES: usize = 8;

/// Until a name is found: two tries of the system's resolver.
pub(super) const LOOKUP_TIME: Duration = Duration::from_secs(12);

/// Until one address is connected to.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Refused hosts that are logged of one run, each once: what asks for more of them only fills logs.
pub(super) const TOLD: usize = 20;
