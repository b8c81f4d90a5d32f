//! CBOR looked at in place: for values whose form is known, and of which only some parts are wanted.
//!
//! Only for bytes that [`decode_kept`](super::decode_kept) may read. Whatever is not as expected is `None`:
//! who asks decodes the whole value then.

/// What is left to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'b> {
    rest: &'b [u8],
}

impl<'b> Scan<'b> {
    /// All of it.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What follows.
    #[must_use]
    pub const fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// What was looked at since `before`, an earlier state of this.
    #[must_use]
    pub fn since(&self, before: &Self) -> &'b [u8] {
        &before.rest[..before.rest.len().saturating_sub(self.rest.len())]
    }

    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// The number in the head of an item of this major type.
    fn head(&mut self, major: u8) -> Option<u64> {
        let first = *self.take(1)?.first()?;
        if first >> 5 != major {
            return None;
        }
        let bytes = match first & 31 {
            small @ 0..=23 => return Some(u64::from(small)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return None,
        };
        let number = self.take(bytes)?;
        Some(number.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    fn run(&mut self, major: u8) -> Option<&'b [u8]> {
        let len = usize::try_from(self.head(major)?).ok()?;
        self.take(len)
    }

    /// A number.
    pub fn uint(&mut self) -> Option<u64> {
        self.head(0)
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        self.run(2)
    }

    /// A text, as bytes.
    pub fn text(&mut self) -> Option<&'b [u8]> {
        self.run(3)
    }

    /// How many items an array has that begins here.
    pub fn array(&mut self) -> Option<u64> {
        self.head(4)
    }

    /// How many members a map has that begins here.
    pub fn map(&mut self) -> Option<u64> {
        self.head(5)
    }

    /// A map of so many members begins here.
    pub fn map_of(&mut self, members: u64) -> Option<()> {
        (self.map()? == members).then_some(())
    }

    /// The member of this name begins here.
    pub fn key(&mut self, name: &str) -> Option<()> {
        (self.text()? == name.as_bytes()).then_some(())
    }

    /// `false`, `true` or `null`.
    pub fn simple(&mut self) -> Option<()> {
        matches!(self.head(7)?, 20..=22).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode;
    use crate::id::NodeId;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_written_is_found() {
        for number in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX) + 1, u64::MAX] {
            let bytes = encode(&number);
            let mut scan = Scan::new(&bytes);
            assert_eq!((scan.uint(), scan.rest()), (Some(number), &[][..]));
        }
        let bytes = encode(&BTreeMap::from([("node", (true, NodeId([7; 32]), "x".repeat(300)))]));
        let mut scan = Scan::new(&bytes);
        assert_eq!((scan.map_of(1), scan.key("node"), scan.array()), (Some(()), Some(()), Some(3)));
        let before = scan;
        assert_eq!((scan.simple(), scan.bytes()), (Some(()), Some(&[7; 32][..])));
        assert_eq!(scan.since(&before).len(), 1 + 2 + 32);
        assert_eq!(scan.text().map(<[u8]>::len), Some(300));
    }

    #[test]
    fn other_bytes_are_nothing() {
        assert_eq!(Scan::new(&[]).uint(), None);
        assert_eq!(Scan::new(&[0x19, 1]).uint(), None, "it ends within");
        assert_eq!(Scan::new(&[0x5f]).bytes(), None, "no length");
        assert_eq!(Scan::new(&[0x5b, 0xff, 0, 0, 0, 0, 0, 0, 0]).bytes(), None, "endless");
        assert_eq!(Scan::new(&encode(&"text")).bytes(), None);
        assert_eq!(Scan::new(&encode(&"text")).key("texts"), None);
        assert_eq!(Scan::new(&[0xf7]).simple(), None);
    }
}
