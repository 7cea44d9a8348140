//! What can go wrong when a backend is made. Ops have no errors: wrong shapes are programmer errors and panic.

use crate::options::Isa;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A forced instruction set that this machine lacks.
    #[error(
        "this machine cannot run the {isa} kernels; leave the instruction set open or choose one of: {available}"
    )]
    IsaUnavailable {
        /// The one asked for.
        isa: Isa,
        /// Names of those that it has, separated by commas.
        available: String,
    },
    /// More worker threads than [`crate::MAX_THREADS`].
    #[error("{threads} threads asked for, at most {max} are supported")]
    TooManyThreads {
        /// The number asked for.
        threads: usize,
        /// The limit.
        max: usize,
    },
    /// The operating system refused a worker thread.
    #[error("cannot start a worker thread")]
    Spawn(#[source] std::io::Error),
}
