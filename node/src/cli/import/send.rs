//! From the file to a coordinator, page by page.
//!
//! Always: a thread reads while pages are sent, and is at most one page ahead.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::args::Import;
use super::super::error::CliError;
use super::super::output::Output;
use super::super::passes;
use super::report::{Answer, Report};
use crate::client::{Client, ClientError};
use crate::engine::chain;
use crate::import::{Holder, Kind, Page, Pages, Refused, Row, Source, Unread};

/// How long a page is sent again while coordinators are gone or busy: time for a restart.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause before that.
const PAUSE: Duration = Duration::from_secs(1);

/// Added to the wait for leases: their ends are rounded.
const SLACK: Duration = Duration::from_millis(50);

/// What the reading thread finds.
enum Found {
    Page(Page),
    Refused(Refused),
}

/// A page as it is sent.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    page: &'a Page,
    #[serde(rename = "dryRun", skip_serializing_if = "is_false")]
    dry_run: bool,
    /// Somebody has the file open: what has not ended is not taken from there.
    #[serde(skip_serializing_if = "is_false")]
    running: bool,
}

const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Sends all there is, and what waits for leases once those have run out.
pub(super) async fn all(
    client: &Client,
    args: &Import,
    output: &mut Output,
) -> Result<Report, CliError> {
    let source = open(&args.path).await?;
    let holder = source.holder();
    if let Some(holder) = holder {
        output.say(&in_use(&args.path, holder));
    }
    let mut run = Run {
        client,
        path: args.path.display().to_string(),
        dry_run: args.dry_run,
        running: holder.is_some(),
        report: Report::new(&args.path, args.dry_run, holder.is_some()),
    };
    let (source, unread) = run.pass(source, None).await?;
    run.report.unread(unread);
    let waiting = run.report.waiting();
    if args.no_wait || args.dry_run || waiting.is_empty() {
        return Ok(run.report);
    }
    let time = run.report.longest_wait() + SLACK;
    output.say(&format!(
        "waiting {} s for the leases of {} jobs, whose hosts may report them meanwhile",
        time.as_secs() + 1,
        waiting.len()
    ));
    tokio::time::sleep(time).await;
    run.report.forget_waiting();
    run.pass(source, Some(waiting)).await?;
    Ok(run.report)
}

async fn open(path: &Path) -> Result<Source, CliError> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || Source::open(&path)).await;
    let opened = opened.map_err(|_| CliError::Source("reading failed".to_owned()))?;
    opened.map_err(|error| CliError::Source(chain(&error)))
}

fn in_use(path: &Path, holder: Holder) -> String {
    let who = holder.pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    format!(
        "{who} has {} open: the original seems to run. What it takes from now on is not in, and \
         what has not ended stays with it; stop it and type this again",
        path.display()
    )
}

struct Run<'a> {
    client: &'a Client,
    path: String,
    dry_run: bool,
    running: bool,
    report: Report,
}

impl Run<'_> {
    /// Sends all records, or the jobs of those ids. Gives the file back.
    async fn pass(
        &mut self,
        source: Source,
        only: Option<HashSet<String>>,
    ) -> Result<(Source, Vec<Unread>), CliError> {
        let (sender, mut pages) = mpsc::channel(1);
        let reader = tokio::task::spawn_blocking(move || {
            let unread = read(&source, only.as_ref(), &sender);
            (source, unread)
        });
        // An end by error drops the receiver; the reader then ends as well.
        while let Some(found) = pages.recv().await {
            match found {
                Found::Refused(refused) => self.report.row(&refused),
                Found::Page(page) => {
                    let answer = self.send(&page).await?;
                    self.report.add(page.len(), answer);
                }
            }
        }
        reader.await.map_err(|_| CliError::Source("reading failed".to_owned()))
    }

    async fn send(&self, page: &Page) -> Result<Answer, CliError> {
        let body = Body { page, dry_run: self.dry_run, running: self.running };
        let until = Instant::now() + PATIENCE;
        loop {
            match self.client.post_of("/v1/import", &body).await {
                Ok(answer) => return Answer::read(answer),
                Err(error) if passes(&error) && Instant::now() < until && !self.is_first() => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// Nobody ever answered: waiting would only hide why.
    fn is_first(&self) -> bool {
        self.report.records() == 0
    }

    fn broken(&self, cause: ClientError) -> CliError {
        if self.is_first() {
            return cause.into();
        }
        CliError::PartlyImported { path: self.path.clone(), records: self.report.records(), cause }
    }
}

fn read(
    source: &Source,
    only: Option<&HashSet<String>>,
    sender: &mpsc::Sender<Found>,
) -> Vec<Unread> {
    let mut pages = Pages::default();
    let unread = source.each(|row| match row {
        Row::Record(kind, record) => {
            if only.is_some_and(|ids| kind != Kind::Job || !is_of(record.get(), ids)) {
                return true;
            }
            match pages.add(kind, record) {
                Some(page) => sender.blocking_send(Found::Page(page)).is_ok(),
                None => true,
            }
        }
        Row::Refused(_) if only.is_some() => true,
        Row::Refused(refused) => sender.blocking_send(Found::Refused(refused)).is_ok(),
    });
    if let Some(page) = pages.rest() {
        // Nobody listens after an error, which is told by then.
        let _ = sender.blocking_send(Found::Page(page));
    }
    unread
}

/// Whether a record has one of the ids.
fn is_of(record: &str, ids: &HashSet<String>) -> bool {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_str::<Named>(record).is_ok_and(|named| ids.contains(&named.id))
}
