//! Every limit of the HTTP side, in one place.

use std::time::Duration;

pub use hearth_store::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// Largest body of a control-plane call, over REST and over gRPC. Above it: 413 with code INVALID_ARGUMENT
/// (not RESOURCE_EXHAUSTED, which clients repeat).
pub const CONTROL_BODY_MAX_BYTES: usize = 4 << 20;
/// Largest question to server reflection.
pub const REFLECTION_MESSAGE_MAX_BYTES: usize = 64 << 10;
/// Longest time that a control-plane call may take before DEADLINE_EXCEEDED.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that checking the rows of a dataset may take (`:validateUpload`, `:upload`).
pub const VALIDATE_TIMEOUT: Duration = Duration::from_secs(900);
/// Largest file of the multipart `:upload`.
pub const MULTIPART_FILE_MAX_BYTES: u64 = 150 << 20;
/// Largest file of a signed upload.
pub const SIGNED_FILE_MAX_BYTES: u64 = 5 << 30;
/// Longest silence of a client in the middle of an upload.
pub const UPLOAD_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Uploads that may run at the same time; one more gets RESOURCE_EXHAUSTED.
pub const UPLOADS_MAX: usize = 8;
/// Locks that all datasets share: changes of more datasets at once may wait for each other.
pub const DATASET_LOCKS: usize = 64;
/// Open connections; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1024;
/// Streams of one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Bytes of a request's head (request line and headers).
pub const HEAD_MAX_BYTES: usize = 64 << 10;
/// Header fields of a request.
pub const HEADERS_MAX: usize = 100;
/// Longest time for a request's head to arrive.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Life of a signed URL.
pub const SIGNED_URL_LIFE: Duration = Duration::from_secs(3600);
/// Longest wait for open calls when the server stops.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Row errors that an answer lists one by one. gRPC clients take 8 KiB of trailers, message and details together.
pub const ROW_ERRORS_SHOWN: usize = 10;
/// Row errors that stand in the message itself.
pub const ROW_ERRORS_IN_MESSAGE: usize = 3;
