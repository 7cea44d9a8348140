//! `Code`: the classes of errors and outcomes, a subset of google.rpc.Code.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)+) => {
        /// Class of an error. Only `server` turns it into gRPC and HTTP codes.
        /// Source: googleapis, `google/rpc/code.proto`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub enum Code {
            $($(#[$doc])* $variant = $number,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The number of google.rpc.Code.
            pub fn number(self) -> i32 {
                self as i32
            }

            /// The name of google.rpc.Code, for example `INVALID_ARGUMENT`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Code::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    /// No error.
    #[default]
    Ok = 0, "OK";
    /// The caller went away or asked to stop.
    Cancelled = 1, "CANCELLED";
    /// Wrong whatever the state of the system.
    InvalidArgument = 3, "INVALID_ARGUMENT";
    /// Took too long.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    /// There is no such thing.
    NotFound = 5, "NOT_FOUND";
    /// There is such a thing already.
    AlreadyExists = 6, "ALREADY_EXISTS";
    /// The caller is known and may not.
    PermissionDenied = 7, "PERMISSION_DENIED";
    /// A quota, the memory or the disk is used up.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED";
    /// Right in itself, but not in the present state.
    FailedPrecondition = 9, "FAILED_PRECONDITION";
    /// Someone else changed it at the same moment; try again.
    Aborted = 10, "ABORTED";
    /// Not built.
    Unimplemented = 12, "UNIMPLEMENTED";
    /// A defect of this program or machine.
    Internal = 13, "INTERNAL";
    /// Not now; try again.
    Unavailable = 14, "UNAVAILABLE";
    /// The caller is not known.
    Unauthenticated = 16, "UNAUTHENTICATED";
}

/// What is wrong with a resource, or OK with an empty message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The class.
    pub code: Code,
    /// A sentence for the user.
    pub message: String,
}

impl Status {
    /// A status with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
