//! Why no coordinator answered as wanted.

use crate::config::mask_urls;

/// The last failure of a request. The texts of what the original knew are its, but for [`Self::Network`] and
/// [`Self::NoUrl`], which it called `fetch failed`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There was nobody to ask: nothing was sent.
    #[error("all coordinators unavailable")]
    NoCoordinators,
    /// No answer. Unknown whether the request was carried out.
    #[error("cannot reach the coordinator at {url}: {cause}")]
    Network {
        /// Who was asked, without user and password.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// Nobody can be asked at such a place: nothing was sent.
    #[error("{url} is no URL")]
    NoUrl {
        /// What was to be one, without user and password.
        url: String,
    },
    /// An answer other than 2xx: by the contract nothing was done.
    #[error("request failed ({status}): {body}")]
    Status {
        /// Its status.
        status: u16,
        /// Its text.
        body: String,
    },
    /// A 2xx answer that is no JSON: something else answers there.
    #[error("the answer of {url} is not JSON")]
    NotJson {
        /// Who was asked, without user and password.
        url: String,
    },
    /// A 2xx answer that is JSON and no object, as all answers are: something else answers there.
    #[error("the answer of {url} is no JSON object")]
    NoObject {
        /// Who was asked, without user and password.
        url: String,
    },
    /// An answer longer than is read: something else answers there.
    #[error("the answer of {url} is too long")]
    TooLong {
        /// Who was asked, without user and password.
        url: String,
    },
    /// The client cannot be set up: nothing was sent.
    #[error("{0}")]
    Setup(String),
}

impl ClientError {
    /// The innermost cause of an error of `reqwest`, whose own text repeats the url.
    pub(crate) fn network(url: &str, error: &reqwest::Error) -> Self {
        let url = mask_urls(url);
        if error.is_timeout() {
            let cause =
                if error.is_connect() { "no connection in time" } else { "no answer in time" };
            return Self::Network { url, cause: cause.to_owned() };
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        if error.is_builder() {
            return Self::NoUrl { url };
        }
        Self::Network { url, cause: cause.to_string() }
    }
}
