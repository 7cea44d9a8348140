//! Response bodies that their clients do not take in are given up: what they hold is freed, be it a file or a chat.
//!
//! Over HTTP/1 a client that stops reading stops the connection, which has a limit of its own. Over HTTP/2 it may stop
//! one stream, and nobody asks that stream's body for anything any more; so somebody else has to look.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::metrics::Metrics;

/// The client did not take in the answer.
#[derive(Debug, thiserror::Error)]
#[error("the client did not take in the answer")]
struct GivenUp;

struct Shared {
    /// Gone when it was given up.
    body: Option<Body>,
    /// Since when the client has had something to take in.
    since: Option<Instant>,
}

struct Limited {
    shared: Arc<Mutex<Shared>>,
    limit: Duration,
    metrics: Arc<Metrics>,
    is_watched: bool,
}

/// Gives `body` up when the client takes in nothing of it for `limit`.
pub(crate) fn limited(body: Body, limit: Duration, metrics: Arc<Metrics>) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let shared = Arc::new(Mutex::new(Shared { body: Some(body), since: None }));
    Body::new(Limited { shared, limit, metrics, is_watched: false })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at a body until it is dropped or given up.
async fn watch(shared: Weak<Mutex<Shared>>, limit: Duration, metrics: Arc<Metrics>) {
    let mut wait = limit;
    loop {
        tokio::time::sleep(wait).await;
        let Some(shared) = shared.upgrade() else { return };
        let mut shared = lock(&shared);
        wait = match shared.since.map(|since| since.elapsed()) {
            Some(elapsed) if elapsed >= limit => {
                shared.body = None;
                metrics.reply_given_up();
                return;
            }
            Some(elapsed) => limit - elapsed,
            None => limit,
        };
    }
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let mut shared = lock(&this.shared);
        shared.since = None;
        let Some(body) = &mut shared.body else {
            return Poll::Ready(Some(Err(axum::Error::new(GivenUp))));
        };
        let polled = Pin::new(&mut *body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) && !body.is_end_stream() {
            shared.since = Some(Instant::now());
            if !this.is_watched {
                this.is_watched = true;
                tokio::spawn(watch(Arc::downgrade(&this.shared), this.limit, Arc::clone(&this.metrics)));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared).body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.shared).body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    /// An endless body that notes when it is dropped.
    fn endless(held: Arc<()>) -> Body {
        Body::from_stream(stream::repeat_with(move || {
            let _held = &held;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_frees_what_it_held() {
        let limit = Duration::from_secs(10);
        let held = Arc::new(());
        let mut body = limited(endless(Arc::clone(&held)), limit, Arc::new(Metrics::new()));
        for _ in 0..5 {
            body.frame().await.unwrap().unwrap();
            tokio::time::sleep(limit - Duration::from_secs(1)).await;
        }
        assert_eq!(Arc::strong_count(&held), 2);
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(limit * 2).await;
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(body.frame().await.unwrap().unwrap_err().to_string().contains("did not take in"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_has_nothing_to_send_is_waited_for() {
        let limit = Duration::from_secs(10);
        let slow = stream::once(async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        });
        let body = limited(Body::from_stream(Box::pin(slow)), limit, Arc::new(Metrics::new()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "x");
    }
}
