//! What tells two states apart.
//!
//! Always: whatever a next step depends on is in it, except for the names of voters that can never
//! lead: no ballot is theirs, so that exchanging two of them changes nothing that follows.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::network::Set;
use super::world::World;
use crate::word::{Node, id};

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let named = usize::from(self.alike).min(self.nodes.len());
        let (leaders, others) = self.nodes.split_at(named);
        for (it, at) in leaders.iter().zip(0..) {
            it.print(state);
            self.print_debts(at, state);
        }
        for frame in self.net.iter().filter(|frame| frame.from() < Some(self.alike)) {
            frame.hash(state);
        }
        for (ballot, word, _) in self.written.iter() {
            (ballot, word).hash(state);
        }
        (self.client, &self.chosen, &self.told).hash(state);
        (self.takeovers, self.crashes, self.cancels, self.deletions).hash(state);
        let prints = others.iter().zip(self.alike..).map(|(it, at)| {
            let mut print = DefaultHasher::new();
            it.print(&mut print);
            self.print_debts(at, &mut print);
            for frame in self.net.iter().filter(|frame| frame.from() == Some(at)) {
                frame.unsigned().hash(&mut print);
            }
            print.finish()
        });
        Set::of(prints).hash(state);
    }
}

impl World {
    /// What each proposer still wants of this voter, and what it had on disk.
    fn print_debts(&self, at: Node, state: &mut impl Hasher) {
        for lead in self.nodes.iter().filter_map(|it| it.lead.as_ref()) {
            state.write_u8(u8::from(lead.missing().contains(&id(at))));
        }
        for (_, _, by) in self.written.iter() {
            state.write_u8(by >> at & 1);
        }
    }
}
