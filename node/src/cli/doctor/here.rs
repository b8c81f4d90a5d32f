//! OpenClaw on this very machine: what a host with the settings of this shell would find.

use std::path::Path;
use std::sync::Arc;

use super::Finding;
use super::facts::Facts;
use crate::config::{Config, DEFAULT_FILE, EnvVars, Key, Layer, Layers, Origin, Value};
use crate::openclaw::{Found, Install};
use crate::run;

const NAME: &str = "openclaw-here";

/// Looks as a host would. None where the settings are no host's.
pub(super) async fn look(env: &EnvVars, mut flags: Layer) -> Option<Result<Arc<Found>, String>> {
    let host = Value::List(vec!["host".to_owned()]);
    flags.set(Key::Role, host, Origin::Flag);
    let layers = Layers::load(flags, env, Path::new(DEFAULT_FILE)).map_err(|why| why.to_string());
    let resolved =
        layers.and_then(|layers| Config::resolve(&layers).map_err(|why| why.to_string()));
    let config = match resolved {
        Ok(resolved) => resolved.config.host?,
        Err(why) => return Some(Err(why)),
    };
    let policy = match run::policy::load(&config) {
        Ok(policy) => policy,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(run::look_at_openclaw(&config, policy).await.map_err(|error| error.to_string()))
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let found = match &facts.here {
        None => return Vec::new(),
        Some(Err(why)) => {
            let fix = "`skyclaw-node config` shows every setting and where it comes from";
            return vec![Finding::warn(NAME, format!("a host here would not start: {why}"), fix)];
        }
        Some(Ok(found)) => found,
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
        let facts = Facts { here: Some(found.map(Arc::new)), ..Facts::default() };
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
