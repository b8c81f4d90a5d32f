//! What is kept apart on this machine: looked at for the start, and for `skyclaw doctor`.

use skyclaw_protocol::SandboxLevel;

use super::StartError;
use super::policy;
use crate::config::Config;
use crate::sandbox::{Finding, Limits, Sandbox, Wanted};
use crate::supervisor::policy::{Bounds, Policy, PolicyFile, Sources, Whose};

/// Tries the levels on this machine, as the settings and the owner's rules have them. A node that runs
/// nothing has none.
pub async fn look(config: &Config, rules: Option<&PolicyFile>) -> Sandbox {
    let Some(settings) = &config.host else { return Sandbox::none() };
    let folders = rules.map(PolicyFile::folders).cloned().unwrap_or_default();
    let wanted = Wanted {
        level: settings.sandbox,
        limits: limits(rules.map(PolicyFile::bounds).unwrap_or_default()),
        readable: folders.read,
        writable: folders.write,
        hidden: policy::own(config),
        work_dir: settings.work_dir.clone(),
        shim: None,
    };
    // It starts processes and waits for them.
    let probed = tokio::task::spawn_blocking(|| Sandbox::probe(wanted)).await;
    probed.unwrap_or_else(|_| Sandbox::none())
}

fn limits(bounds: Bounds) -> Limits {
    let usual = Limits::default();
    let disk_bytes = bounds.disk_bytes.unwrap_or(usual.disk_bytes);
    Limits {
        processes: bounds.processes.unwrap_or(usual.processes),
        memory_bytes: bounds.memory_bytes.unwrap_or(usual.memory_bytes),
        disk_bytes,
        // No file is larger than all of them may be.
        file_bytes: usual.file_bytes.min(disk_bytes),
        ..usual
    }
}

/// The same for a start, which ends where less is reached than is asked for.
///
/// # Errors
/// The level that the settings name, or the weakest they allow, is not reached.
pub(super) async fn start(
    config: &Config,
    rules: Option<&PolicyFile>,
) -> Result<Sandbox, StartError> {
    let Some(settings) = &config.host else { return Ok(Sandbox::none()) };
    let sandbox = look(config, rules).await;
    sandbox.check()?;
    let (level, least) = (sandbox.level(), settings.sandbox_min);
    if level < least {
        let mut text = format!("SKYCLAW_SANDBOX_MIN={least} is not reached here, only {level}");
        match settings.sandbox {
            Some(asked) => text.push_str(&format!(": SKYCLAW_SANDBOX={asked} asks for no more")),
            None => text.extend(deciding(&sandbox).map(|finding| format!("\n{finding}"))),
        }
        return Err(StartError::SandboxMin(text));
    }
    if level < SandboxLevel::Isolated && settings.sandbox.is_none() {
        let why = deciding(&sandbox).next().map(|finding| format!(": {finding}"));
        let why = why.unwrap_or_default();
        tracing::warn!("what runs here is kept at level {level}, which is not the strongest{why}");
    }
    told(&sandbox, rules);
    Ok(sandbox)
}

/// What keeps this machine from a stronger level.
fn deciding(sandbox: &Sandbox) -> impl Iterator<Item = &Finding> {
    sandbox.findings().iter().filter(|finding| finding.decides)
}

/// Says which rules of the owner cannot be kept at this level.
fn told(sandbox: &Sandbox, rules: Option<&PolicyFile>) {
    let Some(file) = rules.cloned() else { return };
    let level = sandbox.level();
    let policy = Policy::new(&Sources { file: Some(file), ..Sources::default() }, &[]);
    for whose in [Whose::Jobs, Whose::Services, Whose::Agents] {
        if level < SandboxLevel::Isolated && policy.has_list(whose) {
            let whose = whose.as_str();
            tracing::warn!(
                "the policy's egress of {whose} needs level isolated, and this host keeps its runs at {level}"
            );
        }
    }
}
