//! What a session compares: all records of the store, those of some shards, or control records alone.
//!
//! Control records have sessions of their own, under a name that nodes of the version before do not
//! offer: those could not read an answer in which one stands, and lose nothing by not being asked.

use std::convert::Infallible;
use std::sync::Arc;

use skyclaw_protocol::NetworkId;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::controls::Controls;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::repair::{BATCH_BYTES, Inventory, Item, Range, Sum};
use skyclaw_store::{InShards, ReadError, Reader};

use super::Source;
use super::gather::{Gathered, SLACK, gather};

/// An inventory and its records.
pub(super) enum Held {
    /// All that the store compares.
    Records(Reader),
    /// What of it lies in some shards, and in none.
    Shards(InShards),
    /// Control records, as they stand whenever they are looked at.
    Controls(Arc<dyn Source>),
}

impl Held {
    /// The records of `items`, as many as make a batch.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn gather(
        &self,
        key: &NodeKey,
        network: NetworkId,
        items: &[Item],
        now: Wall,
    ) -> Result<Gathered, ReadError> {
        match self {
            Self::Records(reader) => gather(reader, key, network, items, now),
            Self::Shards(some) => gather(some.reader(), key, network, items, now),
            Self::Controls(source) => Ok(gather_controls(&source.controls(), items, now)),
        }
    }
}

impl Inventory for Held {
    type Error = ReadError;

    fn sum(&self, range: Range) -> Result<Sum, ReadError> {
        match self {
            Self::Records(reader) => reader.sum(range),
            Self::Shards(some) => some.sum(range),
            Self::Controls(source) => source.controls().sum(range).map_err(never),
        }
    }

    fn items(&self, range: Range, most: usize) -> Result<Vec<Item>, ReadError> {
        match self {
            Self::Records(reader) => reader.items(range, most),
            Self::Shards(some) => some.items(range, most),
            Self::Controls(source) => source.controls().items(range, most).map_err(never),
        }
    }
}

fn never(never: Infallible) -> ReadError {
    match never {}
}

fn gather_controls(controls: &Controls, items: &[Item], now: Wall) -> Gathered {
    let mut gathered = Gathered::default();
    let mut bytes = 0;
    for item in items {
        if let Some(held) = controls.held(item).filter(|held| !held.body().is_over(now)) {
            let size = held.raw().body.len() + SLACK;
            if bytes > 0 && bytes + size > BATCH_BYTES {
                break;
            }
            bytes += size;
            gathered.records.controls.push(held.raw().clone());
        }
        gathered.done += 1;
    }
    gathered
}
