//! What a job takes in and leaves behind: blobs by their hashes.

use serde_json::{Map, Value};
use skyclaw_protocol::limits::{MAX_BUNDLE_PATH, MAX_JOB_FILES, MAX_TEXT_BYTES};
use skyclaw_protocol::{Hash, OutputFile};

use crate::error::ApiError;
use crate::json::fields::Fields;

fn bad(name: &str, text: &str) -> ApiError {
    ApiError::BadField(format!("{name} {text}"))
}

fn items<'a>(value: Option<&'a Value>, name: &str) -> Result<&'a [Value], ApiError> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) if items.len() <= MAX_JOB_FILES => Ok(items),
        Some(Value::Array(_)) => {
            Err(bad(name, &format!("must not have more than {MAX_JOB_FILES} entries")))
        }
        Some(_) => Err(bad(name, "must be an array")),
    }
}

fn hash(value: Option<&Value>, name: &str) -> Result<Hash, ApiError> {
    let hash = value.and_then(Value::as_str).and_then(|text| Hash::parse(text).ok());
    hash.ok_or_else(|| bad(name, "must name a hash of 64 hexadecimal digits"))
}

/// `payload.inputs` and `payload.outputs`: hosts read them; here their form is checked.
pub(super) fn check(payload: &Map<String, Value>) -> Result<(), ApiError> {
    const INPUTS: &str = "payload.inputs";
    for input in items(payload.get("inputs"), INPUTS)? {
        let input = input.as_object().ok_or_else(|| bad(INPUTS, "must hold objects"))?;
        hash(input.get("hash"), INPUTS)?;
        if let Some(path) = input.get("path").filter(|path| !path.is_null()) {
            let fits = path.as_str().is_some_and(|text| text.len() <= MAX_BUNDLE_PATH);
            fits.then_some(())
                .ok_or_else(|| bad(INPUTS, "has a path that is no text or too long"))?;
        }
        if input.get("unpack").is_some_and(|unpack| !unpack.is_boolean() && !unpack.is_null()) {
            return Err(bad(INPUTS, "has an unpack that is neither true nor false"));
        }
    }
    const OUTPUTS: &str = "payload.outputs";
    for glob in items(payload.get("outputs"), OUTPUTS)? {
        let fits = glob.as_str().is_some_and(|text| (1..=MAX_BUNDLE_PATH).contains(&text.len()));
        fits.then_some(()).ok_or_else(|| bad(OUTPUTS, "must hold globs"))?;
    }
    Ok(())
}

/// The files that a host says were kept.
pub(super) fn outputs(fields: &Fields<'_>) -> Result<Vec<OutputFile>, ApiError> {
    const NAME: &str = "outputs";
    let file = |file: &Value| {
        let path = file.get("path").and_then(Value::as_str);
        let path = path.filter(|path| path.len() <= MAX_TEXT_BYTES);
        Ok(OutputFile {
            path: path
                .ok_or_else(|| bad(NAME, "has a path that is no text or too long"))?
                .to_owned(),
            hash: hash(file.get("hash"), NAME)?,
            bytes: file
                .get("bytes")
                .and_then(Value::as_u64)
                .ok_or_else(|| bad(NAME, "has bytes that are no number"))?,
        })
    };
    items(fields.get(NAME), NAME)?.iter().map(file).collect()
}
