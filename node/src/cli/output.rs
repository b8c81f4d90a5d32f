//! The only place that writes to the terminal (`mcp` speaks on standard output, which is none then).
//!
//! Always: text of others (names, outputs, errors) cannot steer a terminal.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;
pub(super) use skyclaw_http_compat::why::one_line;

/// Standard output and error of one command.
pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    terminal: bool,
    /// Standard error is a terminal.
    errors_shown: bool,
    colours: bool,
}

impl Output {
    /// Those of the process; `colours` if the user has nothing against them.
    #[must_use]
    pub fn stdio(colours: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let errors_shown = io::stderr().is_terminal();
        let colours = colours && terminal;
        let (out, err) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self { out, err, terminal, errors_shown, colours }
    }

    /// Others, which are no terminals: of a command that is a part of something larger.
    pub(super) fn into(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        let (out, err) = (Box::new(out), Box::new(err));
        Self { out, err, terminal: false, errors_shown: false, colours: false }
    }

    /// Whether a person reads standard output.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether what a person reads may be coloured.
    #[must_use]
    pub fn colours(&self) -> bool {
        self.colours
    }

    /// Text on standard output, as it is.
    ///
    /// # Errors
    /// It cannot be written, e.g. as the reader has gone.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Output of a job: verbatim into a file or pipe, without control codes onto a terminal.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn foreign(&mut self, text: &str) -> io::Result<()> {
        self.piece(text)?;
        if text.is_empty() || text.ends_with('\n') { Ok(()) } else { self.text("\n") }
    }

    /// The next piece of what a job writes, as it comes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn piece(&mut self, text: &str) -> io::Result<()> {
        let shown = if self.terminal { harmless(text) } else { Cow::Borrowed(text) };
        self.text(&shown)
    }

    /// The same of its standard error, on ours.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn error_piece(&mut self, text: &str) -> io::Result<()> {
        let shown = if self.errors_shown { harmless(text) } else { Cow::Borrowed(text) };
        self.err.write_all(shown.as_bytes())?;
        self.err.flush()
    }

    /// A document on standard output, indented by two spaces.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn json(&mut self, document: &Value) -> io::Result<()> {
        self.text(&format!("{document:#}\n"))
    }

    /// A line on standard error, marked as ours. Nobody is left to tell if that fails.
    pub fn say(&mut self, text: &str) {
        drop(writeln!(self.err, "[skyclaw] {}", harmless(text)));
    }

    /// Further lines on standard error, as they are.
    pub fn hint(&mut self, text: &str) {
        drop(writeln!(self.err, "{}", harmless(text)));
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// Whether the user has nothing against colours, as <https://no-color.org> and CLICOLOR have it.
#[must_use]
pub fn wants_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is = |name: &str, value: &str| variable(name).is_some_and(|held| held == value);
    let refused = variable("NO_COLOR").is_some_and(|held| !held.is_empty());
    !refused && !is("CLICOLOR", "0") && !is("TERM", "dumb")
}

/// Without control characters, but with lines and tabs.
#[must_use]
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(bad) { text.replace(bad, "\u{fffd}").into() } else { text.into() }
}
