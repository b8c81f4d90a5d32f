//! The rules of one section, and the judgement by them.
//!
//! Always: where a person would be asked, `askFallback` decides at once, since nobody sits at a
//! host; so what a section comes to is known before any command is.

use std::cell::OnceCell;
use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use super::arguments::{pattern, written};
use super::resolve::{Found, Programs, is_plain};
use super::words::{Ask, Security};

/// What an agent's own tools may do on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRules {
    /// How much, with what nobody can be asked about already decided.
    pub security: Security,
    /// The entries of the allowlist.
    pub allowlist: Vec<Entry>,
}

impl Default for AgentRules {
    fn default() -> Self {
        Self { security: Security::Deny, allowlist: Vec::new() }
    }
}

/// An entry of an allowlist, as it was written but for the home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of a command, or a glob over its path.
    pub pattern: String,
    /// A regular expression over the whole of its arguments; none for any arguments.
    pub arg_pattern: Option<String>,
}

/// An entry, ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    entry: Entry,
    command: CommandPattern,
    args: Option<Regex>,
}

#[derive(Clone, Debug)]
enum CommandPattern {
    /// Equals the command as it is written in a payload.
    Name,
    /// Matches the path that the command stands for.
    Path(GlobMatcher),
}

impl Matcher {
    /// Reads an entry's pattern, `home` being what `~` stands for.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn new(pattern: &str, home: Option<&str>) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("the pattern is empty: give a name, or a path with * in it".to_owned());
        }
        let command = if pattern.contains('/') {
            CommandPattern::Path(glob(pattern, home)?)
        } else {
            let wild = pattern.contains(['*', '?'])
                || (pattern.contains('[') && pattern.contains(']'))
                || (pattern.contains('{') && pattern.contains('}'));
            if wild || pattern == "~" {
                return Err(format!(
                    "`{pattern}` has no slash and is so a name, which equals a command or does \
                     not; for a glob write a path, as /usr/bin/{pattern}"
                ));
            }
            CommandPattern::Name
        };
        // Whoever else gets it has another home, or none.
        let whole = match (pattern.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => format!("{}/{rest}", home.trim_end_matches('/')),
            _ => pattern.to_owned(),
        };
        let entry = Entry { pattern: whole, arg_pattern: None };
        Ok(Self { entry, command, args: None })
    }

    /// The same for some arguments only.
    ///
    /// # Errors
    /// What is wrong with that pattern, in one line.
    pub(super) fn with_arguments(mut self, text: &str) -> Result<Self, String> {
        self.args = Some(pattern(text).map_err(|why| format!("`{text}` is no pattern: {why}"))?);
        self.entry.arg_pattern = Some(text.to_owned());
        Ok(self)
    }

    /// As it was written but for the home.
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The name it allows, if it names one.
    pub(super) fn name(&self) -> Option<&str> {
        matches!(self.command, CommandPattern::Name).then_some(self.entry.pattern.as_str())
    }

    fn is_for(&self, command: &str, found: &Found) -> bool {
        match &self.command {
            CommandPattern::Name => self.entry.pattern == command,
            CommandPattern::Path(glob) => {
                // An absolute path is one also where nothing stands there.
                let path =
                    if command.starts_with('/') { Some(command) } else { found.as_deref().ok() };
                path.is_some_and(|path| is_plain(path) && glob.is_match(path))
            }
        }
    }
}

/// A glob over absolute paths.
fn glob(pattern: &str, home: Option<&str>) -> Result<GlobMatcher, String> {
    let wrong = |why: &str| format!("`{pattern}` cannot be used as a path: {why}");
    let whole = match (pattern.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => {
            format!("{}/{rest}", globset::escape(home.trim_end_matches('/')))
        }
        (Some(_), None) => {
            return Err(wrong("~ stands for nothing, since HOME is not an absolute path"));
        }
        (None, _) => pattern.to_owned(),
    };
    if !whole.starts_with('/') {
        return Err(wrong("it must begin with / or ~/"));
    }
    if !is_plain(&whole) {
        return Err(wrong("it would match nothing, having an empty part, . or .. in it"));
    }
    let built = GlobBuilder::new(&whole).literal_separator(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| wrong(&error.kind().to_string()))
}

/// The rules of a section.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    security: Security,
    /// How it is asked, and what then decides; none where nothing is to be asked.
    asked: Option<(Ask, Security)>,
    entries: Vec<Matcher>,
}

/// What the rules say to a command.
#[derive(Debug)]
pub(super) enum Ruling<'a> {
    Allowed(Found, Reason<'a>),
    Refused(Reason<'a>),
}

impl Rules {
    pub(super) fn new(
        security: Security,
        ask: Ask,
        fallback: Security,
        entries: Vec<Matcher>,
    ) -> Self {
        let asks = match ask {
            Ask::Off => false,
            // With `full` nothing is missed, and OpenClaw does not ask either.
            Ask::OnMiss => security == Security::Allowlist,
            // Not where no answer could allow it.
            Ask::Always => security != Security::Deny,
        };
        Self { security, asked: asks.then_some((ask, fallback)), entries }
    }

    /// What the section comes to.
    pub(super) fn security(&self) -> Security {
        match self.asked {
            None | Some((Ask::Off, _)) => self.security,
            // Nothing is asked about what the list matches.
            Some((Ask::OnMiss, fallback)) => fallback.max(Security::Allowlist),
            Some((Ask::Always, fallback)) => fallback,
        }
    }

    pub(super) fn entries(&self) -> &[Matcher] {
        &self.entries
    }

    pub(super) fn decide(&self, command: &str, args: &[String], programs: &Programs) -> Ruling<'_> {
        let security = self.security();
        if security == Security::Deny {
            return Ruling::Refused(self.general());
        }
        if command.contains('/') && !is_plain(command) {
            return Ruling::Refused(Reason::Detour);
        }
        let found = programs.find(command);
        if security == Security::Full {
            return Ruling::Allowed(found, self.general());
        }
        let text = OnceCell::new();
        let mut nearly = None;
        for (at, entry) in self.entries.iter().enumerate() {
            if !entry.is_for(command, &found) {
                continue;
            }
            let takes = entry.args.as_ref().is_none_or(|pattern| {
                let text = text.get_or_init(|| written(args)).as_ref();
                text.is_some_and(|text| pattern.is_match(text))
            });
            let (number, pattern) = (at + 1, entry.entry.pattern.as_str());
            if takes {
                return Ruling::Allowed(found, Reason::Entry { number, pattern });
            }
            nearly.get_or_insert(Reason::Arguments { number, pattern });
        }
        let missed = || Reason::Missed { asked: self.asked };
        Ruling::Refused(nearly.unwrap_or_else(missed))
    }

    /// The reason that is none of an entry's.
    const fn general(&self) -> Reason<'_> {
        match self.asked {
            Some((ask, fallback)) => Reason::Asked { ask, fallback },
            None => Reason::Security(self.security),
        }
    }
}

/// Why a command is allowed or refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason<'a> {
    Security(Security),
    Asked { ask: Ask, fallback: Security },
    Detour,
    Entry { number: usize, pattern: &'a str },
    Arguments { number: usize, pattern: &'a str },
    Missed { asked: Option<(Ask, Security)> },
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Security(security) => write!(f, "security is {}", security.as_str()),
            Self::Asked { ask, fallback } => {
                let (ask, fallback) = (ask.as_str(), fallback.as_str());
                write!(f, "ask is {ask} and nobody can be asked here: askFallback {fallback}")
            }
            Self::Detour => {
                f.write_str("a command is a name, or an absolute path without . and ..")
            }
            Self::Entry { number, pattern } => {
                write!(f, "allowlist entry {number} \"{pattern}\" matches")
            }
            Self::Arguments { number, pattern } => {
                write!(f, "allowlist entry {number} \"{pattern}\" does not match its arguments")
            }
            Self::Missed { asked } => {
                f.write_str("nothing on the allowlist matches")?;
                match *asked {
                    Some((ask, fallback)) => write!(f, "; {}", Reason::Asked { ask, fallback }),
                    None => Ok(()),
                }
            }
        }
    }
}
