//! Arguments as one text, and patterns for it.
//!
//! Always: two lists of arguments never have the same text, so what a pattern was written for is
//! all that it matches.

use regex::{Regex, RegexBuilder};

/// Longest text a pattern is tried on: matching takes time that grows with it, and a submitter
/// chooses it. Longer arguments match no pattern.
const MAX_MATCHED_BYTES: usize = 128 << 10;

/// Largest compiled pattern, in bytes: a thousand of them must fit into memory.
const MAX_COMPILED_BYTES: usize = 256 << 10;

/// The arguments as a shell would need them written, with one space between them; none if they
/// are too long or hold a null byte.
pub(super) fn written(args: &[String]) -> Option<String> {
    let bytes: usize = args.iter().map(|arg| arg.len().saturating_add(1)).sum();
    if bytes > MAX_MATCHED_BYTES {
        return None;
    }
    shlex::try_join(args.iter().map(String::as_str)).ok()
}

/// A pattern for the whole of that text.
///
/// # Errors
/// What is wrong with it, in one line.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| one_line(&error))
    };
    // Alone first: `a)|(b` must not become right by what is put around it.
    build(text)?;
    build(&format!(r"\A(?:{text})\z"))
}

fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it matches too much to be held in memory".to_owned(),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(args: &[&str]) -> Vec<String> {
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }

    #[test]
    fn arguments_are_written_as_a_shell_needs_them() {
        for (args, text) in [
            (&[][..], ""),
            (&[""], "''"),
            (&["-s"], "-s"),
            (&["-c", "echo a; echo b"], "-c 'echo a; echo b'"),
            (&["a", "b"], "a b"),
            (&["a b"], "'a b'"),
        ] {
            assert_eq!(written(&list(args)).as_deref(), Some(text), "{args:?}");
        }
        assert_eq!(written(&list(&["a\0b"])), None);
        assert_eq!(written(&["x".repeat(MAX_MATCHED_BYTES)]), None);
    }

    #[test]
    fn a_pattern_matches_the_whole_text_or_not_at_all() {
        let matches = |text: &str, args: &[&str]| {
            pattern(text).unwrap().is_match(&written(&list(args)).unwrap())
        };
        assert!(matches("-[a-z]", &["-s"]));
        for args in [&["-s", "-a"][..], &["x-s"], &["-s "], &["-S"], &[]] {
            assert!(!matches("-[a-z]", args), "{args:?}");
        }
        // Alternatives are held together, and OpenClaw's anchors change nothing.
        assert!(!matches("a|b", &["a", "x"]) && !matches("a|b", &["x", "b"]));
        assert!(matches("^-s$", &["-s"]));
        assert!(!matches(".*", &["a\nb"]), "a dot is no new line");
        assert!(!matches("a$", &["a\n"]) && !matches("(?m)^a$", &["x\na"]));
        assert!(matches("", &[]) && !matches("", &[""]));
    }

    #[test]
    fn patterns_that_are_none_are_told_in_a_line() {
        for text in ["(", "a)|(b", "[", "(?x)a #", r"\p{Nope}"] {
            let said = pattern(text).expect_err(text);
            assert!(!said.is_empty() && !said.contains('\n'), "{text}: {said}");
        }
        let large = pattern(r"(\w{100}){100}").expect_err("it is too large");
        assert_eq!(large, "it matches too much to be held in memory");
    }

    fn arguments() -> impl Strategy<Value = Vec<String>> {
        // What shells read in a special way, and some that is like it but is not.
        let special: Vec<char> =
            " \t\n\r'\"\\$`#!^*?[]{}()<>|&;=%~,-/:@.a0é\u{2028}\u{85}".chars().collect();
        let letter = prop_oneof![
            4 => prop::sample::select(special),
            1 => any::<char>().prop_filter("null bytes are refused", |c| *c != '\0'),
        ];
        let word = prop::collection::vec(letter, 0..8).prop_map(|all| all.into_iter().collect());
        prop::collection::vec(word, 0..5)
    }

    proptest! {
        #[test]
        fn different_arguments_have_different_texts(args in arguments()) {
            let text = written(&args).expect("short, without null bytes");
            // What can be read back is the text of one list only.
            prop_assert_eq!(shlex::split(&text), Some(args));
        }
    }
}
