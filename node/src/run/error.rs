//! Why a node did not start, in words for the person at the terminal.

use crate::engine::EngineError;
use crate::net::NetError;
use crate::sandbox::NotReached;
use crate::supervisor::policy::PolicyError;
use crate::tls::TlsError;

/// The node did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The API's port cannot be had.
    #[error("cannot listen on {address}: {}", advice(source))]
    Listen {
        /// Host and port.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The gateway's port cannot be had.
    #[error("the gateway cannot listen on {address}: {}", gateway_advice(source))]
    ListenGateway {
        /// Host and port.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store or the engine's thread.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// libp2p did not start.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The file of a host without the coordinator role.
    #[error(transparent)]
    Outbox(#[from] skyclaw_store::OpenError),
    /// The host role did not start.
    #[error("{0}")]
    Host(String),
    /// The sandbox that was asked for.
    #[error(transparent)]
    Sandbox(#[from] NotReached),
    /// The sandbox is weaker than this host may be, as this says.
    #[error("{0}")]
    SandboxMin(String),
    /// The file with the rules for jobs and services.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Nowhere to run jobs.
    #[error("jobs cannot be run here: check SKYCLAW_WORK_DIR and the temporary directory")]
    Supervisor {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// TLS was not begun.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An embedded host without the coordinator role.
    #[error(
        "the host role alone needs a coordinator: set SKYCLAW_COORDINATOR_URLS, or add the \
         coordinator role"
    )]
    NoCoordinator,
    /// The process is ending.
    #[error("the start was interrupted")]
    Interrupted,
}

fn advice(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there. Stop it, or choose \
             another port with SKYCLAW_COORDINATOR_PORT or --http-port"
            .into(),
        std::io::ErrorKind::PermissionDenied => {
            "this user may not. Choose a port above 1023 with SKYCLAW_COORDINATOR_PORT".into()
        }
        // What the system said follows as the cause.
        _ => "check SKYCLAW_COORDINATOR_HOST and SKYCLAW_COORDINATOR_PORT".into(),
    }
}

fn gateway_advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another program listens there. Stop it, or choose another port with \
             SKYCLAW_GATEWAY_PORT or --gateway-port"
        }
        std::io::ErrorKind::PermissionDenied => {
            "this user may not. Choose a port above 1023 with SKYCLAW_GATEWAY_PORT"
        }
        _ => "check SKYCLAW_GATEWAY_HOST and SKYCLAW_GATEWAY_PORT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::chain;

    #[test]
    fn what_the_system_said_is_said_once() {
        let source = std::io::Error::from_raw_os_error(99);
        let said = source.to_string();
        let error = StartError::Listen { address: "8.8.8.8:1".into(), source };
        assert_eq!(chain(&error).matches(&said).count(), 1);
        assert!(chain(&error).contains("SKYCLAW_COORDINATOR_HOST"));
    }
}
