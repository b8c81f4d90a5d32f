//! What the settings say of traces.
//!
//! The variables of OpenTelemetry are often set for all programs of a machine: one of them that makes no
//! sense here is warned about and ends no start.

use url::Url;

use super::error::{ConfigError, ConfigErrors};
use super::layer::Origin;
use super::mask::mask_urls;
use super::resolve::Settled;
use super::secret::Secret;
use super::setting::Key;

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// The url they are posted to, with its path; it may hold a password.
    pub endpoint: Secret,
    /// Headers that go with them, `name=value` separated by commas.
    pub headers: Option<Secret>,
    /// What this program is called there.
    pub service: String,
    /// Which traces are kept; not yet parsed.
    pub sampler: String,
    /// The share of them, where the sampler takes one; not yet parsed.
    pub share: Option<String>,
}

/// Whether this program can send traces.
const BUILT_IN: bool = cfg!(feature = "otel");

impl Settled {
    /// Where traces go, if anywhere, and what to warn of.
    pub(super) fn traces(
        &self,
        warnings: &mut Vec<String>,
    ) -> Result<Option<TraceConfig>, ConfigErrors> {
        let own = self.optional(Key::Otlp);
        let in_file = matches!(self.origin(Key::Otlp), Some(Origin::File { .. }));
        // The environment goes before the file, also where its names are those of OpenTelemetry.
        let keys = match in_file {
            false => [Key::Otlp, Key::OtelTracesEndpoint, Key::OtelEndpoint],
            true => [Key::OtelTracesEndpoint, Key::OtelEndpoint, Key::Otlp],
        };
        let given = keys.into_iter().find_map(|key| Some((key, self.optional(key)?)));
        let Some((key, url)) = given else { return Ok(None) };
        let name = key.setting().env;
        if !is_http(&url) {
            let (found, allowed) = (mask_urls(&url), "a url such as http://127.0.0.1:4318");
            if key == Key::Otlp {
                let origin = self.origin(key).unwrap_or(Origin::Default);
                let allowed = allowed.to_owned();
                return Err(ConfigError::Value { setting: name, origin, found, allowed }.into());
            }
            warnings.push(format!("{name} (env) is `{found}`, not {allowed}: no traces are sent"));
            return Ok(None);
        }
        if !BUILT_IN {
            let what = if own.is_some() { Key::Otlp.setting().env } else { name };
            warnings.push(format!(
                "{what} asks for traces, which this program was built without: no traces are sent \
                 (build it with `--features otel`)"
            ));
        }
        let endpoint = match key {
            Key::OtelTracesEndpoint => url,
            _ => format!("{}/v1/traces", url.trim_end_matches('/')),
        };
        Ok(Some(TraceConfig {
            endpoint: Secret::new(endpoint),
            headers: self.secret(Key::OtelHeaders),
            service: self.text(Key::OtelServiceName),
            sampler: self.text(Key::OtelSampler),
            share: self.optional(Key::OtelSamplerArg),
        }))
    }
}

fn is_http(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
