//! What can go wrong between a caller and the server.

use std::path::PathBuf;

use serde_json::Value;

/// Longest piece of an unexpected body that is repeated in an error.
const SHOWN_BODY_CHARS: usize = 200;

/// An error of one request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused the request.
    #[error("{code}: {message}{}", shown_request_id(.request_id))]
    Api {
        /// HTTP status.
        http_status: u16,
        /// Name of the `google.rpc` code, for example `NOT_FOUND`; an error of the chat endpoint has the
        /// OpenAI `type` here, for example `invalid_request_error`.
        code: String,
        /// What the server says about it.
        message: String,
        /// `x-request-id` of the answer: what an operator needs to find the request in the log.
        request_id: Option<String>,
    },
    /// No answer came.
    #[error("no answer from {url}: is the server running?")]
    Transport {
        /// Scheme and host that were asked; never a signed URL's query.
        url: String,
        /// Why.
        source: ureq::Error,
    },
    /// The certificates to check the server's own with are none.
    #[error("there is no certificate in the file of authorities; it is PEM, with BEGIN CERTIFICATE")]
    NoAuthority,
    /// An answer came that this client does not understand.
    #[error("unexpected answer from {url}: {detail}")]
    Protocol {
        /// Scheme and host that were asked.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The address of the server is not usable.
    #[error("{url:?} is not an http:// or https:// address")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// A local file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ClientError {
    /// The API's code name, if the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same request may be answered a little later: the server is away, stops, or has too much to do.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Api { http_status, .. } => matches!(http_status, 429 | 503),
            _ => false,
        }
    }

    /// Reads the error body of either face: `{code, message}` of the control plane, `{error: {...}}` of chat.
    pub(crate) fn from_body(http_status: u16, request_id: Option<String>, body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let inner = if value["error"].is_object() { &value["error"] } else { &value };
        let code = match &inner["code"] {
            Value::Number(number) => number.as_u64().and_then(rpc_code_name).map(str::to_owned),
            Value::String(name) if inner["type"].is_null() => Some(name.clone()),
            _ => None,
        };
        let code = code
            .or_else(|| inner["type"].as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("HTTP {http_status}"));
        let message = match inner["message"].as_str().filter(|text| !text.is_empty()) {
            Some(message) => message.to_owned(),
            None => shorten(&String::from_utf8_lossy(body)),
        };
        Self::Api { http_status, code, message, request_id }
    }
}

fn shown_request_id(request_id: &Option<String>) -> String {
    request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default()
}

/// The first characters of a body on one line, or a note that it was empty.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { "no message".into() } else { line.chars().take(SHOWN_BODY_CHARS).collect() }
}

/// Names of `google.rpc.Code`.
fn rpc_code_name(code: u64) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|index| NAMES.get(index).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expect: &str) {
        let error = ClientError::from_body(status, Some("r1".into()), body.as_bytes());
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn error_bodies_of_both_faces() {
        check(
            404,
            r#"{"code":5,"message":"no dataset d","details":[]}"#,
            "NOT_FOUND: no dataset d (request r1)",
        );
        check(
            404,
            r#"{"error":{"object":"error","type":"invalid_request_error","message":"no model","code":"NOT_FOUND"}}"#,
            "invalid_request_error: no model (request r1)",
        );
        check(
            403,
            r#"{"code":7,"message":""}"#,
            "PERMISSION_DENIED: {\"code\":7,\"message\":\"\"} (request r1)",
        );
        check(502, "<html>\n bad gateway</html>", "HTTP 502: <html> bad gateway</html> (request r1)");
        check(500, "", "HTTP 500: no message (request r1)");
    }
}
