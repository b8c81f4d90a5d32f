//! The one written form of a coordinator's url.

use url::Url;

use crate::text::trim;

/// Brings a url to the form in which urls are compared and stored: scheme and host in lower case,
/// no default port, user info, query or fragment, one trailing slash dropped. Any scheme is
/// accepted. `None` if the text is not an absolute url.
#[must_use]
pub fn normalize_url(text: &str) -> Option<String> {
    let mut url = Url::parse(trim(text)).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for urls that cannot have user info, which is what is wanted.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text = url.as_str();
    Some(text.strip_suffix('/').unwrap_or(text).to_owned())
}
