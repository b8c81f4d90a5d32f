//! What happens next, by the millisecond; within one in the order in which it was put there.

/// Milliseconds since the start of a run.
pub(super) type Ms = u64;

/// A slot for each millisecond to come.
pub(super) struct Calendar<E> {
    slots: Vec<Vec<E>>,
    now: usize,
    /// How far the slot of now was read.
    read: usize,
}

impl<E> Calendar<E> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), now: 0, read: 0 }
    }

    pub(super) const fn now(&self) -> Ms {
        self.now as Ms
    }

    pub(super) fn after(&mut self, pause: Ms, event: E) {
        let at = self.now + usize::try_from(pause).expect("runs are minutes");
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, Vec::new);
        }
        self.slots[at].push(event);
    }

    /// The next event until `end`.
    pub(super) fn next(&mut self, end: Ms) -> Option<E>
    where
        E: Default,
    {
        loop {
            if let Some(event) = self.slots.get_mut(self.now).and_then(|s| s.get_mut(self.read)) {
                self.read += 1;
                return Some(std::mem::take(event));
            }
            if self.now as Ms >= end {
                return None;
            }
            if let Some(slot) = self.slots.get_mut(self.now) {
                *slot = Vec::new();
            }
            (self.now, self.read) = (self.now + 1, 0);
        }
    }
}
