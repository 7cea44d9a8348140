//! `StoreError`: what can go wrong, and its code.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use hearth_domain::{Code, JobState, TransitionError};

/// Anything that the store refuses or cannot do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such resource.
    #[error("{kind} {name} does not exist")]
    NotFound {
        /// Kind of resource.
        kind: &'static str,
        /// Its name or id.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} {name} exists already")]
    AlreadyExists {
        /// Kind of resource.
        kind: &'static str,
        /// Its name or id.
        name: String,
    },
    /// The job changed while the caller was deciding.
    #[error("job is in state {found} and no longer in {expected}; try again")]
    Changed {
        /// What the caller saw.
        expected: JobState,
        /// What it is now.
        found: JobState,
    },
    /// The state of the job does not allow this.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// The state of a resource does not allow this.
    #[error("{kind} {name} {message}")]
    WrongState {
        /// Kind of resource.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What does not fit, and what to do.
        message: &'static str,
    },
    /// The account may not do this while it is suspended.
    #[error("{name} is suspended; ask the operator of this server")]
    Suspended {
        /// `accounts/{account}`.
        name: String,
    },
    /// Not a token of this list.
    #[error("pageToken is not one that this list gave for the same parent, orderBy and filter")]
    PageToken,
    /// Below 0.
    #[error("pageSize {0} is below 0")]
    PageSize(i32),
    /// Not a plain file name.
    #[error(
        "file name {0:?} is not allowed: 1 to 200 bytes (a letter outside ASCII takes three for each of its own), no \
         slash, no control character, no dot first"
    )]
    FileName(String),
    /// Not a name of a model's file.
    #[error(
        "file name {0:?} is not allowed: a name, or a folder and a name with a slash between, of 1 to 200 bytes each, \
         without control characters"
    )]
    ModelFileName(String),
    /// Another request writes the same upload.
    #[error("another request is still writing this upload; ask for its state and go on in a moment")]
    PartInUse,
    /// More bytes than allowed.
    #[error("upload is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Not as many bytes as announced.
    #[error("upload has {found_bytes} bytes and {expected_bytes} were announced")]
    SizeDiffers {
        /// What was announced.
        expected_bytes: u64,
        /// What came.
        found_bytes: u64,
    },
    /// The client went away in the middle.
    #[error("upload broke off")]
    BrokenOff {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A signed URL whose time is over.
    #[error("signed url has expired; ask for a new one")]
    UrlExpired,
    /// A signed URL that this server did not sign like this.
    #[error("signed url is not valid: it was altered or signed by another server")]
    UrlAltered,
    /// The database refused.
    #[error("database error")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("cannot update the database schema")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A row holds something that this program cannot read.
    #[error("{kind} {name} is damaged in the database")]
    Damaged {
        /// Kind of resource.
        kind: &'static str,
        /// Its name or id.
        name: String,
        /// Where.
        source: serde_json::Error,
    },
    /// A file holds something that this program cannot read.
    #[error("{path} is not a valid {what}: {message}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The object store refused.
    #[error("object storage error")]
    Object(#[source] object_store::Error),
}

impl StoreError {
    /// Class of the error.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Changed { .. } => Code::Aborted,
            Self::Transition(_) | Self::WrongState { .. } | Self::Suspended { .. } => {
                Code::FailedPrecondition
            }
            Self::PageToken
            | Self::PageSize(_)
            | Self::FileName(_)
            | Self::ModelFileName(_)
            | Self::TooLarge { .. }
            | Self::SizeDiffers { .. } => Code::InvalidArgument,
            Self::BrokenOff { .. } => Code::Cancelled,
            Self::PartInUse => Code::Unavailable,
            Self::UrlExpired | Self::UrlAltered => Code::PermissionDenied,
            Self::Database(error) => database_code(error),
            Self::Io { .. } | Self::Object(_) if is_full(self) => Code::ResourceExhausted,
            Self::Migrate(_)
            | Self::Damaged { .. }
            | Self::Format { .. }
            | Self::Io { .. }
            | Self::Object(_) => Code::Internal,
        }
    }
}

/// Whether the cause of an error, or the cause of that, is that a disk or its owner's share of it is full.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What the database refuses because of others, or of the disk, is no defect. The numbers are SQLite's result codes
/// (sqlite.org/rescode.html); the low byte is the class.
fn database_code(error: &sqlx::Error) -> Code {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const FULL: u32 = 13;
    match error {
        // All connections wait for the lock that another program holds.
        sqlx::Error::PoolTimedOut => Code::Unavailable,
        sqlx::Error::Database(found) => {
            let number = found.code().and_then(|code| code.parse::<u32>().ok());
            match number.map(|number| number & 0xff) {
                Some(BUSY | LOCKED) => Code::Unavailable,
                Some(FULL) => Code::ResourceExhausted,
                _ => Code::Internal,
            }
        }
        other if is_full(other) => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

/// For `map_err`: what was tried, and on which file.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_are_told_from_defects() {
        let io = |kind| io::Error::new(kind, "x");
        let object = |source: io::Error| {
            StoreError::Object(object_store::Error::Generic { store: "local", source: Box::new(source) })
        };
        for (kind, expect) in [
            (io::ErrorKind::StorageFull, Code::ResourceExhausted),
            (io::ErrorKind::QuotaExceeded, Code::ResourceExhausted),
            (io::ErrorKind::PermissionDenied, Code::Internal),
        ] {
            assert_eq!(io_error("write", Path::new("x"))(io(kind)).code(), expect);
            assert_eq!(object(io(kind)).code(), expect);
            assert_eq!(StoreError::Database(sqlx::Error::Io(io(kind))).code(), expect);
        }
        assert_eq!(StoreError::Database(sqlx::Error::PoolTimedOut).code(), Code::Unavailable);
        assert_eq!(StoreError::Database(sqlx::Error::RowNotFound).code(), Code::Internal);
    }
}
