//! Who may run what: capability matching, and rendezvous hashing for order among nodes.

use crate::id::NodeId;
use crate::limits::MAX_VOTERS;
use crate::record::spec::capability_order;

/// True if every required capability is among the host's; an empty requirement matches every host.
#[must_use]
pub fn meets(capabilities: &[String], required: &[String]) -> bool {
    lacking(capabilities, required).next().is_none()
}

/// Those of the required capabilities that the host has not. Both lists are sorted and unique.
pub fn lacking<'a>(
    capabilities: &'a [String],
    required: &'a [String],
) -> impl Iterator<Item = &'a str> {
    let mut have = capabilities;
    required.iter().map(String::as_str).filter(move |want| {
        let found = have.iter().position(|has| has == want);
        // What stands before it is wanted no more.
        have = found.map_or(have, |at| &have[at + 1..]);
        found.is_none()
    })
}

/// A capability list as it is kept: trimmed, without blanks and repeats, sorted by code unit.
#[must_use]
pub fn capability_list(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut list: Vec<String> = words
        .into_iter()
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    list.sort_by(|a, b| capability_order(a, b));
    list.dedup();
    list
}

/// Nodes in rendezvous order of `key`, best first: every node that knows the same nodes gets the
/// same order, and losing one node moves only what it was best for.
///
/// Highest random weight, Thaler and Ravishankar (1998), with keyed BLAKE3 as the weight.
#[must_use]
pub fn rendezvous(key: &[u8], nodes: &[NodeId]) -> Vec<NodeId> {
    let weight = |node: &NodeId| {
        let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 rendezvous");
        hash.update(&node.0);
        hash.update(key);
        *hash.finalize().as_bytes()
    };
    let mut ranked: Vec<_> = nodes.iter().map(|node| (weight(node), *node)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.into_iter().map(|(_, node)| node).collect()
}

/// Voters and quorum for `replicas` copies when `others` coordinators are known besides the home:
/// `V = min(known, 2R-1, 8)`, `Q = max(V/2 + 1, min(R, V))`, so that any two quorums meet.
#[must_use]
pub fn quorum(replicas: usize, others: usize) -> (usize, usize) {
    let most = (2 * replicas).saturating_sub(1).min(MAX_VOTERS);
    let voters = (others + 1).min(most).max(1);
    (voters, (voters / 2 + 1).max(replicas.min(voters)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &str) -> Vec<String> {
        words.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn every_required_capability_must_be_there() {
        for (have, want, fits) in [
            ("", "", true),
            ("openclaw shell", "", true),
            ("openclaw shell", "shell", true),
            ("openclaw shell", "openclaw shell", true),
            ("openclaw shell", "gpu", false),
            ("openclaw shell", "openclaw tpu", false),
            ("Shell", "shell", false),
            ("", "shell", false),
        ] {
            assert_eq!(meets(&list(have), &list(want)), fits, "{have} / {want}");
        }
    }

    #[test]
    fn what_is_lacking_is_named() {
        let lacks = |have: &str, want: &str| {
            lacking(&list(have), &list(want)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lacks("a c e", "a b c d e f"), ["b", "d", "f"]);
        assert!(lacks("a b c", "b").is_empty());
    }

    #[test]
    fn losing_a_node_moves_only_what_it_was_best_for() {
        let nodes: Vec<_> = (0..8).map(|n| NodeId([n; 32])).collect();
        for key in 0..200_u32 {
            let all = rendezvous(&key.to_be_bytes(), &nodes);
            let mut without = nodes.clone();
            without.retain(|n| *n != all[3]);
            let mut expected = all.clone();
            expected.remove(3);
            assert_eq!(rendezvous(&key.to_be_bytes(), &without), expected);
        }
    }

    #[test]
    fn any_two_quorums_meet() {
        for replicas in 1..6 {
            for others in 0..10 {
                let (v, q) = quorum(replicas, others);
                assert!(2 * q > v && q <= v && v <= others + 1);
                assert!(v < replicas || q >= replicas);
                assert!(v <= MAX_VOTERS);
            }
        }
        assert_eq!(quorum(1, 5), (1, 1));
        assert_eq!(quorum(2, 1), (2, 2));
        assert_eq!(quorum(2, 9), (3, 2));
        assert_eq!(quorum(3, 9), (5, 3));
    }
}
