//! How an original is set up: its environment variables.

use std::time::Duration;

use super::Original;

/// How an original is set up. As it stands: alone, without a token, one copy.
#[derive(Clone, Debug)]
pub struct OriginalSetup {
    pub(super) node_id: String,
    pub(super) token: Option<String>,
    pub(super) min_replications: usize,
    pub(super) lease: Duration,
    pub(super) peer_sync: Duration,
    pub(super) discovery: bool,
    pub(super) peers: Vec<String>,
    pub(super) public: bool,
    pub(super) public_url: Option<String>,
    pub(super) public_keys: String,
}

impl OriginalSetup {
    /// One of that name.
    #[must_use]
    pub fn new(node_id: &str) -> Self {
        Self {
            node_id: node_id.to_owned(),
            token: None,
            min_replications: 1,
            lease: Duration::from_mins(1),
            peer_sync: Duration::from_secs(3),
            discovery: true,
            peers: Vec::new(),
            public: false,
            public_url: None,
            public_keys: String::new(),
        }
    }

    /// `SKYCLAW_TOKEN`.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// `SKYCLAW_MIN_REPLICATIONS`.
    #[must_use]
    pub const fn min_replications(mut self, copies: usize) -> Self {
        self.min_replications = copies;
        self
    }

    /// `SKYCLAW_LEASE_MS`.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// `SKYCLAW_PEER_SYNC_MS`.
    #[must_use]
    pub const fn peer_sync(mut self, every: Duration) -> Self {
        self.peer_sync = every;
        self
    }

    /// `SKYCLAW_PEER_DISCOVERY`.
    #[must_use]
    pub const fn discovery(mut self, on: bool) -> Self {
        self.discovery = on;
        self
    }

    /// Adds to `SKYCLAW_PEER_URLS`.
    #[must_use]
    pub fn peer(mut self, url: &str) -> Self {
        self.peers.push(url.to_owned());
        self
    }

    /// `SKYCLAW_COORDINATOR_PUBLIC_URL` is the url at which it listens.
    #[must_use]
    pub const fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// `SKYCLAW_COORDINATOR_PUBLIC_URL` is this one.
    #[must_use]
    pub fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.to_owned());
        self
    }

    /// `SKYCLAW_PUBLIC_API_KEYS`.
    #[must_use]
    pub fn public_keys(mut self, keys: &str) -> Self {
        self.public_keys = keys.to_owned();
        self
    }

    /// Starts it.
    #[must_use]
    pub fn start(self) -> Original {
        Original::start(self)
    }
}
