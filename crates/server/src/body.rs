//! Request bodies: counted, and given up when they do not come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::{Instant, Sleep};

use crate::limits::BODY_WINDOW_MIN_BYTES;
use crate::note::Note;

/// The client sends nothing, or next to nothing.
#[derive(Debug, thiserror::Error)]
#[error("the body did not come in time")]
struct Stalled;

/// A body that must bring [`BODY_WINDOW_MIN_BYTES`] in each `limit` of waiting for it, unless it ends before. Time in
/// which nobody asks for it does not count.
struct Watched {
    body: Body,
    note: Arc<Note>,
    limit: Duration,
    /// What is left of `limit`.
    left: Duration,
    /// Bytes since `left` was whole.
    came: usize,
    /// Since when the client is waited for.
    since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// Watches a request's body.
pub(crate) fn watched(body: Body, note: Arc<Note>, limit: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let timer = Box::pin(tokio::time::sleep(limit));
    Body::new(Watched { body, note, limit, left: limit, came: 0, since: None, timer })
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some(since) = this.since.take() {
                    this.left = this.left.saturating_sub(since.elapsed());
                }
                let len = match &frame {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                    _ => 0,
                };
                this.note.add_bytes_in(len);
                this.came += len;
                if this.came >= BODY_WINDOW_MIN_BYTES {
                    (this.came, this.left) = (0, this.limit);
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                if this.since.is_none() {
                    let now = Instant::now();
                    this.since = Some(now);
                    this.timer.as_mut().reset(now + this.left);
                }
                match this.timer.as_mut().poll(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        this.note.set_stalled();
                        // What comes later is of no use to anybody.
                        this.body = Body::empty();
                        Poll::Ready(Some(Err(axum::Error::new(Stalled))))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};
    use http_body_util::BodyExt;

    use super::*;
    use crate::note::Surface;

    /// Pieces of `len` bytes, each after `wait`.
    fn body(pieces: usize, len: usize, wait: Duration) -> Body {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(wait).await;
            Ok::<_, Infallible>(Bytes::from(vec![b'x'; len]))
        });
        Body::from_stream(Box::pin(pieces))
    }

    /// Bytes of the body, or `None` if it was given up.
    async fn read(body: Body) -> (Option<usize>, Arc<Note>) {
        let note = Arc::new(Note::new(String::new(), Surface::Rest, None));
        let watched = watched(body, Arc::clone(&note), Duration::from_secs(10));
        (watched.collect().await.ok().map(|all| all.to_bytes().len()), note)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_drops_are_given_up() {
        let second = Duration::from_secs(1);
        let (found, note) = read(body(9, 1, second)).await;
        assert_eq!((found, note.bytes_in(), note.is_stalled()), (Some(9), 9, false));
        let (found, note) = read(body(1000, 1, second)).await;
        assert_eq!((found, note.is_stalled()), (None, true));
        assert!(note.bytes_in() <= 10);
        let (found, _) = read(body(1, 1, second * 11)).await;
        assert_eq!(found, None);
        // A slow client that gets on is served, however long it takes.
        let (found, note) = read(body(100, BODY_WINDOW_MIN_BYTES / 5, second)).await;
        assert_eq!((found, note.is_stalled()), (Some(100 * (BODY_WINDOW_MIN_BYTES / 5)), false));
    }
}
