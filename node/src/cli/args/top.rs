//! The command line of `top`.

use clap::Args;

/// `skyclaw top`.
#[derive(Args, Debug)]
#[command(after_help = "\
Keys: q ends it, tab goes to the next list, arrows, page up and page down move in it.
While no coordinator answers it says so and tries on. Where standard output is no terminal, what there
is now is printed once.")]
pub(in crate::cli) struct Top {
    /// Print what there is now, and end
    #[arg(long)]
    pub(in crate::cli) once: bool,
}
