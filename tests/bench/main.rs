//! Skyclaw beside its peers: the same work for each, in turns, on one machine.
//!
//! ```text
//! cargo bench --workspace --bench peers -- --help
//! ```
//!
//! Machines differ and are shared, so what counts is the ratio within a round; rates, times and processor time
//! are printed beside it, and what else the machine did meanwhile. Peers are those of Debian: nginx, haproxy,
//! redis-server, beanstalkd, and nats-server from 2.10 on (older ones cannot sync before they answer).
//!
//! Always: a server stands in a folder of its own and is ended with its row; every answer of every server is
//! checked, and one that is wrong counts as an error and never as work done.

// Figures are for whoever runs it; a benchmark that cannot go on says why and ends.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::panic, clippy::unwrap_used)]

mod clients;
mod goals;
mod load;
mod machine;
mod report;
mod rows;
mod server;

use std::path::PathBuf;

use clap::Parser;

use crate::report::Report;
use crate::rows::ROWS;

/// Measures Skyclaw and its peers in turns, and prints the ratios.
#[derive(Debug, Parser)]
struct Args {
    /// How often each row is measured; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Rows, by name; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// How many jobs the rows `held` and `start` hold.
    #[arg(long, default_value_t = 1_000_000)]
    held: u64,
    /// How many nodes the row `crowd` starts.
    #[arg(long, default_value_t = 64)]
    nodes: usize,
    /// Every measurement, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The table, as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Names the rows.
    #[arg(long)]
    list: bool,
    /// What cargo hands to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What all rows share.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    seconds: f64,
    held: u64,
    nodes: usize,
}

fn main() {
    let args = Args::parse();
    if args.list {
        ROWS.iter().for_each(|row| println!("{:<12} {}", row.name, row.what));
        return;
    }
    if let Some(unknown) = args.rows.iter().find(|name| !ROWS.iter().any(|row| row.name == *name)) {
        eprintln!("there is no row {unknown}; --list names them");
        std::process::exit(2);
    }
    let (rounds, nodes) = (args.rounds.max(1), args.nodes.max(4));
    let plan = Plan { rounds, seconds: args.seconds, held: args.held, nodes };
    let mut report = Report::default();
    for row in &ROWS {
        if args.rows.is_empty() || args.rows.iter().any(|name| name == row.name) {
            eprintln!("== {}: {}", row.name, row.what);
            (row.measure)(&plan, &mut report);
        }
    }
    let table = report.table(&plan);
    println!("{table}");
    if let Some(path) = args.json {
        std::fs::write(&path, report.json()).expect("the file can be written");
    }
    if let Some(path) = args.markdown {
        std::fs::write(&path, table).expect("the file can be written");
    }
}
