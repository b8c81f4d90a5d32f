//! What came from others on its way to the engine.

use std::sync::mpsc::TrySendError;
use std::time::Instant;

use skyclaw_protocol::NodeId;
use skyclaw_protocol::learned::{Learned, check};
use skyclaw_protocol::repair::Records;
use skyclaw_protocol::wire::Message;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::numbers::Numbers;
use super::{Repair, STEP};
use crate::engine::Input;
use crate::limits::INBOX_AGAIN;
use crate::time;

/// How long a blocking thread may wait, and for what it may not.
pub(super) struct Patience<'a> {
    pub(super) runtime: &'a Handle,
    pub(super) until: Instant,
    pub(super) stop: &'a CancellationToken,
}

impl Patience<'_> {
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || Instant::now() >= self.until
    }
}

impl Repair {
    /// Checks each record by itself and hands on those that hold. True once the engine has what
    /// holds on disk; false if it could not take it in time.
    pub(super) fn learn(&self, from: NodeId, records: Records, patience: &Patience<'_>) -> bool {
        Numbers::add(&self.numbers.received, records.len());
        let now = time::wall();
        let registers = records.registers.into_iter().map(|known| Message::Known(vec![known]));
        let stubs = records.stubs.into_iter().map(|raw| Message::Stubs(vec![raw]));
        let hosts = records.hosts.into_iter().map(|raw| Message::Hosts(vec![raw]));
        let mut learned: Vec<Learned> = Vec::new();
        let controls = records.controls.into_iter().map(|raw| Message::Controls(vec![raw]));
        for message in registers.chain(stubs).chain(hosts).chain(controls) {
            match check(message, self.network, now) {
                Ok(one) => learned.extend(one),
                Err(reject) => {
                    tracing::debug!(node = %from, %reject, "a record was refused in repair");
                    Numbers::add(&self.numbers.refused, 1);
                }
            }
        }
        // In steps: what a client asks meanwhile comes between them.
        while !learned.is_empty() {
            let rest = learned.split_off(learned.len().min(STEP));
            if !self.enter(from, std::mem::replace(&mut learned, rest), patience) {
                return false;
            }
        }
        true
    }

    /// True once the engine has these on disk.
    fn enter(&self, from: NodeId, learned: Vec<Learned>, patience: &Patience<'_>) -> bool {
        let (mark, marked) = oneshot::channel();
        if !self.put(Input::Learn { from, learned }, patience)
            || !self.put(Input::Mark(mark), patience)
        {
            return false;
        }
        let until = tokio::time::Instant::from_std(patience.until);
        patience.runtime.block_on(async {
            tokio::select! {
                () = patience.stop.cancelled() => false,
                marked = tokio::time::timeout_at(until, marked) => matches!(marked, Ok(Ok(()))),
            }
        })
    }

    /// False if the engine's inbox stayed full.
    pub(super) fn put(&self, mut input: Input, patience: &Patience<'_>) -> bool {
        loop {
            match self.inbox.try_send(input) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if !patience.is_over() => input = back,
                Err(_) => return false,
            }
            std::thread::sleep(INBOX_AGAIN);
        }
    }
}
