//! The terminal while `top` has it, and how it is given back.

use std::io::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::screen::{Line, Look};

/// Whether the terminal is ours. It is one for the whole process.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, with a screen of its own; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    colours: bool,
    size: (u16, u16),
    shown: Vec<Line>,
}

impl Terminal {
    /// Takes it.
    pub(super) fn enter(colours: bool) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            // What a panic says would go down with our screen.
            std::panic::set_hook(Box::new(move |info| {
                give_back();
                before(info);
            }));
        });
        let terminal = Self { colours, size: size()?, shown: Vec::new() };
        TAKEN.store(true, Ordering::SeqCst);
        // From here on it is given back, also if one of these fails.
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        Ok(terminal)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.size.0.into(), self.size.1.into())
    }

    /// It has another size now, and shows nobody knows what.
    pub(super) fn resize(&mut self, width: u16, height: u16) {
        self.size = (width, height);
        self.shown.clear();
    }

    /// Shows these lines; only those that differ are written, at once.
    pub(super) fn draw(&mut self, lines: Vec<Line>) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.shown.is_empty() {
            queue!(bytes, Clear(ClearType::All))?;
        }
        for (at, line) in lines.iter().enumerate() {
            if self.shown.get(at) == Some(line) {
                continue;
            }
            queue!(bytes, MoveTo(0, u16::try_from(at).unwrap_or(u16::MAX)))?;
            self.look(line.look, &mut bytes)?;
            queue!(bytes, Print(&line.text), SetAttribute(Attribute::Reset))?;
            queue!(bytes, Clear(ClearType::UntilNewLine))?;
        }
        if lines.len() < self.shown.len() {
            queue!(bytes, MoveTo(0, u16::try_from(lines.len()).unwrap_or(u16::MAX)))?;
            queue!(bytes, Clear(ClearType::FromCursorDown))?;
        }
        self.shown = lines;
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()
    }

    fn look(&self, look: Look, bytes: &mut Vec<u8>) -> io::Result<()> {
        match look {
            Look::Title => queue!(bytes, SetAttribute(Attribute::Bold))?,
            Look::Focus => queue!(bytes, SetAttribute(Attribute::Reverse))?,
            Look::Head | Look::Quiet => queue!(bytes, SetAttribute(Attribute::Dim))?,
            _ => {}
        }
        let colour = match look {
            Look::Good => Color::DarkGreen,
            Look::Busy => Color::DarkCyan,
            Look::Bad => Color::DarkRed,
            _ => return Ok(()),
        };
        if self.colours { queue!(bytes, SetForegroundColor(colour)) } else { Ok(()) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// The terminal as it was. If it has gone, nothing can be done, or needs to be.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        drop(execute!(io::stdout(), SetAttribute(Attribute::Reset), Show, LeaveAlternateScreen));
        drop(disable_raw_mode());
    }
}
