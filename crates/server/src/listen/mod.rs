//! The one port: HTTP/1.1 and HTTP/2, plain or over TLS, within the limits of [`crate::limits`].

mod connection;
mod stall;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::connection::{Busy, Connection};
use crate::limits::{
    HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, HTTP2_RESETS_PENDING_MAX, HTTP2_RESETS_SENT_MAX,
    PARSER_HEAD_MAX_BYTES, PARSER_HEADERS_MAX, SEND_BUFFER_MAX_BYTES, STREAMS_PER_CONNECTION_MAX,
    ServerLimits,
};
use crate::metrics::Metrics;
use crate::tls::Tls;

/// Pause after a failed accept (for example when the process has no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How a server stops, in this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// It is known that the server will stop: it says that it is not ready.
    pub(crate) announced: CancellationToken,
    /// No new connections and no new requests; open requests end.
    pub(crate) draining: CancellationToken,
    /// What is still open is cut off.
    pub(crate) cut: CancellationToken,
}

/// All that connections share.
pub(crate) struct Listening {
    pub(crate) app: Router,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) limits: Arc<ServerLimits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: Stop,
}

/// Serves connections until [`Stop::draining`], then lets open requests end.
pub(crate) async fn run(listener: TcpListener, listening: Listening) {
    let listening = Arc::new(listening);
    let builder = Arc::new(builder(&listening.limits));
    let permits = Arc::new(Semaphore::new(listening.limits.connections_max));
    let connections = TaskTracker::new();
    let Stop { draining, cut, .. } = listening.stop.clone();
    loop {
        let permit = tokio::select! {
            () = draining.cancelled() => break,
            permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let (stream, peer) = tokio::select! {
            () = draining.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set nodelay");
        }
        let (listening, builder) = (Arc::clone(&listening), Arc::clone(&builder));
        connections.spawn(async move {
            connection::serve(&listening, &builder, stream, peer).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => return,
        () = cut.cancelled() => {}
        () = tokio::time::sleep(listening.limits.shutdown_timeout) => {}
    }
    tracing::warn!(connections = connections.len(), "open requests are cut off");
    cut.cancel();
    connections.wait().await;
}

fn builder(limits: &ServerLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(PARSER_HEAD_MAX_BYTES)
        .max_headers(PARSER_HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(HTTP2_RESETS_SENT_MAX)
        .max_send_buf_size(SEND_BUFFER_MAX_BYTES)
        .max_header_list_size(PARSER_HEAD_MAX_BYTES as u32);
    builder
}
