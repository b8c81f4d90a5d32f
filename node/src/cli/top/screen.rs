//! What `top` shows: lines of text, each of one look. Nothing here knows of a terminal.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::world::World;
use crate::cli::output::one_line;
use crate::cli::show::{age, service, text};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Title,
    Focus,
    Head,
    Quiet,
    Good,
    Busy,
    Bad,
}

/// A line of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) look: Look,
}

/// Lists, in the order of the screen.
const LISTS: [&str; 3] = ["JOBS", "HOSTS", "SERVICES"];

/// Lines that every list has above its rows.
const ABOVE: usize = 2;

/// Fewest lines on which all lists are shown; on fewer, the one in focus.
const ROOM_FOR_ALL: usize = 15;

/// Where whoever looks is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    focus: usize,
    /// First row shown of each list.
    first: [usize; 3],
}

impl View {
    /// The list so many further on is in focus.
    pub(super) const fn turn(&mut self, by: usize) {
        self.focus = (self.focus + by) % LISTS.len();
    }

    /// Moves in the list in focus.
    pub(super) fn scroll(&mut self, by: isize, world: &World) {
        let last = rows(world, self.focus).len().saturating_sub(1);
        let first = &mut self.first[self.focus];
        *first = first.saturating_add_signed(by).min(last);
    }
}

fn rows(world: &World, list: usize) -> Vec<&Value> {
    match list {
        0 => world.jobs(),
        1 => world.hosts(),
        _ => world.services(),
    }
}

/// The whole screen, at most as large as it is.
pub(super) fn lines(
    world: &World,
    view: &mut View,
    (width, height): (usize, usize),
    now: Timestamp,
) -> Vec<Line> {
    let mut lines = summary(world, now);
    let room = height.saturating_sub(lines.len() + 1);
    let small = room < ROOM_FOR_ALL;
    let lengths = [0, 1, 2].map(|list| rows(world, list).len());
    let most = room / 4;
    let of_others = [lengths[1], lengths[2]].map(|rows| (rows.max(1) + ABOVE).min(most));
    let heights = match small {
        true => [0, 1, 2].map(|list| if list == view.focus { room } else { 0 }),
        false => [room - of_others[0] - of_others[1], of_others[0], of_others[1]],
    };
    for (list, height) in heights.into_iter().enumerate().filter(|(_, height)| *height > 0) {
        let shown = height.saturating_sub(ABOVE);
        // Rows may have gone since it was scrolled.
        let first = view.first[list].min(lengths[list].saturating_sub(shown));
        view.first[list] = first;
        let look = if list == view.focus { Look::Focus } else { Look::Title };
        let mut title = format!("{} {}", LISTS[list], lengths[list]);
        if lengths[list] > shown {
            let last = (first + shown).min(lengths[list]);
            _ = write!(title, "   {}-{last}", first + 1);
        }
        let all = rows(world, list);
        let visible = &all[first..(first + shown).min(all.len())];
        let mut part = vec![Line { text: title, look }];
        part.extend(table(list, visible, now));
        part.truncate(height);
        part.resize(height, Line { text: String::new(), look: Look::Plain });
        lines.extend(part);
    }
    lines.truncate(height.saturating_sub(1));
    let foot = "q quit   tab next list   arrows move".to_owned();
    lines.push(Line { text: foot, look: Look::Quiet });
    lines.truncate(height);
    lines.iter_mut().for_each(|line| cut(&mut line.text, width));
    lines
}

/// All of it, for paper.
pub(super) fn snapshot(world: &World, now: Timestamp) -> String {
    let mut text = String::new();
    let mut lines = summary(world, now);
    for (list, name) in LISTS.iter().enumerate() {
        let all = rows(world, list);
        lines.push(Line { text: String::new(), look: Look::Plain });
        lines.push(Line { text: format!("{name} {}", all.len()), look: Look::Title });
        lines.extend(table(list, &all, now));
    }
    for line in lines {
        text.push_str(line.text.trim_end());
        text.push('\n');
    }
    text
}

fn summary(world: &World, now: Timestamp) -> Vec<Line> {
    let time = now.strftime("%H:%M:%S UTC");
    let node = one_line(&world.node);
    let (state, look) = match &world.lost {
        Some(why) => (format!("reconnecting: {}", one_line(why)), Look::Bad),
        None if !world.ready => ("it is not ready: see `skyclaw doctor`".to_owned(), Look::Bad),
        None => (String::new(), Look::Title),
    };
    let mut lines = vec![Line { text: format!("skyclaw top   {node}   {time}   {state}"), look }];
    let (came, ended) = world.rates();
    let counts = world.counts;
    let jobs = format!(
        "jobs      {} queued, {} leased, {} completed, {} failed   {came:.1}/s came, {ended:.1}/s ended",
        counts.queued, counts.leased, counts.completed, counts.failed
    );
    let (hosts, services) = (world.hosts(), world.services());
    let sum = |name: &str| hosts.iter().filter_map(|host| host[name].as_u64()).sum::<u64>();
    let (busy, slots) = (sum("activeLeases"), sum("maxParallel"));
    let running: usize = services.iter().map(|one| service::running(one)).sum();
    let wanted: u64 = services.iter().filter_map(|one| one["replicas"].as_u64()).sum();
    let mut rest = format!(
        "hosts     {} with {busy} of {slots} places taken   services {} with {running} of {wanted} instances",
        hosts.len(),
        services.len()
    );
    if !world.gateways.is_empty() {
        let urls: Vec<String> = world.gateways.iter().map(|url| one_line(url)).collect();
        _ = write!(rest, "   gateways {}", urls.join(" "));
    }
    lines.extend([jobs, rest].map(|text| Line { text, look: Look::Plain }));
    lines
}

/// The cells of a row, and how it looks.
type Row = (Vec<String>, Look);

/// The rows of a list, below the names of its columns.
fn table(list: usize, rows: &[&Value], now: Timestamp) -> Vec<Line> {
    let names: &[&str] = match list {
        0 => &["ID", "STATUS", "AGE", "TOOK", "HOST", "COMMAND"],
        1 => &["NAME", "ID", "SEEN", "JOBS", "LOAD", "SANDBOX"],
        _ => &["NAME", "STATUS", "INSTANCES", "AGE", "ID"],
    };
    let row: fn(&Value, Timestamp) -> Row = match list {
        0 => job,
        1 => host,
        _ => of_service,
    };
    let rows: Vec<Row> = rows.iter().map(|value| row(value, now)).collect();
    let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
    for (cells, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |cells: Vec<&str>, look| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
        }
        text.truncate(text.trim_end().len());
        Line { text, look }
    };
    let mut lines = vec![line(names.to_vec(), Look::Head)];
    lines.extend(
        rows.iter().map(|(cells, look)| line(cells.iter().map(String::as_str).collect(), *look)),
    );
    lines
}

fn job(job: &Value, now: Timestamp) -> Row {
    let look = match job["status"].as_str() {
        Some("leased") => Look::Busy,
        Some("failed") => Look::Bad,
        Some("completed") => Look::Quiet,
        _ => Look::Plain,
    };
    let took = job["durationMs"].as_f64();
    let cells = vec![
        text(job, "id"),
        text(job, "status"),
        age(&job["createdAt"], now),
        took.map_or_else(|| "-".to_owned(), crate::cli::show::took),
        text(job, "assignedHostId"),
        text(job, "title"),
    ];
    (cells, look)
}

fn host(host: &Value, now: Timestamp) -> Row {
    /// Characters of the bar.
    const BAR: u64 = 10;
    let count = |name: &str| host[name].as_u64().unwrap_or(0);
    let (busy, places) = (count("activeLeases"), count("maxParallel"));
    let full = (busy.min(places) * BAR).checked_div(places).unwrap_or(0);
    let bar: String = (0..BAR).map(|at| if at < full { '#' } else { '.' }).collect();
    let cells = vec![
        text(host, "name"),
        text(host, "id"),
        age(&host["lastSeenAt"], now),
        format!("{busy}/{places}"),
        bar,
        text(host, "sandbox"),
    ];
    (cells, if busy > 0 { Look::Busy } else { Look::Plain })
}

fn of_service(one: &Value, now: Timestamp) -> Row {
    let running = service::running(one);
    let wanted = one["replicas"].as_u64().unwrap_or(0);
    let cells = vec![
        text(one, "name"),
        text(one, "status"),
        format!("{running}/{wanted}"),
        age(&one["createdAt"], now),
        text(one, "id"),
    ];
    (cells, if (running as u64) < wanted { Look::Bad } else { Look::Good })
}

/// Cuts a text to so many columns.
fn cut(text: &mut String, width: usize) {
    let mut columns = 0;
    let end = text.char_indices().find(|(_, c)| {
        columns += c.width().unwrap_or(0);
        columns > width
    });
    if let Some((at, _)) = end {
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests;
