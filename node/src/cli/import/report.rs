//! What became of the records, for people and for programs.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::error::CliError;
use super::super::output::{Output, one_line};
use super::super::show;
use crate::import::{Kind, Refused, Unread};

/// Refused records that are named to a person: the first few tell what is wrong with the others.
const NAMED: usize = 10;

/// Refused records that are kept to be named to a program.
const KEPT: usize = 100;

/// A coordinator's answer to a page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    taken: Counts,
    known: Counts,
    old: Counts,
    left: Counts,
    waiting: Vec<Waiting>,
    refused: Vec<RefusedRecord>,
}

/// A number for each kind.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    hosts: u64,
    jobs: u64,
    services: u64,
    idempotency: u64,
}

/// A leased job whose lease has not run out.
#[derive(Debug, Deserialize)]
struct Waiting {
    id: String,
    ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct RefusedRecord {
    kind: String,
    id: Option<String>,
    why: String,
}

impl Answer {
    pub(super) fn read(answer: Value) -> Result<Self, CliError> {
        if answer["taken"].is_object() {
            // What is of another form is another program's.
            return serde_json::from_value(answer).map_err(|_| CliError::Answer("taken"));
        }
        Err(CliError::Answer("taken"))
    }
}

impl Counts {
    const fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Host => &mut self.hosts,
            Kind::Job => &mut self.jobs,
            Kind::Service => &mut self.services,
            Kind::Key => &mut self.idempotency,
        }
    }

    const fn get(mut self, kind: Kind) -> u64 {
        *self.of(kind)
    }

    fn add(&mut self, other: Self) {
        for kind in Kind::ALL {
            *self.of(kind) += other.get(kind);
        }
    }

    fn sum(self) -> u64 {
        Kind::ALL.iter().map(|kind| self.get(*kind)).sum()
    }
}

/// All answers together.
#[derive(Debug)]
pub(super) struct Report {
    path: String,
    dry_run: bool,
    running: bool,
    taken: Counts,
    known: Counts,
    old: Counts,
    left: Counts,
    refused: Counts,
    examples: Vec<RefusedRecord>,
    waiting: Vec<Waiting>,
    unread: Vec<Unread>,
    records: u64,
}

impl Report {
    pub(super) fn new(path: &Path, dry_run: bool, running: bool) -> Self {
        Self {
            path: path.display().to_string(),
            dry_run,
            running,
            taken: Counts::default(),
            known: Counts::default(),
            old: Counts::default(),
            left: Counts::default(),
            refused: Counts::default(),
            examples: Vec::new(),
            waiting: Vec::new(),
            unread: Vec::new(),
            records: 0,
        }
    }

    pub(super) fn add(&mut self, records: usize, answer: Answer) {
        self.records += records as u64;
        self.taken.add(answer.taken);
        self.known.add(answer.known);
        self.old.add(answer.old);
        self.left.add(answer.left);
        self.waiting.extend(answer.waiting);
        for refused in answer.refused {
            self.refuse(refused);
        }
    }

    /// A row that was no record.
    pub(super) fn row(&mut self, row: &Refused) {
        self.refuse(RefusedRecord {
            kind: row.kind.as_str().to_owned(),
            id: Some(row.id.clone()),
            why: row.why.clone(),
        });
    }

    fn refuse(&mut self, refused: RefusedRecord) {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == refused.kind);
        *self.refused.of(kind.unwrap_or(Kind::Key)) += 1;
        if self.examples.len() < KEPT {
            self.examples.push(refused);
        }
    }

    pub(super) fn unread(&mut self, unread: Vec<Unread>) {
        self.unread = unread;
    }

    /// Records that were answered for.
    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    /// The jobs whose leases have not run out.
    pub(super) fn waiting(&self) -> HashSet<String> {
        self.waiting.iter().map(|waiting| waiting.id.clone()).collect()
    }

    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.waiting.iter().map(|waiting| waiting.ms).max().unwrap_or(0))
    }

    /// They are sent again.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Nothing stayed behind that one may want.
    pub(super) fn is_complete(&self) -> bool {
        self.refused.sum() == 0
            && self.left.sum() == 0
            && self.waiting.is_empty()
            && self.unread.is_empty()
    }

    pub(super) fn document(&self) -> Value {
        let kinds = Kind::ALL.map(|kind| {
            let counts = json!({
                "taken": self.taken.get(kind), "known": self.known.get(kind),
                "old": self.old.get(kind), "left": self.left.get(kind),
                "refused": self.refused.get(kind),
            });
            (kind.table().to_owned(), counts)
        });
        let refused = self.examples.iter();
        let refused =
            refused.map(|it| json!({ "kind": it.kind, "id": it.id, "why": it.why })).collect();
        let unread = self.unread.iter();
        let unread = unread.map(|it| json!({ "table": it.kind.table(), "why": it.why })).collect();
        let waiting = self.waiting.iter().map(|it| Value::from(it.id.as_str())).collect();
        let mut document = json!({
            "path": self.path, "dryRun": self.dry_run, "inUse": self.running,
            "complete": self.is_complete(),
        });
        if let Value::Object(map) = &mut document {
            map.extend(kinds);
            map.insert("waiting".to_owned(), waiting);
            map.insert("refused".to_owned(), refused);
            map.insert("unread".to_owned(), unread);
        }
        document
    }

    pub(super) fn table(&self) -> String {
        let first = if self.dry_run { "WOULD BE TAKEN" } else { "TAKEN" };
        let mut table = show::table(&["", first, "ALREADY HERE", "TOO OLD", "LEFT", "REFUSED"]);
        for kind in Kind::ALL {
            let waiting = if kind == Kind::Job { self.waiting.len() as u64 } else { 0 };
            let cells = [
                self.taken.get(kind),
                self.known.get(kind),
                self.old.get(kind),
                self.left.get(kind) + waiting,
                self.refused.get(kind),
            ];
            let name = std::iter::once(kind.table().to_owned());
            table.add_row(name.chain(cells.map(|count| count.to_string())));
        }
        show::render(&table)
    }

    /// Says why something stayed behind.
    pub(super) fn explain(&self, output: &mut Output) {
        for refused in self.examples.iter().take(NAMED) {
            let id = refused.id.as_deref().unwrap_or("-");
            let line = format!("refused: {} {id}: {}", refused.kind, refused.why);
            output.say(&one_line(&line));
        }
        let more = self.refused.sum().saturating_sub(NAMED as u64);
        if more > 0 {
            output.hint(&format!("  and {more} more; --json names the first {KEPT}"));
        }
        for unread in &self.unread {
            let line = format!(
                "the table {} was not read to its end: {}",
                unread.kind.table(),
                unread.why
            );
            output.say(&one_line(&line));
        }
        if self.left.sum() > 0 {
            output.say(
                "what has not ended was left to originals that run, or may: type this again once \
                 they have stopped and, where they are peers, are forgotten (`skyclaw peers forget`)",
            );
        }
        if !self.waiting.is_empty() {
            output.say(&format!(
                "{} jobs are leased for {} s more: type this again then",
                self.waiting.len(),
                self.longest_wait().as_secs() + 1
            ));
        }
        let nothing_new = self.taken.sum() == 0 && self.records > 0;
        if nothing_new && self.is_complete() {
            output.say("nothing new: all of it was here, or is too old to be kept");
        }
    }
}
