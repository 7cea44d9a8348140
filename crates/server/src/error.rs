//! What can go wrong in a request, and what of it the client sees.

use std::error::Error;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hearth_domain::{Code, Quota};
use hearth_remote::RemoteError;
use hearth_store::{StoreError, is_full};
use http::{HeaderValue, StatusCode, header};
use prost::Message;
use tonic::Status;

use crate::limits::DISK_FULL_RETRY;
use crate::transcode::status::{
    BAD_REQUEST_URL, BadRequest, RpcStatus, Violation, error_response, with_quota_failure, with_retry_info,
};

/// All that a client learns of a defect; the log has the cause under the same request id.
pub(crate) const INTERNAL_MESSAGE: &str =
    "internal error; the server's log has the cause under this request's id";

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The request cannot be right, whatever the state of the server.
    #[error("{message}")]
    Invalid {
        /// What, where, what to do.
        message: String,
        /// Single fields or lines.
        violations: Vec<FieldViolation>,
    },
    /// A job that breaks rules; the code is that of the first violation.
    #[error("{}", joined(.violations))]
    Refused {
        /// Class of the first violation.
        code: Code,
        /// All of them.
        violations: Vec<FieldViolation>,
    },
    /// A body or file is larger than allowed.
    #[error("{what} is larger than {max_bytes} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it may be.
        max_bytes: u64,
    },
    /// The path is known, but not with this method.
    #[error("method {method} is not allowed here; allowed: {allow}")]
    WrongMethod {
        /// Method of the request.
        method: String,
        /// Methods of the path, divided by commas.
        allow: String,
    },
    /// No key, or an unknown one.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The key does not open this.
    #[error("{0}")]
    PermissionDenied(String),
    /// The resource does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The resource exists already.
    #[error("{0}")]
    AlreadyExists(String),
    /// The resource is not in a state for this.
    #[error("{0}")]
    FailedPrecondition(String),
    /// A limit of the server is reached.
    #[error("{0}")]
    ResourceExhausted(String),
    /// The account has as many as it may.
    #[error(
        "quota {} allows {}: {} are used, and {more} more would be; delete some, or ask the operator for more \
         (hearth serve --quota)", .quota.name(), .quota.limit, .quota.usage
    )]
    QuotaExceeded {
        /// Which quota.
        quota: Quota,
        /// How many would be made.
        more: u64,
    },
    /// Too many calls in a short time.
    #[error("too many {what}; try again in {} seconds", retry_after.as_secs_f64().ceil())]
    RateLimited {
        /// Which calls.
        what: &'static str,
        /// When the next one is allowed.
        retry_after: Duration,
    },
    /// The server does not do this.
    #[error("{0}")]
    Unimplemented(String),
    /// Not now; later perhaps.
    #[error("{0}")]
    Unavailable(String),
    /// It took too long.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The disk is full.
    #[error(
        "the server's disk is full, so nothing was stored; the operator has to free space before this can be repeated"
    )]
    DiskFull {
        /// What could not be written; only for the log.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another program holds the lock of the database for longer than is waited for.
    #[error("the database is locked by another program, so nothing was changed; try again in a moment")]
    Locked {
        /// What could not be done; only for the log.
        source: StoreError,
    },
    /// Work came to an end that says itself what it is.
    #[error("{}", .0.message)]
    Ended(hearth_domain::Status),
    /// The store refused or failed.
    #[error(transparent)]
    Store(StoreError),
    /// A defect of this program or the machine.
    #[error("{doing} failed")]
    Internal {
        /// What was tried.
        doing: &'static str,
        /// Why it failed; only for the log.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// One field (or one line of a file) and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, or `file:line` of a row.
    pub field: String,
    /// What is wrong.
    pub description: String,
}

fn joined(violations: &[FieldViolation]) -> String {
    let texts: Vec<String> =
        violations.iter().map(|one| format!("{}: {}", one.field, one.description)).collect();
    texts.join("; ")
}

impl ServerError {
    /// An INVALID_ARGUMENT without single fields.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), violations: Vec::new() }
    }

    /// An INVALID_ARGUMENT about one field.
    pub fn field(field: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        Self::invalid(format!("{field}: {description}")).with_violation(field, description)
    }

    /// Names a field of an INVALID_ARGUMENT; other errors stay as they are.
    pub fn with_violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        if let Self::Invalid { violations, .. } = &mut self {
            violations.push(FieldViolation { field: field.into(), description: description.into() });
        }
        self
    }

    /// A defect, with its cause for the log.
    pub fn internal(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        if is_full(&*source) { Self::DiskFull { source } } else { Self::Internal { doing, source } }
    }

    /// The code that clients see.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } | Self::TooLarge { .. } => Code::InvalidArgument,
            Self::Refused { code, .. } => *code,
            Self::WrongMethod { .. } | Self::Unimplemented(_) => Code::Unimplemented,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::PermissionDenied(_) => Code::PermissionDenied,
            Self::NotFound(_) => Code::NotFound,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::FailedPrecondition(_) => Code::FailedPrecondition,
            Self::ResourceExhausted(_)
            | Self::QuotaExceeded { .. }
            | Self::RateLimited { .. }
            | Self::DiskFull { .. } => Code::ResourceExhausted,
            Self::Unavailable(_) | Self::Locked { .. } => Code::Unavailable,
            Self::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Self::Ended(status) => status.code,
            Self::Store(error) => error.code(),
            Self::Internal { .. } => Code::Internal,
        }
    }

    /// What a resource says that failed with this error. The causes of a defect stand in the log alone.
    pub(crate) fn status(&self) -> hearth_domain::Status {
        self.log();
        let message =
            if self.code() == Code::Internal { INTERNAL_MESSAGE.to_owned() } else { self.to_string() };
        hearth_domain::Status::new(self.code(), message)
    }

    /// The HTTP status, where it is not the one of the code.
    fn http_override(&self) -> Option<StatusCode> {
        match self {
            Self::TooLarge { .. } => Some(StatusCode::PAYLOAD_TOO_LARGE),
            Self::WrongMethod { .. } => Some(StatusCode::METHOD_NOT_ALLOWED),
            _ => None,
        }
    }

    /// Logs the causes of a defect and of what the operator has to mend; of other errors nothing, since their texts may
    /// repeat what users sent.
    fn log(&self) {
        if self.code() != Code::Internal && !matches!(self, Self::DiskFull { .. } | Self::Locked { .. }) {
            return;
        }
        let mut causes = self.to_string();
        let mut at = self.source();
        while let Some(cause) = at {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            at = cause.source();
        }
        if self.code() == Code::Internal {
            tracing::error!(causes, "internal error");
        } else {
            tracing::error!(causes, "the server cannot write");
        }
    }
}

impl From<StoreError> for ServerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLarge { limit_bytes } => {
                Self::TooLarge { what: "the upload", max_bytes: limit_bytes }
            }
            other => match other.code() {
                Code::ResourceExhausted => Self::DiskFull { source: Box::new(other) },
                Code::Unavailable if matches!(other, StoreError::Database(_)) => {
                    Self::Locked { source: other }
                }
                _ => Self::Store(other),
            },
        }
    }
}

impl From<RemoteError> for ServerError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::NotFound(text) => Self::NotFound(text),
            RemoteError::Denied(text) => Self::PermissionDenied(text),
            RemoteError::Changed(text) => Self::Ended(hearth_domain::Status::new(Code::Aborted, text)),
            RemoteError::Unreachable(text) => Self::Unavailable(text),
            RemoteError::Invalid(text) => Self::invalid(text),
            RemoteError::Refused(text) => Self::FailedPrecondition(text),
            RemoteError::Internal { doing, source } => Self::Internal { doing, source },
        }
    }
}

impl From<ServerError> for Status {
    fn from(error: ServerError) -> Self {
        error.log();
        let code = tonic::Code::from_i32(error.code().number());
        let message = match error.code() {
            Code::Internal => INTERNAL_MESSAGE.to_owned(),
            _ => error.to_string(),
        };
        let retry_after = match &error {
            ServerError::RateLimited { retry_after, .. } => Some(*retry_after),
            ServerError::DiskFull { .. } => Some(DISK_FULL_RETRY),
            _ => None,
        };
        if let Some(retry_after) = retry_after {
            return with_retry_info(&Self::new(code, message), retry_after);
        }
        if let ServerError::QuotaExceeded { quota, .. } = &error {
            return with_quota_failure(&Self::new(code, &message), &quota.name(), &message);
        }
        let violations = match error {
            ServerError::Invalid { violations, .. } | ServerError::Refused { violations, .. } => violations,
            _ => Vec::new(),
        };
        if violations.is_empty() {
            return Self::new(code, message);
        }
        let violation = |one: FieldViolation| Violation { field: one.field, description: one.description };
        let bad = BadRequest { field_violations: violations.into_iter().map(violation).collect() };
        let any = prost_types::Any { type_url: BAD_REQUEST_URL.to_owned(), value: bad.encode_to_vec() };
        let rpc = RpcStatus { code: code as i32, message: message.clone(), details: vec![any] };
        Self::with_details(code, message, rpc.encode_to_vec().into())
    }
}

impl IntoResponse for ServerError {
    fn into_response(self) -> Response {
        let http = self.http_override();
        let allow = match &self {
            Self::WrongMethod { allow, .. } => HeaderValue::from_str(allow).ok(),
            _ => None,
        };
        let mut response = error_response(&Status::from(self), http);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reaches_the_client() {
        for code in Code::ALL {
            let error = ServerError::Refused { code: *code, violations: Vec::new() };
            assert_eq!(Status::from(error).code() as i32, code.number(), "{code:?}");
        }
    }

    #[test]
    fn causes_stay_inside() {
        let error = ServerError::internal("reading", std::io::Error::other("/secret/path"));
        let status = Status::from(error);
        assert_eq!(status.message(), INTERNAL_MESSAGE);
        let missing = StoreError::NotFound { kind: "dataset", name: "x".to_owned() };
        assert_eq!(Status::from(ServerError::from(missing)).message(), "dataset x does not exist");
    }

    #[test]
    fn a_full_disk_is_named_without_its_paths() {
        let full = || std::io::Error::new(std::io::ErrorKind::StorageFull, "/secret/path");
        let of_store = StoreError::Io { action: "write", path: "/secret/path".into(), source: full() };
        for error in [ServerError::internal("writing", full()), ServerError::from(of_store)] {
            let status = Status::from(error);
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            assert!(status.message().starts_with("the server's disk is full"), "{}", status.message());
        }
    }
}
