//! Connections to one endpoint: one in use at a time each, kept for a while when nobody uses them.
//!
//! Always: whoever uses a connection drives it (`Link::drive`), so there is no task per connection
//! and no handing over between threads; a connection nobody uses is looked at before it is used.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};

use super::connector::{PathKind, Wire};
use super::upload::Upload;
use super::workers::seat;

/// Idle connections kept to one endpoint, by each thread.
const MAX_IDLE: usize = 256;

/// Idle connections kept in all: descriptors are needed for callers.
const MAX_IDLE_ALL: usize = 1_024;

/// How long a connection is kept unused. Node's servers close after five seconds.
pub(super) const KEPT: Duration = Duration::from_secs(4);

/// Read and write buffer of a connection.
const BUFFER: usize = 64 << 10;

/// Largest head of an answer.
const MAX_HEAD: usize = 64 << 10;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection to an endpoint.
pub(super) struct Link {
    pub(super) sender: SendRequest<Upload>,
    driver: Option<Driver>,
    /// For whatever is waited for on this connection. One that is moved to a later time costs
    /// nothing; a new one for each request would.
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) path: PathKind,
    /// It is for one request and is not kept.
    pub(super) once: bool,
    opened: Instant,
    since: Instant,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins to speak HTTP over a new connection.
    pub(super) async fn new(wire: Wire, path: PathKind) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER)
            .max_header_size(MAX_HEAD)
            .handshake(TokioIo::new(wire))
            .await?;
        let now = Instant::now();
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection.with_upgrades())),
            timer: Box::pin(tokio::time::sleep_until(now)),
            path,
            once: false,
            opened: now,
            since: now,
        })
    }

    /// Moves the connection on. True while it lives.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(ended) = driver.as_mut().poll(cx)
        {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection to an endpoint ended");
            }
            self.driver = None;
        }
        self.driver.is_some()
    }

    /// Moves it on and says whether it can take another request.
    pub(super) fn is_free(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx) && self.sender.is_ready()
    }
}

/// The idle connections to one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    /// By the thread they live on, see [`seat`].
    idle: Box<[Mutex<Vec<Link>>]>,
    retired: AtomicBool,
    all: Arc<AtomicUsize>,
    relayed: Duration,
}

impl Pool {
    /// A pool for `threads` threads beside all others, that counts its connections in `all` and
    /// keeps tunnels through relays for `relayed`.
    pub(super) fn new(threads: usize, all: Arc<AtomicUsize>, relayed: Duration) -> Self {
        let idle = (0..=threads).map(|_| Mutex::default()).collect();
        Self { idle, retired: AtomicBool::new(false), all, relayed }
    }

    /// The connection that was used last on this thread, if it still lives.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Link> {
        let own = self.idle.get(seat())?;
        loop {
            let mut link = lock(own).pop()?;
            self.all.fetch_sub(1, Relaxed);
            if link.since.elapsed() < KEPT && link.is_free(cx) {
                return Some(link);
            }
        }
    }

    /// Keeps a free connection for the next request.
    pub(super) fn put(&self, mut link: Link) {
        if link.once || self.retired.load(Relaxed) || self.all.load(Relaxed) >= MAX_IDLE_ALL {
            return;
        }
        // However busy it is: by now there may be a direct way.
        if link.path == PathKind::Relayed && link.opened.elapsed() >= self.relayed {
            return;
        }
        link.since = Instant::now();
        let Some(own) = self.idle.get(seat()) else { return };
        let mut idle = lock(own);
        if idle.len() < MAX_IDLE {
            idle.push(link);
            self.all.fetch_add(1, Relaxed);
        }
    }

    /// Closes what was not used for long.
    pub(super) fn sweep(&self) {
        for own in &self.idle {
            let old: Vec<Link> = {
                let mut idle = lock(own);
                // Used last is at the end.
                let fresh = idle.partition_point(|link| link.since.elapsed() >= KEPT);
                idle.drain(..fresh).collect()
            };
            self.all.fetch_sub(old.len(), Relaxed);
        }
    }

    /// The endpoint is gone: nothing is kept any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
        for own in &self.idle {
            let left = std::mem::take(&mut *lock(own));
            self.all.fetch_sub(left.len(), Relaxed);
        }
    }
}

fn lock(idle: &Mutex<Vec<Link>>) -> MutexGuard<'_, Vec<Link>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
