//! How a target is run: what is kept for it is read first, then alterations of that until the time is over.
//!
//! Always: `bolero` draws (`BOLERO_RANDOM_SEED` of a failure repeats it), shrinks what breaks a
//! reader and keeps the time; how inputs are altered is here. Without instrumented builds nothing
//! is learned from how far an input came, so altering what is valid is what reaches depth; the
//! share that was still taken is printed, and one of nearly none fails.

use std::fmt;
use std::ops::Bound;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bolero::generator::bolero_generator::Driver;
use bolero::generator::bolero_generator::ValueGenerator;

use crate::corpus;

/// What each has in the usual test command.
const USUAL: Duration = Duration::from_millis(500);

/// Of so many altered inputs, one at least must still be taken: else the reader is only met at its door.
const ONE_OF: u64 = 1000;

/// Those whose sums and seals find every alteration, which is what is tried there.
const SEALED: [&str; 3] = ["ticket_lines", "api_keys", "sealed_values"];

/// What memory may grow by at its peak while all targets run, some of them at a time, in KiB: no length
/// that is only claimed is made room for.
const MAY_GROW_KIB: u64 = 512 << 10;

/// The peak before the first of them.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// A reader, and what holds for it.
pub(crate) struct Target {
    /// Also the name of its test and of its corpus.
    pub(crate) name: &'static str,
    /// The inputs to begin with, under their names: `ok-` are taken, `no-` are refused.
    pub(crate) made: fn() -> Vec<(String, Vec<u8>)>,
    /// Words that mean something there.
    pub(crate) words: &'static [&'static str],
    /// Reads, asserts what must hold, and says whether it was taken.
    pub(crate) read: fn(&[u8]) -> bool,
}

/// Defines the targets of a module, a test each.
macro_rules! targets {
    ($($name:ident { $made:expr, $words:expr, $read:expr })*) => {
        pub(crate) const ALL: &[$crate::engine::Target] = &[$($crate::engine::Target {
            name: stringify!($name),
            made: $made,
            words: $words,
            read: $read,
        }),*];
        mod each {
            $(
                #[test]
                fn $name() {
                    let target = super::ALL.iter().find(|it| it.name == stringify!($name));
                    $crate::engine::run(target.expect("it stands in the list"));
                }
            )*
        }
    };
}
pub(crate) use targets;

/// An input, shown as what a file of it would be made from.
#[derive(Clone)]
struct Input {
    bytes: Vec<u8>,
    /// It is not as it is kept.
    altered: bool,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}\n(xxd -r -p > was-NAME <<< {})",
            String::from_utf8_lossy(&self.bytes),
            data_encoding::HEXLOWER.encode(&self.bytes)
        )
    }
}

/// Kept inputs, altered.
struct Altered {
    kept: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

/// A number below `most`, or 0.
fn below<D: Driver>(driver: &mut D, most: usize) -> Option<usize> {
    driver.gen_usize(Bound::Included(&0), Bound::Excluded(&most.max(1)))
}

impl Altered {
    fn alter<D: Driver>(&self, bytes: &mut Vec<u8>, driver: &mut D) -> Option<()> {
        let at = below(driver, bytes.len())?;
        let until = |len: usize| (at + len).min(bytes.len());
        match below(driver, 12)? {
            0 => bytes.truncate(at),
            1 => {
                let end = until(1 + below(driver, 10)?);
                bytes.drain(at..end);
            }
            2 => {
                // A part of it twice.
                let part = bytes[at..until(below(driver, 40)?)].to_vec();
                bytes.splice(at..at, part);
            }
            3 => {
                // A part of another.
                let other = &self.kept[below(driver, self.kept.len())?];
                let from = below(driver, other.len())?;
                let to = (from + below(driver, 60)?).min(other.len());
                let end = until(below(driver, 60)?);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            4 if !self.words.is_empty() => {
                let word = self.words[below(driver, self.words.len())?];
                let end = until(below(driver, 8)?);
                bytes.splice(at..end, word.bytes());
            }
            5 => {
                // A length or a number that is far too large.
                let of = bytes.get(at).copied().unwrap_or_default() & 0xe0;
                bytes.splice(at..at, [of | 0x1b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9]);
            }
            6 => {
                let deep = 1 + below(driver, 300)?;
                let open: &[u8] = [&b"["[..], b"{\"a\":", b"\x81", b"\xa1aa"][below(driver, 4)?];
                bytes.splice(at..at, open.repeat(deep));
            }
            7 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte =
                        [0, 1, 0x7f, 0x80, 0xff, b'.', b'/', b'%', b'"', b'0'][below(driver, 10)?];
                }
            }
            8 => {
                // Another letter or digit, where there is one.
                let next = below(driver, 26)?.to_le_bytes()[0];
                match bytes.get_mut(at) {
                    Some(byte @ b'0'..=b'9') => *byte = b'0' + next % 10,
                    Some(byte @ b'a'..=b'z') => *byte = b'a' + next,
                    Some(byte) => *byte = byte.wrapping_add(next),
                    None => bytes.push(next),
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << below(driver, 8)?;
                }
            }
        }
        Some(())
    }
}

impl ValueGenerator for Altered {
    type Output = Input;

    fn generate<D: Driver>(&self, driver: &mut D) -> Option<Input> {
        let kept = &self.kept[below(driver, self.kept.len())?];
        let mut bytes = kept.clone();
        // Mostly one: each more makes it less likely that the first one is met.
        let alterations = [1, 1, 1, 1, 2, 2, 3, 6][below(driver, 8)?];
        for _ in 0..alterations {
            self.alter(&mut bytes, driver)?;
        }
        Some(Input { altered: bytes != *kept, bytes })
    }
}

/// The most memory this process had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Reads what is kept for a target, and then what is made of it.
pub(crate) fn run(target: &'static Target) {
    let kept = corpus::kept(target.name);
    assert!(!kept.is_empty(), "no corpus for {}", target.name);
    for (name, bytes) in &kept {
        corpus::check(target, name, bytes);
    }
    let (altered, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    let before = *BEFORE.get_or_init(peak_kib);
    let generator =
        Altered { kept: kept.into_iter().map(|(_, bytes)| bytes).collect(), words: target.words };
    bolero::check!(name = target.name).with_test_time(USUAL).with_generator(generator).for_each(
        |input: &Input| {
            let was_taken = (target.read)(&input.bytes);
            altered.fetch_add(u64::from(input.altered), Relaxed);
            taken.fetch_add(u64::from(input.altered && was_taken), Relaxed);
        },
    );
    let (altered, taken) = (altered.into_inner(), taken.into_inner());
    eprintln!("{}: of {altered} altered inputs {taken} were taken", target.name);
    // A few show nothing.
    let sealed = SEALED.contains(&target.name);
    let enough = sealed || altered < ONE_OF * 3 || taken * ONE_OF >= altered;
    assert!(enough, "of {altered} altered inputs only {taken} were taken");
    let grown = peak_kib().saturating_sub(before);
    assert!(grown < MAY_GROW_KIB, "memory grew by {grown} KiB at its peak");
}
