//! Jobs that run on several hosts, of which enough must say the same.
//!
//! Always: what counts is what hosts signed, their receipts, and of these only what a run left: how it
//! ended, its outputs, its files; never how long it took, where, or in which words it failed. Of one
//! host, and of one key, one receipt counts.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{Hash, HostId, NodeId};
use crate::limits::MAX_COPIES;
use crate::record::receipt::Receipt;

/// The capability of hosts that sign receipts, which a job to be verified requires: hosts of the
/// original have no key, and who they are nobody could tell.
pub const CAPABILITY: &str = "receipt";

/// On how many hosts a job runs, and how many of them must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Runs at most, each on another host.
    pub copies: u8,
    /// Equal results that make it end.
    pub agree: u8,
}

impl Verify {
    /// No more must agree than there are, and there are not too many.
    #[must_use]
    pub const fn holds(self) -> bool {
        1 <= self.agree && self.agree <= self.copies && self.copies <= MAX_COPIES
    }

    /// What these results come to.
    #[must_use]
    pub fn judge(self, told: &[Told]) -> Agreement {
        let (copies, agree) = (usize::from(self.copies), usize::from(self.agree));
        let votes = |one: &Told| told.iter().filter(|other| other.said == one.said).count();
        // The first of them, should two be as many.
        let best = told.iter().rev().map(|one| (votes(one), one.said)).max_by_key(|(n, _)| *n);
        let (votes, said) = match best {
            Some((votes, said)) => (votes, Some(said)),
            None => (0, None),
        };
        match said {
            Some(said) if votes >= agree => Agreement::Agreed(said),
            _ if votes + copies.saturating_sub(told.len()) < agree => Agreement::Disagree,
            _ => Agreement::Open,
        }
    }
}

/// What results come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Further ones are needed.
    Open,
    /// Enough of them are this one.
    Agreed(Said),
    /// However the rest turned out, too few would be equal.
    Disagree,
}

/// What one host's run came to, as a register holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Which host.
    pub host: HostId,
    /// The key that signed its receipt.
    pub node: NodeId,
    /// Which attempt.
    pub attempt: u32,
    /// What is compared.
    pub said: Said,
}

impl Told {
    /// True if a run there would not be one of another host.
    #[must_use]
    pub fn is_by(&self, host: &HostId, node: Option<NodeId>) -> bool {
        self.host == *host || node == Some(self.node)
    }
}

/// What is compared of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Whether it succeeded.
    pub ok: bool,
    /// Its exit code.
    pub exit_code: i64,
    /// Hash of its standard output, as it was kept.
    pub stdout: Hash,
    /// Hash of its standard error, as it was kept.
    pub stderr: Hash,
    /// Hash of the list of files that it left and that were kept.
    pub files: Hash,
}

impl Said {
    /// What a receipt says of it.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Self {
        let mut files = receipt.outputs.clone();
        files.sort_by(|a, b| (&a.path, a.hash).cmp(&(&b.path, b.hash)));
        Self {
            ok: receipt.success,
            exit_code: receipt.exit_code,
            stdout: receipt.stdout,
            stderr: receipt.stderr,
            files: Hash::of(&codec::encode(&files)),
        }
    }

    /// One short name of all of it: equal if and only if the runs are.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of(&codec::encode(self))
    }

    /// Its parts, with what people call them.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, String); 5] {
        [
            ("outcome", if self.ok { "success" } else { "failure" }.to_owned()),
            ("exit code", self.exit_code.to_string()),
            ("standard output", self.stdout.hex()),
            ("standard error", self.stderr.hex()),
            ("files", self.files.hex()),
        ]
    }
}

/// Why a job that is to be verified failed, in words: who said what, of the parts in which they differ.
#[must_use]
pub fn disagreement(verify: Verify, told: &[Told]) -> String {
    const HASH_CHARS: usize = 8;
    let parts: Vec<_> = told.iter().map(|told| told.said.parts()).collect();
    let differ = |at: &usize| parts.iter().any(|of| of[*at].1 != parts[0][*at].1);
    let differing: Vec<usize> =
        (0..parts.first().map_or(0, |of| of.len())).filter(differ).collect();
    let said = |(told, parts): (&Told, &[(&str, String); 5])| {
        let part = |at: &usize| {
            let (name, value) = &parts[*at];
            format!("{name} {}", value.get(..HASH_CHARS).unwrap_or(value))
        };
        format!("{} ({})", told.host, differing.iter().map(part).collect::<Vec<_>>().join(", "))
    };
    let said: Vec<String> = told.iter().zip(&parts).map(said).collect();
    let Verify { copies, agree } = verify;
    format!("hosts disagree: {agree} of {copies} had to say the same: {}", said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::samples;
    use crate::view::OutputFile;

    fn told(words: &str) -> Vec<Told> {
        let one = |(n, word): (usize, char)| Told {
            host: HostId::new(format!("h{n}")).unwrap(),
            node: NodeId([u8::try_from(n).unwrap(); 32]),
            attempt: u32::try_from(n).unwrap() + 1,
            said: said(word),
        };
        words.chars().enumerate().map(one).collect()
    }

    fn said(word: char) -> Said {
        let stdout = Hash::of(word.to_string().as_bytes());
        Said { stdout, ..Said::of(&samples::receipt()) }
    }

    #[test]
    fn enough_equal_results_agree_whatever_the_others_say() {
        let agreed = |word: char| Agreement::Agreed(said(word));
        for (copies, agree, words, verdict) in [
            (1, 1, "", Agreement::Open),
            (1, 1, "a", agreed('a')),
            (2, 2, "", Agreement::Open),
            (2, 2, "a", Agreement::Open),
            (2, 2, "aa", agreed('a')),
            (2, 2, "ab", Agreement::Disagree),
            (3, 1, "a", agreed('a')),
            (3, 2, "aa", agreed('a')),
            (3, 2, "ab", Agreement::Open),
            (3, 2, "abb", agreed('b')),
            (3, 2, "abc", Agreement::Disagree),
            (3, 3, "aab", Agreement::Disagree),
            (3, 3, "ab", Agreement::Disagree),
            (5, 3, "abc", Agreement::Open),
            (5, 3, "abcd", Agreement::Disagree),
            (5, 3, "abcaa", agreed('a')),
        ] {
            assert_eq!(Verify { copies, agree }.judge(&told(words)), verdict, "{agree} {words}");
        }
    }

    #[test]
    fn up_to_five_copies_of_which_no_more_agree_than_there_are() {
        for (copies, agree, holds) in [
            (1, 1, true),
            (2, 2, true),
            (5, 5, true),
            (5, 1, true),
            (2, 0, false),
            (0, 0, false),
            (2, 3, false),
            (6, 2, false),
        ] {
            assert_eq!(Verify { copies, agree }.holds(), holds, "{copies} {agree}");
        }
    }

    #[test]
    fn what_a_run_left_is_compared_and_not_how_it_went() {
        let one = samples::receipt();
        let same = Receipt {
            attempt: 9,
            host: HostId::new("other").unwrap(),
            node: NodeId([9; 32]),
            duration: crate::view::Milli(1),
            error: None,
            policy: Hash([9; 32]),
            ..one.clone()
        };
        assert_eq!(Said::of(&one), Said::of(&same));
        assert_eq!(Said::of(&one).digest(), Said::of(&same).digest());
        let file = |path: &str| OutputFile { path: path.into(), hash: Hash([1; 32]), bytes: 1 };
        for other in [
            Receipt { success: !one.success, ..one.clone() },
            Receipt { exit_code: one.exit_code + 1, ..one.clone() },
            Receipt { stdout: Hash([9; 32]), ..one.clone() },
            Receipt { stderr: Hash([9; 32]), ..one.clone() },
            Receipt { outputs: vec![file("a")], ..one.clone() },
        ] {
            assert_ne!(Said::of(&one).digest(), Said::of(&other).digest(), "{other:?}");
        }
        let files = |names: [&str; 2]| {
            Said::of(&Receipt { outputs: names.map(file).to_vec(), ..one.clone() })
        };
        assert_eq!(files(["a", "b"]), files(["b", "a"]), "in whatever order they were found");
    }

    #[test]
    fn hosts_of_one_key_are_one() {
        let told = told("a").remove(0);
        let (same, other) = (HostId::new("h0").unwrap(), HostId::new("h1").unwrap());
        assert!(told.is_by(&same, None) && told.is_by(&other, Some(told.node)));
        assert!(!told.is_by(&other, None) && !told.is_by(&other, Some(NodeId([2; 32]))));
    }

    #[test]
    fn a_disagreement_names_who_said_what_and_only_what_differs() {
        let mut told = told("aa");
        told[1].said.exit_code = 3;
        let words = disagreement(Verify { copies: 2, agree: 2 }, &told);
        assert_eq!(
            words,
            "hosts disagree: 2 of 2 had to say the same: h0 (exit code 7); h1 (exit code 3)"
        );
        let words = disagreement(Verify { copies: 3, agree: 2 }, &self::told("abc"));
        let a = &said('a').stdout.hex()[..8];
        assert!(words.contains(&format!(": h0 (standard output {a}); h1 (standard output ")));
        assert!(!words.contains("exit code"), "{words}");
    }
}
