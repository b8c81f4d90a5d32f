//! What others know: taken from gossip and repair.

use super::Machine;
use super::frames::FrameFault;
use crate::batch::Shelf;
use crate::clock::Now;
use crate::id::NodeId;
use crate::learned::Learned;

impl Machine {
    /// Takes checked records that `from` handed on. Returns what was wrong with them.
    pub fn learn(
        &mut self,
        _now: Now,
        _shelf: &dyn Shelf,
        _from: NodeId,
        _learned: Vec<Learned>,
    ) -> Vec<FrameFault> {
        Vec::new()
    }
}
