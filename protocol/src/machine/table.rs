//! The registers in memory, by subject. Those at rest are packed.
//!
//! Always: whoever looks finds whole entries. What was looked at or changed is packed again by
//! [`Table::rest`], which the machine calls whenever all that was to be done is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
#[cfg(test)]
use std::ops::Index;

use super::entry::Entry;
use super::packed::{Commons, Packed};
use crate::clock::Wall;
use crate::id::{NodeId, ServiceId};
use crate::record::spec::Subject;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    me: NodeId,
    slots: BTreeMap<Subject, Slot>,
    commons: Commons,
    /// To be looked at by [`Self::rest`]; each once.
    awake: RefCell<Vec<Subject>>,
}

#[derive(Debug)]
enum Slot {
    /// Boxed: a tree's nodes are half full, and an entry is large.
    Whole {
        entry: Box<Entry>,
        awake: bool,
    },
    Packed(Box<Packed>),
}

/// As much of a register as a sweep over all of them needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brief {
    pub(super) expires_at: Wall,
    pub(super) quiet: bool,
    /// It is written, or leaves.
    pub(super) moves: bool,
}

impl Table {
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, slots: BTreeMap::new(), commons: Commons::default(), awake: RefCell::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn contains_key(&self, subject: &Subject) -> bool {
        self.slots.contains_key(subject)
    }

    fn look<'t>(&'t self, subject: &Subject, slot: &'t Slot) -> &'t Entry {
        match slot {
            Slot::Whole { entry, .. } => entry,
            Slot::Packed(packed) => packed.look(self.me, subject, || {
                self.awake.borrow_mut().push(subject.clone());
            }),
        }
    }

    pub(super) fn get(&self, subject: &Subject) -> Option<&Entry> {
        Some(self.look(subject, self.slots.get(subject)?))
    }

    pub(super) fn get_mut(&mut self, subject: &Subject) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(subject)?;
        if let Slot::Packed(packed) = slot {
            let entry = packed.unpack(self.me, subject);
            *slot = Slot::Whole { entry, awake: false };
        }
        let Slot::Whole { entry, awake } = slot else { return None };
        if !std::mem::replace(awake, true) {
            self.awake.get_mut().push(subject.clone());
        }
        Some(entry)
    }

    /// Replaces what is there under that name.
    pub(super) fn insert(&mut self, subject: Subject, entry: Box<Entry>) {
        self.awake.get_mut().push(subject.clone());
        self.slots.insert(subject, Slot::Whole { entry, awake: true });
    }

    /// Takes one that is packed already.
    pub(super) fn insert_packed(&mut self, subject: Subject, packed: Packed) {
        self.slots.insert(subject, Slot::Packed(Box::new(packed)));
    }

    pub(super) const fn commons(&mut self) -> &mut Commons {
        &mut self.commons
    }

    pub(super) fn remove(&mut self, subject: &Subject) -> Option<Box<Entry>> {
        match self.slots.remove(subject)? {
            Slot::Whole { entry, .. } => Some(entry),
            Slot::Packed(mut packed) => Some(packed.unpack(self.me, subject)),
        }
    }

    /// Services, the last one first: they stand behind all jobs.
    pub(super) fn services(&self) -> impl Iterator<Item = (&ServiceId, &Entry)> {
        self.slots.iter().rev().map_while(|(subject, slot)| match subject {
            Subject::Service(id) => Some((id, self.look(subject, slot))),
            Subject::Job(_) => None,
        })
    }

    /// The registers from there on, as far as it can be said without opening them.
    pub(super) fn briefs(&self, from: Bound<Subject>) -> impl Iterator<Item = (&Subject, Brief)> {
        self.slots.range((from, Bound::Unbounded)).map(|(subject, slot)| {
            let brief = match slot {
                Slot::Whole { entry, .. } => Brief {
                    expires_at: entry.head.expires_at,
                    quiet: entry.quiet,
                    moves: entry.unwritten > 0 || entry.is_leaving(),
                },
                Slot::Packed(packed) => Brief {
                    expires_at: packed.expires_at(),
                    quiet: packed.is_quiet(),
                    moves: false,
                },
            };
            (subject, brief)
        })
    }

    /// Packs what is at rest of all that was looked at or changed.
    pub(super) fn rest(&mut self) {
        let mut awake = self.awake.take();
        for subject in awake.drain(..) {
            let Some(slot) = self.slots.get_mut(&subject) else { continue };
            match slot {
                Slot::Packed(packed) => packed.close(),
                Slot::Whole { entry, awake } => {
                    *awake = false;
                    if let Some(packed) = Packed::of(self.me, entry, &mut self.commons) {
                        #[cfg(test)]
                        packed.check(self.me, &subject, entry);
                        *slot = Slot::Packed(Box::new(packed));
                    }
                }
            }
        }
        // Its room is used again, unless it was for very many.
        awake.shrink_to(ROOM);
        self.awake = RefCell::new(awake);
    }
}

/// As many as one round of the engine touches, and some more.
const ROOM: usize = 4096;

#[cfg(test)]
impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Subject> {
        self.slots.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.into_iter().map(|(_, entry)| entry)
    }

    /// How many are packed, and how many of what they share there is.
    pub(super) fn packed(&self) -> (usize, usize) {
        let packed = self.slots.values().filter(|slot| matches!(slot, Slot::Packed(_)));
        (packed.count(), self.commons.len())
    }
}

#[cfg(test)]
impl Index<&Subject> for Table {
    type Output = Entry;

    #[track_caller]
    fn index(&self, subject: &Subject) -> &Entry {
        self.get(subject).expect("it is there")
    }
}

#[cfg(test)]
impl<'t> IntoIterator for &'t Table {
    type Item = (&'t Subject, &'t Entry);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 't>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.slots.iter().map(|(subject, slot)| (subject, self.look(subject, slot))))
    }
}
