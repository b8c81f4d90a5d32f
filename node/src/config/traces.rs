//! What the settings say of traces.
//!
//! The variables of OpenTelemetry are often set for all programs of a machine: one of them that makes no
//! sense here is warned about and ends no start.
//!
//! Always: a url that is refused is not shown, since where its password ends is not known then.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use super::error::{ConfigError, ConfigErrors};
use super::layer::Origin;
use super::resolve::Settled;
use super::secret::{MASK, Secret};
use super::setting::Key;

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// The url they are posted to, with its path, which may be all that opens it; without user and password.
    pub endpoint: Secret,
    /// The user and password that stood in the url, `user:password`.
    pub basic: Option<Secret>,
    /// Headers that go with them, `name=value` separated by commas.
    pub headers: Option<Secret>,
    /// Longest wait for the collector.
    pub timeout: Duration,
    /// How long spans wait for others.
    pub delay: Duration,
    /// What this program is called there.
    pub service: String,
    /// Which traces are kept; not yet parsed.
    pub sampler: String,
    /// The share of them, where the sampler takes one; not yet parsed.
    pub share: Option<String>,
}

/// Whether this program can send traces.
const BUILT_IN: bool = cfg!(feature = "otel");

/// What a collector's url must be.
const ALLOWED: &str = "a url such as http://127.0.0.1:4318 (without query and fragment; in a password / ? # and @ \
     are %2F %3F %23 and %40)";

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
        let Some((endpoint, basic)) = destination(&url, key == Key::OtelTracesEndpoint) else {
            if key == Key::Otlp {
                let origin = self.origin(key).unwrap_or(Origin::Default);
                let (found, allowed) = (MASK.to_owned(), ALLOWED.to_owned());
                return Err(ConfigError::Value { setting: name, origin, found, allowed }.into());
            }
            warnings.push(format!("{name} (env) is not {ALLOWED}: no traces are sent"));
            return Ok(None);
        };
        if let Some(off) = self.off() {
            // Elsewhere both are usual; here somebody waits for traces.
            if own.is_some() {
                warnings.push(format!("{off}: no traces are sent"));
            }
            return Ok(None);
        }
        if !BUILT_IN {
            let what = if own.is_some() { Key::Otlp.setting().env } else { name };
            warnings.push(format!(
                "{what} asks for traces, which this program was built without: no traces are sent \
                 (build it with `--features otel`)"
            ));
        }
        let timeout = match self.number(Key::OtelTracesTimeout) {
            0 => self.duration(Key::OtelTimeout),
            set => Duration::from_millis(set),
        };
        Ok(Some(TraceConfig {
            endpoint,
            basic,
            headers: self.secret(Key::OtelTracesHeaders).or_else(|| self.secret(Key::OtelHeaders)),
            timeout,
            delay: self.duration(Key::OtelDelay),
            service: self.text(Key::OtelServiceName),
            sampler: self.text(Key::OtelSampler),
            share: self.optional(Key::OtelSamplerArg),
        }))
    }

    /// What turns traces off, if anything does.
    fn off(&self) -> Option<&'static str> {
        let is = |key, word: &str| {
            self.text(key).split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
        };
        if is(Key::OtelDisabled, "true") {
            return Some("OTEL_SDK_DISABLED (env) is true");
        }
        (!is(Key::OtelExporter, "otlp")).then_some("OTEL_TRACES_EXPORTER (env) is not otlp")
    }
}

/// The url that is posted to, and the user and password that stand in `text`; none if that is no url of a
/// collector. `whole` urls have their path already.
fn destination(text: &str, whole: bool) -> Option<(Secret, Option<Secret>)> {
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    // Of these, and of an @ in the path, each may be a part of a password that was not escaped.
    if url.query().is_some() || url.fragment().is_some() || url.path().contains('@') {
        return None;
    }
    let password = url.password();
    let basic = (!url.username().is_empty() || password.is_some()).then(|| {
        let read = |part| percent_decode_str(part).decode_utf8_lossy();
        Secret::new(format!("{}:{}", read(url.username()), read(password.unwrap_or_default())))
    });
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    if !whole {
        url.path_segments_mut().ok()?.pop_if_empty().extend(["v1", "traces"]);
    }
    Some((Secret::new(url), basic))
}
