//! A run that shows whether a sandbox can be made here, before there is any job.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::keep;
use super::program::{Part, Program, Start};
use super::wire::{self, Event, Launch};
use super::workdir::WorkRoot;
use crate::sandbox::{Ground, Profile};

/// How long it may take: machines that are starting are slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that every system has, and that ends well at once.
const PROGRAMS: [&str; 2] = ["/bin/true", "/usr/bin/true"];

/// Runs a program in the sandbox of `ground`. The error is the reason why that did not work.
pub(crate) fn run(
    program: &Program,
    work_dir: &Path,
    ground: &Ground,
    profile: Profile,
) -> Result<(), String> {
    let tried = PROGRAMS.into_iter().find(|path| Path::new(path).exists());
    let tried = tried.ok_or("a trial: there is no /bin/true here")?.to_owned();
    let root = WorkRoot::create(work_dir, ground.level);
    let root = root.map_err(|error| format!("a folder for runs: {error}"))?;
    let dir = root.job().map_err(|error| format!("a folder for a run: {error}"))?;
    let places = keep::hand_over(&dir).map_err(|error| format!("a user for a run: {error}"))?;
    let launch = Launch {
        arg0: tried.clone(),
        program: tried,
        args: Vec::new(),
        cwd: dir.work.clone(),
        env: Vec::new(),
        stdin: None,
        profile,
        places: Some(places),
    };
    ask(program, ground, &launch).unwrap_or_else(|error| Err(format!("a trial: {error}")))
}

fn ask(program: &Program, ground: &Ground, launch: &Launch) -> io::Result<Result<(), String>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    let mut child = Command::new(program.path())
        .arg0_and(Part::Shim)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wire::send(&ours, ground)?;
    wire::send(&ours, launch)?;
    let mut answer = None;
    while let Ok(event) = wire::receive::<Event>(&mut ours) {
        let said = match event {
            Event::Unkept { text } | Event::Over { text } => Err(text),
            Event::NotStarted { text, .. } => Err(format!("starting a program: {text}")),
            Event::Exited { code: Some(0), .. } => Ok(()),
            Event::Exited { code, .. } => Err(format!("a program ended with {code:?}")),
            Event::Gone => break,
            Event::Ready | Event::Starting | Event::Started { .. } | Event::Expired => continue,
        };
        answer.get_or_insert(said);
    }
    // It ends by itself, or because its socket closes.
    drop(ours);
    child.wait()?;
    Ok(answer.unwrap_or_else(|| Err("a trial: it ended without a word".to_owned())))
}
