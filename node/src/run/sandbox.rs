//! What is kept apart on this machine: looked at for the start, and for `skyclaw doctor`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use skyclaw_protocol::SandboxLevel;

use super::StartError;
use crate::config::{Config, DEFAULT_FILE, TlsSource};
use crate::sandbox::{self, Finding, Limits, Sandbox, Wanted};
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
        hidden: own(config),
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
    sandbox::settle();
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
    let less = sandbox.findings().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match settings.sandbox {
        Some(SandboxLevel::None) => {}
        None if level < SandboxLevel::Isolated => {
            tracing::warn!("what runs here is kept apart as {level} only: {less}");
        }
        _ if less.is_empty() => tracing::info!(%level, "what runs here is kept apart"),
        _ => tracing::info!(%level, "what runs here is kept apart, without: {less}"),
    }
    told(&sandbox, rules);
    Ok(sandbox)
}

/// The node's own files, which no run may see wherever they lie: databases with all that lies beside
/// them under their names, settings, rules, and what is shared with agents alone.
pub(super) fn own(config: &Config) -> Vec<PathBuf> {
    let coordinator = config.coordinator.as_ref().map(|coordinator| &coordinator.db_path);
    let databases = coordinator.into_iter().chain(config.member().map(|link| &link.db_path));
    let databases: Vec<PathBuf> = databases.map(|path| real(path)).collect();
    let beside = databases.iter().flat_map(|path| {
        let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        let name = path.file_name().unwrap_or_default();
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).filter(move |entry| {
            let is = |found: &OsStr| found.as_encoded_bytes().starts_with(name.as_encoded_bytes());
            entry.file_name().is_some_and(is)
        })
    });
    let beside: Vec<PathBuf> = beside.collect();
    let settings = config.host.iter();
    let files = settings.flat_map(|it| [&it.policy, &it.openclaw_config, &it.settings_file]);
    let files = files.flatten().map(PathBuf::as_path).chain([Path::new(DEFAULT_FILE)]);
    let keys = config.host.iter().map(|it| it.key_path.clone());
    let tls = config.tls.as_ref().map(|tls| match &tls.source {
        TlsSource::Files { key, .. } => key.clone(),
        TlsSource::Acme(_) => config.acme_dir(),
    });
    let keys: Vec<PathBuf> = keys.chain(tls).map(|path| real(&path)).collect();
    databases.into_iter().chain(beside).chain(files.map(real)).chain(keys).collect()
}

/// Where a file is, or will be.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = std::fs::canonicalize(&whole) {
        return real;
    }
    match (whole.parent(), whole.file_name()) {
        (Some(folder), Some(name)) => real(folder).join(name),
        _ => whole,
    }
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
    for whose in [Whose::Jobs, Whose::Agents] {
        if level < SandboxLevel::Isolated && policy.has_list(whose) {
            let whose = whose.as_str();
            tracing::warn!(
                "the policy's egress of {whose} needs level isolated, and this host keeps its runs at {level}"
            );
        }
    }
}
