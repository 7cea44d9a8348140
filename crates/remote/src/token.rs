//! Tokens that are given for a while: kept until shortly before they end.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::cause::unreachable;
use crate::connector::Connector;
use crate::error::RemoteError;

/// How long before its end a token is replaced.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// Codes of refusals that go away, though they have the status of a wrong request: AWS' of its own load, of the authority
/// behind a token, and of a token that the platform is just replacing; Azure's of its own load.
const PASSING: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "IDPCommunicationError",
    "ExpiredToken",
    "ExpiredTokenException",
    "temporarily_unavailable",
    "server_error",
];
/// Longest token that says who this server is.
const OWN_TOKEN_MAX_BYTES: usize = 64 << 10;

/// Something that is true until some time.
pub(crate) struct Lasting<T> {
    pub(crate) value: Arc<T>,
    pub(crate) until: Instant,
}

/// The last token.
pub(crate) struct Kept<T>(Mutex<Option<Lasting<T>>>);

impl<T> Kept<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The one that is kept, or a new one if that ends soon.
    pub(crate) async fn get(
        &self,
        renew: impl Future<Output = Result<Lasting<T>, RemoteError>>,
    ) -> Result<Arc<T>, RemoteError> {
        let mut kept = self.0.lock().await;
        if let Some(lasting) = kept.as_ref().filter(|kept| kept.until > Instant::now() + RENEWED_BEFORE) {
            return Ok(Arc::clone(&lasting.value));
        }
        let new = renew.await?;
        let value = Arc::clone(&new.value);
        *kept = Some(new);
        Ok(value)
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(..)")
    }
}

/// The token that says who this server is. Platforms replace the file from time to time.
pub(crate) fn own_token(file: &Path) -> Result<Zeroizing<String>, RemoteError> {
    let read = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|source| {
        RemoteError::Refused(format!(
            "the server's own token cannot be read ({}); the operator must see to the file that hearth serve was told",
            source.kind()
        ))
    })?;
    let text = read.trim();
    if text.is_empty() || text.len() > OWN_TOKEN_MAX_BYTES {
        return Err(RemoteError::Refused(
            "the server's own token is empty or too long; the operator must see to the file that hearth serve was told"
                .to_owned(),
        ));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Sends a form; `who` answers with a status and a text.
pub(crate) async fn post(
    connector: &Connector,
    who: &'static str,
    url: String,
    fields: &[(&str, &str)],
) -> Result<(u16, Zeroizing<String>), RemoteError> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let (connector, form) = (connector.clone(), Zeroizing::new(form));
    let answer = tokio::task::spawn_blocking(move || connector.post_form(&url, &form))
        .await
        .map_err(|source| RemoteError::internal("asking for a token", source))?;
    let (status, text) = answer.map_err(|error| unreachable(&format!("{who} cannot be reached"), &error))?;
    match status {
        408 | 429 | 500.. => Err(RemoteError::Unreachable(format!("{who} answers with status {status}"))),
        _ => Ok((status, text)),
    }
}

/// The error of a service that gives nothing: `what` it does not do, with its status and code.
pub(crate) fn refused(what: &str, status: u16, code: &str) -> RemoteError {
    let message = format!("{what} (status {status}, {})", plain_code(code));
    if PASSING.contains(&code) { RemoteError::Unreachable(message) } else { RemoteError::Denied(message) }
}

/// A code that a service gives, if it is a plain word: other texts may repeat what it was sent.
fn plain_code(code: &str) -> &str {
    let is_plain = (1..=64).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_plain { code } else { "no code" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_refusals_go_away() {
        let check = |code: &str, expect: hearth_domain::Code, shown: &str| {
            let error = refused("no", 400, code);
            assert_eq!((error.code(), error.to_string()), (expect, format!("no (status 400, {shown})")));
        };
        use hearth_domain::Code::{PermissionDenied, Unavailable};
        for code in
            ["Throttling", "IDPCommunicationError", "ExpiredTokenException", "temporarily_unavailable"]
        {
            check(code, Unavailable, code);
        }
        for code in ["AccessDenied", "InvalidIdentityToken", "invalid_client"] {
            check(code, PermissionDenied, code);
        }
        check("a secret", PermissionDenied, "no code");
        check("", PermissionDenied, "no code");
    }
}
