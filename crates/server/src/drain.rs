//! Reading what a handler left of a request's body.
//!
//! A handler that refuses a request early reads nothing of it. Over HTTP/1 the connection would then be closed under
//! a client that still sends, or that sends its next request: it would see a broken connection instead of the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Version, header};

/// Most bytes that are read and thrown away; above it the connection is closed.
const DRAIN_MAX_BYTES: usize = 16 << 20;
/// Longest time that this may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a request that is being handled.
pub(crate) struct Rest {
    shared: Arc<Mutex<Shared>>,
    /// The client sends its body only when it is asked to.
    client_waits: bool,
}

struct Shared {
    pieces: BodyDataStream,
    is_asked_for: bool,
}

impl Shared {
    fn poll(shared: &Mutex<Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.is_asked_for = true;
        shared.pieces.poll_next_unpin(context)
    }
}

impl Rest {
    /// Shares the body of an HTTP/1 request with its handler. Other versions have streams of their own to close.
    pub(crate) fn share(request: &mut Request) -> Option<Self> {
        if request.version() >= Version::HTTP_2 {
            return None;
        }
        let pieces = std::mem::take(request.body_mut()).into_data_stream();
        let shared = Arc::new(Mutex::new(Shared { pieces, is_asked_for: false }));
        let of_handler = Arc::clone(&shared);
        let pieces = stream::poll_fn(move |context| Shared::poll(&of_handler, context));
        *request.body_mut() = Body::from_stream(pieces);
        Some(Self { shared, client_waits: request.headers().contains_key(header::EXPECT) })
    }

    /// Reads what is left; if it is too much, or the client has not begun to send it, says in the headers of the
    /// response that the connection ends with it.
    pub(crate) async fn drain(self, response: &mut HeaderMap) {
        let is_asked_for = self.shared.lock().unwrap_or_else(PoisonError::into_inner).is_asked_for;
        let is_read = (is_asked_for || !self.client_waits)
            && tokio::time::timeout(DRAIN_TIMEOUT, self.read()).await == Ok(true);
        if !is_read {
            response.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// True when the end is reached within the limit.
    async fn read(&self) -> bool {
        let mut left = DRAIN_MAX_BYTES;
        let mut pieces = stream::poll_fn(|context| Shared::poll(&self.shared, context));
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) if piece.len() <= left => left -= piece.len(),
                _ => return false,
            }
        }
        true
    }
}
