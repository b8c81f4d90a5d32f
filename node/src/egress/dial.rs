//! From a place that a run asks for to a connection: the list, the name, the address.
//!
//! Always: what is not on the list is not even resolved, so that no name carries words outside.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use skyclaw_http_compat::egress::{Denied, Way};
use skyclaw_protocol::egress::Place;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Span;

use super::limits::{ADDRESSES, CONNECT_TIME, LOOKUP_TIME, LOOKUPS, TOLD};
use super::numbers::{Numbers, count};
use super::rules::Rules;

/// Finds the addresses of names.
pub(super) trait Resolve: fmt::Debug + Send + Sync {
    /// Addresses of this name. Holds up its thread.
    fn find(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// As this machine finds them.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn find(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((name, port).to_socket_addrs()?.take(ADDRESSES).collect())
    }
}

/// The way out of one run.
#[derive(Debug)]
pub(super) struct Dial {
    rules: Rules,
    pub(super) numbers: Arc<Numbers>,
    names: Arc<dyn Resolve>,
    lookups: Arc<Semaphore>,
    told: Mutex<HashSet<String>>,
    /// Whose it is, for logs.
    span: Span,
}

impl Dial {
    pub(super) fn new(rules: Rules, numbers: Arc<Numbers>, names: Arc<dyn Resolve>) -> Self {
        let lookups = Arc::new(Semaphore::new(LOOKUPS));
        Self { rules, numbers, names, lookups, told: Mutex::default(), span: Span::current() }
    }

    async fn open(&self, place: &Place, port: u16) -> Result<TcpStream, Denied> {
        self.rules.allow(place, port).map_err(Denied::Refused)?;
        let found = self.addresses(place, port).await?;
        let (mut inward, mut failed) = (None, None);
        for address in found.into_iter().take(ADDRESSES) {
            let free = self.rules.may_reach(address.ip(), port);
            if !free {
                inward = Some(address.ip());
                continue;
            }
            match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Under one of its public addresses a machine reaches itself.
                    let here = stream.local_addr().map(|own| own.ip()).ok() == Some(address.ip());
                    if here && !self.rules.names(address.ip(), port) {
                        inward = Some(address.ip());
                        continue;
                    }
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => failed = Some(format!("{place}:{port}: {error}")),
                Err(_) => failed = Some(format!("{place}:{port} does not answer")),
            }
        }
        match (failed, inward) {
            (Some(why), _) => Err(Denied::Failed(why)),
            (None, Some(address)) => Err(Denied::Refused(Rules::inward(place, address))),
            (None, None) => Err(Denied::Failed(format!("{place} has no address"))),
        }
    }

    async fn addresses(&self, place: &Place, port: u16) -> Result<Vec<SocketAddr>, Denied> {
        let name = match place {
            Place::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Place::Name(name) => name.clone(),
        };
        let late = || Denied::TimedOut(format!("{place}: its address was not found in time"));
        let lookups = Arc::clone(&self.lookups);
        let names = Arc::clone(&self.names);
        let found = async move {
            let room = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let found = tokio::task::spawn_blocking(move || {
                let found = names.find(&name, port);
                // Held as long as the thread is, whoever still waits.
                drop(room);
                found
            });
            found.await.map_err(io::Error::other)?
        };
        let found = timeout(LOOKUP_TIME, found).await.map_err(|_| late())?;
        // The words of resolvers differ, and say no more.
        found.map_err(|_| Denied::Failed(format!("{place} is not known to the name service")))
    }

    /// Says it once for each host, and of a run not for ever.
    fn tell(&self, place: &str, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && told.insert(place.to_owned()) {
            self.span.in_scope(|| tracing::info!("not let out: {why}"));
        }
    }
}

impl Way for Dial {
    fn connect<'a>(
        &'a self,
        place: &'a Place,
        port: u16,
    ) -> BoxFuture<'a, Result<TcpStream, Denied>> {
        Box::pin(async move {
            let opened = self.open(place, port).await;
            match &opened {
                Ok(_) => count(&self.numbers.connected),
                Err(Denied::Refused(why)) => {
                    count(&self.numbers.refused);
                    self.tell(&place.to_string(), why);
                }
                Err(_) => count(&self.numbers.failed),
            }
            opened
        })
    }

    fn malformed(&self, why: &str) {
        count(&self.numbers.malformed);
        self.tell("", why);
    }
}
