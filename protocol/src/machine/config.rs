//! What a machine is told once.

use crate::id::NetworkId;
use crate::limits::{
    DEFAULT_HOST_TTL_MS, DEFAULT_JOB_TTL_MS, DEFAULT_KEY_TTL_MS, DEFAULT_LEASE_MS,
    DEFAULT_P2P_LEASE_MS, DEFAULT_RETENTION_MS, DEFAULT_RUN_MS, QUORUM_TIMEOUT_MS,
};
use crate::shards;

/// See the module.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network that signatures are bound to.
    pub network: NetworkId,
    /// Display name of this coordinator.
    pub label: String,
    /// Length of the leases of HTTP hosts, in milliseconds.
    pub lease_ms: u64,
    /// Copies of each job, this node's included; at least 1.
    pub replicas: usize,
    /// How long answers to keyed requests are remembered, in milliseconds.
    pub key_ttl_ms: u64,
    /// How long a job may wait and run, in milliseconds.
    pub job_ttl_ms: u64,
    /// How long a write waits for its quorum, in milliseconds.
    pub quorum_timeout_ms: u64,
    /// How long hosts let a job run that names no timeout, in milliseconds.
    pub run_ms: u64,
    /// Length of the leases of hosts attached over libp2p, in milliseconds.
    pub p2p_lease_ms: u64,
    /// How long after it was heard of a host counts as alive, in milliseconds.
    pub host_ttl_ms: u64,
    /// How long a job is kept whole after its end, in milliseconds.
    pub retention_ms: u64,
    /// From which size on not everybody keeps everything.
    pub shards: shards::Settings,
}

impl Config {
    /// What a coordinator is told that was told nothing: one copy of each job, and the usual times.
    #[must_use]
    pub fn usual(network: NetworkId, label: impl Into<String>) -> Self {
        Self {
            network,
            label: label.into(),
            lease_ms: DEFAULT_LEASE_MS,
            replicas: 1,
            key_ttl_ms: DEFAULT_KEY_TTL_MS,
            job_ttl_ms: DEFAULT_JOB_TTL_MS,
            quorum_timeout_ms: QUORUM_TIMEOUT_MS,
            run_ms: DEFAULT_RUN_MS,
            p2p_lease_ms: DEFAULT_P2P_LEASE_MS,
            host_ttl_ms: DEFAULT_HOST_TTL_MS,
            retention_ms: DEFAULT_RETENTION_MS,
            shards: shards::Settings::default(),
        }
    }
}
