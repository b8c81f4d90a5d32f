//! The control records a coordinator holds, all of them in memory: a check of a key costs no disk.
//!
//! Always: what is held depends on the set of records taken alone, not on order or repeats, up to
//! the bound; no kind takes the room of another.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use crate::clock::Wall;
use crate::id::{NodeId, PrincipalId};
use crate::limits::{MAX_CONTROLS, MAX_OFFENCES};
use crate::offence::Offence;
use crate::principal::{ApiKey, Principal};
use crate::record::Signed;
use crate::record::control::{Content, Control, KINDS, OFFENCE, order};
use crate::repair::{Inventory, Item, Range, Sum};
use crate::shares::Shares;

/// Names a control record: its kind and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControlKey {
    /// The kind.
    pub kind: String,
    /// The id.
    pub id: String,
}

impl ControlKey {
    /// The key of a record.
    #[must_use]
    pub fn of(control: &Control) -> Self {
        Self { kind: control.kind.clone(), id: control.id.clone() }
    }
}

/// What became of a record that was to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It stands now.
    New,
    /// As new a one stood already.
    Known,
    /// There is no room for more of its kind.
    Full,
}

/// All control records. Clones are cheap: they share the records.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    all: BTreeMap<ControlKey, Arc<Signed<Control>>>,
    items: BTreeMap<Item, ControlKey>,
    sum: Sum,
    principals: BTreeMap<PrincipalId, Arc<Principal>>,
    /// Those that were not revoked, by name. Two coordinators may give one name away at a time.
    names: BTreeMap<String, BTreeSet<PrincipalId>>,
    /// Nodes that lied.
    offences: BTreeMap<NodeId, Arc<Offence>>,
    /// By kind, and by who signed them.
    shares: BTreeMap<&'static str, Shares>,
}

/// Of which kinds it shares the room; those that are not known share one.
fn class(kind: &str) -> &'static str {
    KINDS.iter().find(|known| **known == kind).copied().unwrap_or_default()
}

/// Most of such a kind.
fn most(kind: &str) -> usize {
    if kind == OFFENCE { MAX_OFFENCES } else { MAX_CONTROLS }
}

impl Controls {
    /// The same as [`Controls::take`] of what another coordinator made, which must leave room for those of
    /// others.
    pub fn take_of_another(&mut self, signed: Signed<Control>) -> Taken {
        let key = ControlKey::of(signed.body());
        let shares = self.shares.get(class(&key.kind));
        let full =
            |shares: &Shares| !shares.have_room(signed.signer(), shares.total(), most(&key.kind));
        if !self.all.contains_key(&key) && shares.is_some_and(full) {
            return Taken::Full;
        }
        self.take(signed)
    }

    /// Holds a record, in place of an older one.
    pub fn take(&mut self, signed: Signed<Control>) -> Taken {
        let key = ControlKey::of(signed.body());
        let old = self.all.get(&key);
        if old.is_some_and(|old| order(old, &signed).is_ge()) {
            return Taken::Known;
        }
        let shares = self.shares.entry(class(&key.kind)).or_default();
        if old.is_none() && shares.total() >= most(&key.kind) {
            return Taken::Full;
        }
        self.forget(&key);
        self.shares.entry(class(&key.kind)).or_default().add(signed.signer());
        let item = Item::of_control(&signed);
        self.sum.add(&item);
        self.items.insert(item, key.clone());
        match signed.body().content() {
            Some(Content::Principal(principal)) => {
                if principal.revoked.is_none() {
                    let ids = self.names.entry(principal.name.clone()).or_default();
                    ids.insert(principal.id.clone());
                }
                self.principals.insert(principal.id.clone(), principal.into());
            }
            Some(Content::Offence(offence)) => {
                self.offences.insert(offence.node, offence.into());
            }
            None => {}
        }
        self.all.insert(key, Arc::new(signed));
        Taken::New
    }

    /// True if [`Controls::take`] would not find a newer one.
    #[must_use]
    pub fn is_news(&self, signed: &Signed<Control>) -> bool {
        let old = self.all.get(&ControlKey::of(signed.body()));
        old.is_none_or(|old| order(old, signed).is_lt())
    }

    /// Holds a record no more.
    pub fn forget(&mut self, key: &ControlKey) {
        let Some(old) = self.all.remove(key) else { return };
        if let Some(shares) = self.shares.get_mut(class(&key.kind)) {
            shares.remove(old.signer());
        }
        let item = Item::of_control(&old);
        self.sum.remove(&item);
        self.items.remove(&item);
        match old.body().content() {
            Some(Content::Principal(principal)) => {
                self.principals.remove(&principal.id);
                if let Some(ids) = self.names.get_mut(&principal.name) {
                    ids.remove(&principal.id);
                    if ids.is_empty() {
                        self.names.remove(&principal.name);
                    }
                }
            }
            Some(Content::Offence(offence)) => {
                self.offences.remove(&offence.node);
            }
            None => {}
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The record of an item.
    #[must_use]
    pub fn held(&self, item: &Item) -> Option<&Signed<Control>> {
        Some(self.all.get(self.items.get(item)?)?.as_ref())
    }

    /// Those that have meant nothing for long.
    pub fn over(&self, now: Wall) -> impl Iterator<Item = &ControlKey> {
        self.all.iter().filter(move |(_, held)| held.body().is_over(now)).map(|(key, _)| key)
    }

    /// All principals, in the order of their ids; those that were revoked included.
    pub fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.principals.values()
    }

    /// A principal by its id.
    #[must_use]
    pub fn principal(&self, id: &str) -> Option<&Arc<Principal>> {
        self.principals.get(id)
    }

    /// The principal of that name that was not revoked; of two the one with the lower id.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Principal>> {
        self.principals.get(self.names.get(name)?.first()?)
    }

    /// Nodes that are proven to have lied.
    pub fn offences(&self) -> impl ExactSizeIterator<Item = &Offence> {
        self.offences.values().map(AsRef::as_ref)
    }

    /// Forgets the offence of a node that matters less, so that there is room for one that matters; which.
    pub fn make_room(&mut self, matters: impl Fn(NodeId) -> bool) -> Option<ControlKey> {
        let least = self.offences.keys().copied().find(|node| !matters(*node))?;
        let key = ControlKey { kind: OFFENCE.to_owned(), id: least.to_string() };
        self.forget(&key);
        Some(key)
    }

    /// Whose key this is, if it counts at that time.
    #[must_use]
    pub fn admit(&self, key: &ApiKey, now: Wall) -> Option<&Arc<Principal>> {
        self.principals.get(&key.id).filter(|known| known.has(key) && known.is_valid(now))
    }
}

impl Inventory for Controls {
    type Error = Infallible;

    fn sum(&self, range: Range) -> Result<Sum, Infallible> {
        if range == Range::ALL {
            return Ok(self.sum);
        }
        let mut sum = Sum::EMPTY;
        self.items(range, usize::MAX)?.iter().for_each(|item| sum.add(item));
        Ok(sum)
    }

    fn items(&self, range: Range, most: usize) -> Result<Vec<Item>, Infallible> {
        // What another node asked for may be upside down.
        if range.from >= range.to {
            return Ok(Vec::new());
        }
        Ok(self.items.range(range.from..range.to).map(|(item, _)| *item).take(most).collect())
    }
}

#[cfg(test)]
mod tests;
