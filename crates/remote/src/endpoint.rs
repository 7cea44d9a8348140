//! URLs of services that an operator names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `https://host` or `http://host:port`, without anything behind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads a URL. The error says what is expected.
    pub fn new(url: &str) -> Result<Self, String> {
        let is_base = url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && matches!(uri.path(), "" | "/")
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        if !is_base {
            return Err(format!("{url:?} is not of the form https://host or http://host:port"));
        }
        Ok(Self(url.trim_end_matches('/').to_owned()))
    }

    /// Without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether requests to it go without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.starts_with("http://")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
