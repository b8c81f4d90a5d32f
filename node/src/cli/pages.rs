//! `completions` and `man`: they need neither settings nor a coordinator.

use std::process::ExitCode;

use super::args::{Completions, Man, all};
use super::error::CliError;
use super::output::Output;
use crate::pages;

pub(super) fn completions(args: &Completions, output: &mut Output) -> Result<ExitCode, CliError> {
    let text = pages::completions(&args.shell, all())
        .ok_or_else(|| CliError::Usage(format!("no completions for {}", args.shell)))?;
    output.text(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(args: &Man, output: &mut Output) -> Result<ExitCode, CliError> {
    match &args.folder {
        Some(folder) => pages::man_pages(all(), folder)
            .map_err(|error| CliError::Source(format!("{}: {error}", folder.display())))?,
        None => output.text(&String::from_utf8_lossy(&pages::man_page(all())?))?,
    }
    Ok(ExitCode::SUCCESS)
}
