//! What those who wait see and can do: how long it has been, and SIGINT, which ends the wait and not what
//! is waited for.
//!
//! Always: SIGINT ends this process: politely while it waits, at once after that and when it comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use super::output::{Output, one_line};

/// How the exit codes of commands that wait for a job are told in their help.
pub(super) const EXIT_CODES: &str = "\
Exit code: 0 if what was asked for went well, 1 if not. Of who waits for a job the job decides: 0 if it
completed, 1 if it failed; 124 if the wait was as long as allowed, 69 if no coordinator answered for too
long, 130 after Ctrl-C. After these three the job goes on, and `skyclaw job ID --wait` goes on waiting.";

/// Waits, unless SIGINT comes: then `what` goes on, and `next` says how to go on with it.
pub(super) async fn unless_interrupted<T>(
    what: &str,
    next: &str,
    wait: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    /// What shells have for a process that SIGINT ended.
    const INTERRUPTED: i32 = 130;
    // Once anybody has listened for it, SIGINT does nothing by itself in this process any more.
    let ends = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&ends))?;
    // In this order: the one that sets the flag does not end it yet.
    flag::register(SIGINT, Arc::clone(&ends))?;
    let mut int = signal(SignalKind::interrupt())?;
    let done = tokio::select! {
        done = wait => done,
        _ = int.recv() => {
            Err(CliError::Interrupted { what: what.to_owned(), next: next.to_owned() })
        }
    };
    ends.store(true, Ordering::SeqCst);
    done
}

/// How to go on with a job.
pub(super) fn after_job(id: &str) -> String {
    format!("`skyclaw job {id} --wait` waits on, `skyclaw cancel {id}` ends it")
}

/// How to go on with the output of a job.
pub(super) fn after_output(id: &str) -> String {
    format!("`skyclaw logs {id} -f` follows it again, `skyclaw cancel {id}` ends it")
}

/// A line on standard error that says what is waited for and how long, where that is a terminal.
///
/// Always: while it is silent nothing of it is on the screen, so that whoever has the screen read out hears
/// what was said, and no turns of it.
#[derive(Debug)]
pub(super) struct Spinner {
    /// None while it is silent.
    bar: Option<ProgressBar>,
    begun: Instant,
}

impl Spinner {
    pub(super) fn new() -> Self {
        let begun = Instant::now();
        Self { bar: Some(bar(begun)), begun }
    }

    /// What is waited for.
    pub(super) fn set(&self, words: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(one_line(words));
        }
    }

    /// Says something beside it.
    pub(super) fn say(&self, words: &str, output: &mut Output) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output.say(words)),
            None => output.say(words),
        }
    }

    /// Takes the line away until it is to speak again.
    pub(super) fn silence(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Goes on, with the time since the beginning.
    pub(super) fn speak(&mut self) {
        let begun = self.begun;
        self.bar.get_or_insert_with(|| bar(begun));
    }
}

fn bar(begun: Instant) -> ProgressBar {
    /// Between two turns of it.
    const TURN: Duration = Duration::from_millis(250);
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let bar = bar.with_elapsed(begun.elapsed());
    // The template is ours; a wrong one leaves the usual bar.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style.tick_chars("|/-\\ "));
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(TURN);
    }
    bar
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.silence();
    }
}
