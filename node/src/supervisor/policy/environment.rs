//! What a job finds in its environment.
//!
//! Always: nothing of the daemon's but the few variables named here. Its token, its keys for
//! model providers and the like stay its own.

use std::collections::BTreeMap;

use super::resolve::DEFAULT_PATH;

/// Variables a job gets from the daemon's environment, besides `LC_*`.
const INHERITED: [&str; 4] = ["LANG", "TZ", "TERM", "PATH"];

/// The part of the environment that all jobs have in common.
#[derive(Clone, Debug)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    pub(super) fn new(daemon: &[(String, String)]) -> Self {
        let mut common: Vec<_> = daemon
            .iter()
            .filter(|(name, _)| INHERITED.contains(&name.as_str()) || name.starts_with("LC_"))
            .cloned()
            .collect();
        if !common.iter().any(|(name, _)| name == "PATH") {
            common.push(("PATH".into(), DEFAULT_PATH.into()));
        }
        Self(common)
    }

    /// The whole environment of a job.
    pub(super) fn of_job(
        &self,
        asked: &[(String, String)],
        home: &str,
        tmp: &str,
    ) -> Vec<(String, String)> {
        let mut all: BTreeMap<&str, &str> =
            self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (allowed, refused): (Vec<_>, Vec<_>) =
            asked.iter().partition(|(name, _)| may_set(name));
        all.extend(allowed.into_iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if !refused.is_empty() {
            tracing::info!(count = refused.len(), "left out variables that a job may not set");
        }
        all.insert("HOME", home);
        all.insert("TMPDIR", tmp);
        all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

/// Whether a payload may set this variable. Refused is what makes a program load or run other
/// code than the host meant, what makes it trust whom the host does not, what names the private
/// directories, and what is ours or OpenClaw's.
fn may_set(name: &str) -> bool {
    const PREFIXES: [&str; 8] =
        ["LD_", "DYLD_", "PYTHON", "PERL", "RUBY", "GIT_", "SKYCLAW_", "OPENCLAW_"];
    // The four from SHELLOPTS on do for bash and glibc what the named ones do: start-up options, a
    // prompt that is expanded (and so executed), loadable converters.
    const NAMES: [&str; 11] = [
        "PATH",
        "BASH_ENV",
        "ENV",
        "IFS",
        "HOME",
        "TMPDIR",
        "SHELLOPTS",
        "PS4",
        "GCONV_PATH",
        "NODE_PATH",
        "NODE_EXTRA_CA_CERTS",
    ];
    let mut bytes = name.bytes();
    // Other names are exported bash functions (`BASH_FUNC_ls%%`) or cannot be set at all.
    let is_name = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name
        && !NAMES.contains(&name)
        && !name.ends_with("_OPTIONS")
        && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn the_environment_is_the_few_of_the_daemon_and_what_the_payload_may_set() {
        let daemon = pairs(&[
            ("PATH", "/usr/bin"),
            ("LANG", "C.UTF-8"),
            ("LC_TIME", "C"),
            ("TZ", "UTC"),
            ("TERM", "dumb"),
            ("SKYCLAW_TOKEN", "secret"),
            ("OPENCLAW_GATEWAY_TOKEN", "secret"),
            ("ANTHROPIC_API_KEY", "secret"),
            ("OPENAI_API_KEY", "secret"),
            ("HOME", "/daemon"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ]);
        let asked = pairs(&[
            ("GREETING", "hi"),
            ("LANG", "de"),
            ("PATH", "/evil"),
            ("LD_PRELOAD", "/evil.so"),
            ("DYLD_INSERT_LIBRARIES", "x"),
            ("NODE_OPTIONS", "--require=/evil"),
            ("NODE_PATH", "/evil"),
            ("NODE_EXTRA_CA_CERTS", "/evil"),
            ("OPENCLAW_STATE_DIR", "/evil"),
            ("OPENCLAW_GATEWAY_URL", "ws://evil"),
            ("BASH_ENV", "/evil"),
            ("ENV", "/evil"),
            ("IFS", "x"),
            ("PYTHONPATH", "/evil"),
            ("PERL5LIB", "/evil"),
            ("RUBYOPT", "-r/evil"),
            ("GIT_SSH_COMMAND", "evil"),
            ("SKYCLAW_TOKEN", "x"),
            ("HOME", "/evil"),
            ("TMPDIR", "/evil"),
            ("BASH_FUNC_ls%%", "() { evil; }"),
            ("SHELLOPTS", "xtrace"),
            ("PS4", "$(evil)"),
            ("", "x"),
            ("A=B", "x"),
        ]);
        let got = Environment::new(&daemon).of_job(&asked, "/h", "/t");
        let expected = pairs(&[
            ("GREETING", "hi"),
            ("HOME", "/h"),
            ("LANG", "de"),
            ("LC_TIME", "C"),
            ("PATH", "/usr/bin"),
            ("TERM", "dumb"),
            ("TMPDIR", "/t"),
            ("TZ", "UTC"),
        ]);
        assert_eq!(got, expected);
    }

    #[test]
    fn without_a_path_of_its_own_a_daemon_gives_the_usual_one() {
        let got = Environment::new(&[]).of_job(&[], "/h", "/t");
        assert_eq!(got, pairs(&[("HOME", "/h"), ("PATH", DEFAULT_PATH), ("TMPDIR", "/t")]));
    }
}
