//! A wire between members.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::NodeId;

use super::super::{Repair, Transport};
use super::world::Member;
use crate::net::{AskError, Service};

/// Carries questions to the answerers, counts bytes, and may lose a message.
pub(super) struct Wire {
    members: HashMap<NodeId, Repair>,
    bytes: AtomicUsize,
    asks: AtomicUsize,
    lost: Mutex<Option<usize>>,
}

impl Wire {
    pub(super) fn between(members: &[&Member]) -> Arc<Self> {
        let members = members.iter().map(|member| (member.id(), member.repair.clone())).collect();
        let (bytes, asks) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { members, bytes, asks, lost: Mutex::new(None) })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(super) fn asks(&self) -> usize {
        self.asks.load(Relaxed)
    }

    pub(super) fn clear(&self) {
        self.bytes.store(0, Relaxed);
        self.asks.store(0, Relaxed);
    }

    /// The `n`th message from now is lost; questions and answers count.
    pub(super) fn lose_at(&self, n: Option<usize>) {
        *self.lost.lock().unwrap() = n;
    }

    fn passes(&self, bytes: usize) -> Result<(), AskError> {
        self.bytes.fetch_add(bytes, Relaxed);
        let mut lost = self.lost.lock().unwrap();
        match lost.as_mut() {
            Some(0) => Err(AskError::NoAnswer),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Transport for Wire {
    fn ask(
        &self,
        to: NodeId,
        service: Service,
        ask: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, AskError>> {
        async move {
            self.asks.fetch_add(1, Relaxed);
            self.passes(ask.len())?;
            let member = self.members.get(&to).ok_or(AskError::NotConnected)?;
            let answered =
                tokio::time::timeout(patience, member.answer(NodeId([0; 32]), service, ask)).await;
            let answer = answered.ok().flatten().ok_or(AskError::NoAnswer)?;
            self.passes(answer.len())?;
            Ok(answer)
        }
        .boxed()
    }
}
