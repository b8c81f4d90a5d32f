//! A share of all traces.
//!
//! Always: what is decided of a trace is decided the same on every node with the same share, of its id alone.

/// OpenTelemetry's library compares the id's last 63 bits as they are. Those of a UUID begin with bits that are always
/// the same, so that of all jobs too many or none would be taken; so the id is hashed first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(f64);

impl Share {
    /// None if the text is no number from 0 to 1.
    pub(super) fn read(text: &str) -> Option<Self> {
        let share = text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self)
    }

    pub(super) const fn all() -> Self {
        Self(1.0)
    }

    pub(super) fn has(self, trace: [u8; 16]) -> bool {
        let mut drawn = [0; 4];
        blake3::Hasher::new().update(&trace).finalize_xof().fill(&mut drawn);
        f64::from(u32::from_be_bytes(drawn)) < self.0 * (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::ids;
    use skyclaw_protocol::JobId;

    #[test]
    fn a_share_of_all_jobs_is_that_share() {
        let job = |n: u64| {
            let chance = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let id = uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + n, &[0; 10]);
            let mut bytes = id.into_uuid().into_bytes();
            bytes[9..].copy_from_slice(&chance.to_be_bytes()[..7]);
            JobId::new(format!("job_{}", uuid::Uuid::from_bytes(bytes))).expect("an id")
        };
        for (text, about) in [("0", 0), ("0.1", 100), (" 0.5", 500), ("0.9", 900), ("1", 1000)] {
            let share = Share::read(text).expect("a share");
            let taken = (0..1000).filter(|n| share.has(ids::trace(&job(*n)))).count();
            assert!(taken.abs_diff(about) < 50, "{text}: {taken}");
        }
        assert!((0..1000).all(|n| Share::all().has(ids::trace(&job(n)))));
    }

    #[test]
    fn what_is_no_share_is_none() {
        for text in ["", "x", "2", "-0.1", "NaN"] {
            assert!(Share::read(text).is_none(), "{text}");
        }
    }
}
