//! This very machine: what a host with the settings of this shell would find of OpenClaw, and how far it
//! would keep apart what it runs.

use std::path::Path;
use std::sync::Arc;

use super::Finding;
use super::facts::Facts;
use crate::config::{Config, DEFAULT_FILE, EnvVars, Key, Layer, Layers, Origin, Value};
use crate::openclaw::{Found, Install};
use crate::run;
use crate::sandbox::Sandbox;

const NAME: &str = "openclaw-here";

/// What a host here would find.
#[derive(Debug)]
pub(in crate::cli::doctor) struct Here {
    pub(super) openclaw: Result<Arc<Found>, String>,
    pub(super) sandbox: Sandbox,
}

/// Looks as a host would. None where the settings are no host's.
pub(super) async fn look(env: &EnvVars, mut flags: Layer) -> Option<Result<Here, String>> {
    let host = Value::List(vec!["host".to_owned()]);
    flags.set(Key::Role, host, Origin::Flag);
    let layers = Layers::load(flags, env, Path::new(DEFAULT_FILE)).map_err(|why| why.to_string());
    let resolved =
        layers.and_then(|layers| Config::resolve(&layers).map_err(|why| why.to_string()));
    let config = match resolved {
        Ok(resolved) => resolved.config,
        Err(why) => return Some(Err(why)),
    };
    let host = config.host.as_ref()?;
    let policy = match run::policy::load(&config) {
        Ok(policy) => policy,
        Err(error) => return Some(Err(error.to_string())),
    };
    let sandbox = run::sandbox::look(&config, policy.as_ref()).await;
    let openclaw = run::look_at_openclaw(host, policy).await.map_err(|error| error.to_string());
    Some(Ok(Here { openclaw, sandbox }))
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let found = match &facts.here {
        None => return Vec::new(),
        Some(Err(why)) => {
            let fix = "`skyclaw-node config` shows every setting and where it comes from";
            return vec![Finding::warn(NAME, format!("a host here would not start: {why}"), fix)];
        }
        Some(Ok(Here { openclaw: Ok(found), .. })) => found,
        Some(Ok(Here { openclaw: Err(why), .. })) => {
            let fix = "check SKYCLAW_WORK_DIR and the temporary directory";
            return vec![Finding::warn(NAME, format!("a host here runs nothing: {why}"), fix)];
        }
    };
    let version = found.version().map(ToString::to_string).unwrap_or_default();
    match (&found.install, found.told().and_then(|told| told.trouble)) {
        // A machine without it needs none.
        (Install::Missing | Install::Other, _) => Vec::new(),
        (Install::Unusable(why), _) => {
            let fix =
                "put it right, then see `openclaw --version`; a node here looks again by itself";
            vec![Finding::warn(NAME, format!("installed, but unusable: {why}"), fix)]
        }
        (Install::Usable(_), Some(why)) => {
            let fix = "a host here takes no agent jobs until this is put right, if it is to";
            vec![Finding::warn(NAME, format!("{version}: {why}"), fix)]
        }
        (Install::Usable(_), None) => {
            let models = found.models.len();
            vec![Finding::ok(NAME, format!("{version}, {models} models can be shared with jobs"))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;

    fn judged(found: Result<Found, String>) -> Vec<(Level, String)> {
        let here = |found| Here { openclaw: Ok(Arc::new(found)), sandbox: Sandbox::none() };
        let facts = Facts { here: Some(found.map(here)), ..Facts::default() };
        check(&facts).into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    #[test]
    fn one_that_is_unusable_is_told_with_its_reason_and_none_is_no_finding() {
        let broken = Install::Unusable("Node 20 is too old".to_owned());
        let broken = Found { install: broken, ..Found::default() };
        let told = "installed, but unusable: Node 20 is too old".to_owned();
        assert_eq!(judged(Ok(broken)), [(Level::Warn, told)]);
        assert_eq!(judged(Ok(Found::default())), []);
        assert!(judged(Err("no port".to_owned()))[0].1.contains("would not start: no port"));
    }
}
