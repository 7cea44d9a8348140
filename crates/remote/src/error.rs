//! What can go wrong with a file that lies elsewhere.

use std::error::Error;

use hearth_domain::Code;

/// Why a file cannot be read. The messages name buckets and keys, and hold nothing that a service answered but its status.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// There is no such bucket, folder or file.
    #[error("{0}")]
    NotFound(String),
    /// The service knows the caller, or not, and does not let it read.
    #[error("{0}")]
    Denied(String),
    /// The file is another one than at first.
    #[error("{0}")]
    Changed(String),
    /// The service does not answer, or not now: another attempt may help.
    #[error("{0}")]
    Unreachable(String),
    /// What was asked cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be read as things stand: a secret or a setting is not what it must be.
    #[error("{0}")]
    Refused(String),
    /// A defect of this program or the machine.
    #[error("{doing} failed")]
    Internal {
        /// What was tried.
        doing: &'static str,
        /// Why it failed; only for the log.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl RemoteError {
    /// A defect, with its cause for the log.
    pub(crate) fn internal(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal { doing, source: source.into() }
    }

    /// The class.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NotFound,
            Self::Denied(_) => Code::PermissionDenied,
            Self::Changed(_) => Code::Aborted,
            Self::Unreachable(_) => Code::Unavailable,
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Refused(_) => Code::FailedPrecondition,
            Self::Internal { .. } => Code::Internal,
        }
    }
}
