//! The rules of a host's owner: read for its start, and shown by `skyclaw-node policy`.

use super::sandbox;
use crate::config::Config;
use crate::supervisor::policy::{
    Place, Policy, PolicyError, PolicyFile, Section, Sources, Verdict,
};

/// Exit codes of a shell for a command that may not be run, and for one that is not there.
const NOT_ALLOWED: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Reads the policy file that the settings name, if they name one.
///
/// # Errors
/// It cannot be read, others could have written it, or it is no policy.
pub fn load(config: &Config) -> Result<Option<PolicyFile>, PolicyError> {
    let settings = config.host.as_ref();
    let Some((settings, path)) = settings.and_then(|it| Some((it, it.policy.as_ref()?))) else {
        return Ok(None);
    };
    let daemon = environment();
    let home = daemon.iter().find(|(name, _)| name == "HOME").map(|(_, value)| value.as_str());
    let own = sandbox::own(config);
    let place = Place { work_root: settings.work_dir.as_deref(), home, own: &own };
    PolicyFile::load(path, place).map(Some)
}

/// The daemon's environment, as far as it is text: what is not cannot be handed on. A job sees the
/// few names of it that policy allows.
pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What the rules say to a command and its arguments, or what they are if there is none; with the
/// exit code to end with.
///
/// # Errors
/// A sentence for the user.
pub fn ask(config: &Config, section: Section, command: &[String]) -> Result<(String, u8), String> {
    let without = "only hosts run commands; SKYCLAW_ROLE names none";
    let settings = config.host.as_ref().ok_or(without)?;
    let sources = Sources {
        names: settings.allowed_commands.clone(),
        names_are_set: settings.allowed_commands_are_set,
        file: load(config).map_err(|error| error.to_string())?,
    };
    let policy = Policy::new(&sources, &environment());
    let Some((command, args)) = command.split_first() else { return Ok((policy.summary(), 0)) };
    Ok(match policy.explain(section, command, args) {
        (Verdict::Run(path), rule) => (format!("allowed: {command} is {path} ({rule})"), 0),
        (Verdict::Missing(_), rule) => {
            (format!("allowed, but there is no such program here: {command} ({rule})"), NOT_FOUND)
        }
        (Verdict::Refused(_), rule) => {
            let mut text = format!("command not allowed: {command} ({rule})");
            if !args.is_empty() {
                let seen = Policy::written(args);
                let seen = seen.as_deref().unwrap_or("(nothing that a pattern can match)");
                text.push_str(&format!("\nits arguments, as patterns see them: {seen}"));
            }
            (text, NOT_ALLOWED)
        }
    })
}
