//! Versions of OpenClaw: a year, a month, a count, and what a name of a pre-release adds.

use std::fmt;

/// The first version with `agent exec`, which runs one turn without a Gateway and answers in JSON
/// that is kept stable.
pub(crate) const EXEC_SINCE: Version = Version::new(2026, 8, 1);

/// The first version whose `agent --json` writes JSON on standard output; before it went to
/// standard error.
pub(crate) const JSON_SINCE: Version = Version::new(2026, 5, 5);

/// A version, in the order of releases: a pre-release comes before the release of its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    number: (u32, u32, u32),
    /// True for a release, so that pre-releases sort before it.
    release: bool,
    suffix: String,
}

impl Version {
    const fn new(year: u32, month: u32, count: u32) -> Self {
        Self { number: (year, month, count), release: true, suffix: String::new() }
    }

    /// The first version in a text, such as `OpenClaw 2026.9.6 (eb377ac)`. None if there is none, or
    /// if the text does not name OpenClaw: any program may stand under its name.
    #[must_use]
    pub(crate) fn find(text: &str) -> Option<Self> {
        let names_it = text.to_ascii_lowercase().contains("openclaw");
        // Older ones print the number alone.
        let alone = text.split_ascii_whitespace().count() == 1 && !text.trim().starts_with('v');
        text.split_ascii_whitespace().filter(|_| names_it || alone).find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let word = word.trim_start_matches('v');
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-'));
        let word = &word[..end.unwrap_or(word.len())];
        let (number, suffix) = word.split_once('-').unwrap_or((word, ""));
        let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
        let number = (parts.next()??, parts.next()??, parts.next()??);
        let year = 2000..3000;
        (year.contains(&number.0) && parts.next().is_none()).then(|| Self {
            number,
            release: suffix.is_empty(),
            suffix: suffix.to_owned(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, count) = self.number;
        write!(f, "{year}.{month}.{count}")?;
        if self.release { Ok(()) } else { write!(f, "-{}", self.suffix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_in_what_the_program_prints() {
        let printed = include_str!("fixtures/version.stdout");
        assert_eq!(Version::find(printed).unwrap().to_string(), "2026.9.6");
        let beta = Version::find("OpenClaw v2026.8.1-beta.1").unwrap();
        assert_eq!(beta.to_string(), "2026.8.1-beta.1");
    }

    #[test]
    fn other_programs_have_none() {
        assert!(Version::find("2026.2.26\n").is_some());
        for printed in
            ["v2020.20.2", "v20.20.2", "GNU bash, version 5.2.15(1)-release", "OpenClaw", ""]
        {
            assert_eq!(Version::find(printed), None, "{printed}");
        }
    }

    #[test]
    fn they_sort_as_they_were_released() {
        let version = |text: &str| Version::find(&format!("openclaw {text}")).unwrap();
        assert!(version("2026.8.1-beta.1") < EXEC_SINCE);
        assert!(version("2026.8.1") >= EXEC_SINCE && version("2026.10.2") > EXEC_SINCE);
        assert!(version("2026.7.35") < EXEC_SINCE && version("2026.7.35") > JSON_SINCE);
    }
}
