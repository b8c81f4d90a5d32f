//! `top`: jobs, hosts and services of a network as they change, on a terminal.
//!
//! Always: it is drawn at most four times a second, and only what differs; the terminal is as it was
//! when this ends, however it ends. Where nobody looks, it is printed once.

mod feed;
mod screen;
mod terminal;
mod world;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures::StreamExt as _;
use futures::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::args::Top;
use super::error::CliError;
use super::output::Output;
use crate::client::Client;
use screen::View;
use terminal::Terminal;
use world::World;

/// Shortest time between two drawings: what a person can follow, and a slow line can carry.
const FRAME: Duration = Duration::from_millis(250);

/// Drawings after which one is made though nothing happened: ages are shown in seconds.
const IDLE_FRAMES: u32 = 4;

/// News not taken yet. Whoever tells them waits then, and what comes over the network with it.
const QUEUE: usize = 64;

pub(super) async fn top(
    client: &Client,
    args: &Top,
    json: bool,
    output: &mut Output,
) -> Result<ExitCode, CliError> {
    let mut world = World::default();
    world.take(feed::lists(client).await?);
    if json {
        output.json(&world.document())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.once || !output.is_terminal() {
        output.text(&screen::snapshot(&world, jiff::Timestamp::now()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut signals = Signals::new()?;
    let mut terminal = Terminal::enter(output.colours())?;
    let ended = live(client, world, &mut terminal, &mut signals).await;
    drop(terminal);
    match ended {
        // The terminal has gone, and with it whoever looked.
        Err(CliError::Output(_)) => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}

/// Draws until it is ended.
async fn live(
    client: &Client,
    mut world: World,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<ExitCode, CliError> {
    let (tell, mut news) = mpsc::channel(QUEUE);
    let feed = feed::follow(client, tell);
    let mut feed = std::pin::pin!(feed);
    let mut keys = EventStream::new();
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut view = View::default();
    let (mut changed, mut idle) = (true, 0);
    loop {
        tokio::select! {
            // It ends only with what does not pass, such as a key that was revoked.
            error = &mut feed => return Err(error.into()),
            Some(new) = news.recv() => {
                world.take(new);
                changed = true;
            }
            key = keys.next() => {
                match key {
                    Some(Ok(Event::Key(key))) if ends(key) => return Ok(ExitCode::SUCCESS),
                    Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                        press(&mut view, key.code, &world);
                    }
                    Some(Ok(Event::Resize(width, height))) => terminal.resize(width, height),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                }
                changed = true;
            }
            number = signals.next() => return Ok(ExitCode::from(128 + number)),
            _ = frames.tick() => {
                idle += 1;
                if changed || idle >= IDLE_FRAMES {
                    let lines = screen::lines(&world, &mut view, terminal.size(), jiff::Timestamp::now());
                    terminal.draw(lines)?;
                    (changed, idle) = (false, 0);
                }
            }
        }
    }
}

/// Whether a key ends it. A terminal in this mode sends no SIGINT. Escape does not: it is how an arrow key
/// begins, and over a slow line the rest of it may come later.
fn ends(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q' | 'Q') => true,
        KeyCode::Char('c' | 'd') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

fn press(view: &mut View, key: KeyCode, world: &World) {
    match key {
        KeyCode::Tab | KeyCode::Right => view.turn(1),
        KeyCode::BackTab | KeyCode::Left => view.turn(2),
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1, world),
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1, world),
        KeyCode::PageUp => view.scroll(-10, world),
        KeyCode::PageDown => view.scroll(10, world),
        KeyCode::Home => view.scroll(isize::MIN, world),
        KeyCode::End => view.scroll(isize::MAX, world),
        _ => {}
    }
}

/// What asks this process to end, with the numbers that shells add to 128.
struct Signals([(u8, Signal); 4]);

impl Signals {
    fn new() -> io::Result<Self> {
        let (hangup, int) = (signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?);
        let (quit, term) = (signal(SignalKind::quit())?, signal(SignalKind::terminate())?);
        Ok(Self([(1, hangup), (2, int), (3, quit), (15, term)]))
    }

    async fn next(&mut self) -> u8 {
        let all = self.0.iter_mut().map(|(number, signal)| {
            Box::pin(async move {
                signal.recv().await;
                *number
            })
        });
        select_all(all).await.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_arrow_key_ends_nothing() {
        let ends = |code, modifiers| super::ends(KeyEvent::new(code, modifiers));
        assert!(!ends(KeyCode::Esc, KeyModifiers::NONE));
        assert!(ends(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(ends(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!ends(KeyCode::Char('c'), KeyModifiers::NONE));
    }
}
