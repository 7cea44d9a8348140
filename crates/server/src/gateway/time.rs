//! Milliseconds and protobuf timestamps.

use prost_types::Timestamp;

/// Milliseconds since the Unix epoch as a timestamp.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
}

/// A timestamp as milliseconds since the Unix epoch, as near as they can say.
pub(crate) fn milliseconds(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000))
}
