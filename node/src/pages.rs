//! What shells and `man` know of the programs.
//!
//! Always: it is made of the definitions by which the command lines are read, so it tells of every
//! option there is and of no other.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// The shells that can be told.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// What lets this shell complete a command line; none if it is none of [`SHELLS`].
#[must_use]
pub fn completions(shell: &str, mut command: Command) -> Option<Vec<u8>> {
    let shell = match shell {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => return None,
    };
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut text);
    Some(text)
}

/// The man page of the program itself.
///
/// # Errors
/// None that this could bring about: it is written to memory.
pub fn man_page(mut command: Command) -> io::Result<Vec<u8>> {
    command.build();
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}

/// Writes the man pages of the program and of each subcommand to a folder, which is made if it is not
/// there.
///
/// # Errors
/// They cannot be written.
pub fn man_pages(command: Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}
