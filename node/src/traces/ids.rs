//! The trace of a job, as every node derives it.
//!
//! Always: the trace of a job whose id is a UUID, as minted ids are, has that UUID as its id, so that one leads to the
//! other by hand.

use skyclaw_protocol::JobId;
use uuid::Uuid;

/// What stands before the UUID in minted ids.
const PREFIX: &str = "job_";

/// The id of the trace; never zero, which would be none.
pub(super) fn trace(job: &JobId) -> [u8; 16] {
    let text = job.as_str();
    let bare = text.strip_prefix(PREFIX).unwrap_or(text);
    match Uuid::try_parse(bare) {
        Ok(id) if !id.is_nil() => id.into_bytes(),
        Ok(_) | Err(_) => hashed(b"skyclaw trace ", text),
    }
}

/// The id of the span that all spans of the job have as parent. It stands for the job and is never sent.
pub(super) fn root(job: &JobId) -> [u8; 8] {
    hashed(b"skyclaw span ", job.as_str())
}

fn hashed<const N: usize>(use_: &[u8], text: &str) -> [u8; N] {
    let mut id = [0; N];
    let mut hasher = blake3::Hasher::new();
    hasher.update(use_).update(text.as_bytes()).finalize_xof().fill(&mut id);
    // Zero means no id.
    if id == [0; N] {
        id[N - 1] = 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(text: &str) -> JobId {
        JobId::new(text).expect("an id")
    }

    #[test]
    fn a_minted_job_names_its_trace() {
        let id = trace(&job("job_01923456-789a-7001-bfff-ffffffffffff"));
        assert_eq!(data_encoding::HEXLOWER.encode(&id), "01923456789a7001bfffffffffffffff");
    }

    #[test]
    fn other_ids_have_a_trace_of_their_own() {
        let ids = ["nightly", "nightly2", "job_00000000-0000-0000-0000-000000000000"];
        let traces = ids.map(|id| trace(&job(id)));
        assert!(traces.iter().all(|id| *id != [0; 16]), "{traces:?}");
        assert!(traces[0] != traces[1] && traces[1] != traces[2], "{traces:?}");
        assert_eq!(trace(&job("nightly")), traces[0], "on every node the same");
        assert_ne!(root(&job("nightly")), root(&job("nightly2")));
    }
}
