//! Why a call to a node failed, in the few words that people are told. What libp2p says of it, with each
//! address and the layers below, is for the log.

use std::error::Error;
use std::io::{self, ErrorKind};

use libp2p::TransportError;
use libp2p::swarm::DialError;

/// Layers of errors that are looked through.
const DEEP: usize = 16;

/// In a few words; the raw error is not among them.
pub(super) fn of_call(error: &DialError) -> &'static str {
    match error {
        DialError::LocalPeerId { .. } => "it is this node itself",
        DialError::NoAddresses => "no address of it is known",
        DialError::WrongPeerId { .. } => "another node is where it was",
        DialError::Denied { .. } => "there is no room for the connection",
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => "the call was given up",
        DialError::Transport(tried) => {
            let found = tried.iter().map(|(_, error)| of_transport(error));
            found.max().unwrap_or(Cause::Other).words()
        }
    }
}

/// What went wrong at one address; of several the one that says most, which stands last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Other,
    NoAddress,
    Late,
    NoRoute,
    NobodyListens,
}

impl Cause {
    const fn words(self) -> &'static str {
        match self {
            Self::Other => "the connection does not come about",
            Self::NoAddress => "it has no address that can be called",
            Self::Late => "nothing answers where it was",
            Self::NoRoute => "there is no route to where it was",
            Self::NobodyListens => "nobody listens where it was",
        }
    }
}

fn of_transport(error: &TransportError<io::Error>) -> Cause {
    match error {
        TransportError::MultiaddrNotSupported(_) => Cause::NoAddress,
        TransportError::Other(error) => of_io(error),
    }
}

/// The transports wrap what the system said in errors of their own, some of which tell it as their source
/// and some as their content.
fn of_io(error: &io::Error) -> Cause {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    for _ in 0..DEEP {
        let Some(layer) = next else { break };
        let system = layer.downcast_ref::<io::Error>();
        match system.map(io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => return Cause::NobodyListens,
            Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                return Cause::NoRoute;
            }
            Some(ErrorKind::TimedOut) => return Cause::Late,
            _ => {}
        }
        let inner = system.and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => layer.source(),
        };
    }
    // QUIC and the transports' own timer have no kind of error for it.
    match error.to_string().to_lowercase() {
        text if text.contains("timed out") || text.contains("timeout") => Cause::Late,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(errors: Vec<io::Error>) -> DialError {
        let at = "/ip4/127.0.0.1/tcp/1".parse::<libp2p::Multiaddr>().unwrap();
        let all = errors.into_iter().map(|error| (at.clone(), TransportError::Other(error)));
        DialError::Transport(all.collect())
    }

    #[test]
    fn a_call_that_failed_is_told_in_few_words_whatever_lies_around_the_cause() {
        let refused = || io::Error::from(ErrorKind::ConnectionRefused);
        let wrapped = io::Error::other(io::Error::other(refused()));
        let late = || io::Error::other("Handshake with the remote timed out.");
        assert_eq!(of_call(&tried(vec![refused()])), "nobody listens where it was");
        assert_eq!(of_call(&tried(vec![late(), wrapped])), "nobody listens where it was");
        assert_eq!(of_call(&tried(vec![late()])), "nothing answers where it was");
        assert_eq!(
            of_call(&tried(vec![io::Error::other("?")])),
            "the connection does not come about"
        );
        assert_eq!(of_call(&DialError::NoAddresses), "no address of it is known");
        assert_eq!(of_call(&tried(Vec::new())), "the connection does not come about");
    }
}
