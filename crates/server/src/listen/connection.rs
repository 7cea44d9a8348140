//! One connection: its handshake, its requests, and when it is closed.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::util::MapRequest;

use super::Listening;
use super::stall::StallLimit;
use crate::limits::CLOSE_TIMEOUT;
use crate::metrics::Refusal;
use crate::tls::Tls;

/// First byte of every TLS record of a handshake.
const TLS_HANDSHAKE_RECORD: u8 = 22;
/// What a client reads that speaks plain HTTP to a port with TLS.
const SPEAK_TLS: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\
                         content-length: 84\r\n\r\n\
                         {\"code\":3,\"message\":\"this port speaks TLS; the URL begins with https\",\"details\":[]}\n";

/// What requests know of their connection; in their extensions.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The other end.
    pub(crate) peer: IpAddr,
    /// Whether it is encrypted.
    pub(crate) is_tls: bool,
    activity: Arc<Activity>,
}

impl Connection {
    fn new(peer: SocketAddr, is_tls: bool) -> Self {
        Self { peer: peer.ip().to_canonical(), is_tls, activity: Arc::new(Activity::new()) }
    }

    /// The connection is not idle while this is held.
    pub(crate) fn busy(&self) -> Busy {
        self.activity.open.fetch_add(1, Ordering::SeqCst);
        Busy(Arc::clone(&self.activity))
    }
}

/// Counts the open requests of a connection.
#[derive(Debug)]
struct Activity {
    begin: Instant,
    open: AtomicUsize,
    /// Milliseconds after `begin` when the last request ended; 0 before the first one.
    last_end_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { begin: Instant::now(), open: AtomicUsize::new(0), last_end_ms: AtomicU64::new(0) }
    }

    /// Resolves when no request was open for as long as allowed: less before the first one.
    async fn idle(&self, first: Duration, later: Duration) {
        loop {
            let last_ms = self.last_end_ms.load(Ordering::SeqCst);
            let limit = if last_ms == 0 { first } else { later };
            let is_open = self.open.load(Ordering::SeqCst) > 0;
            let wait = if is_open {
                later
            } else {
                (Duration::from_millis(last_ms) + limit).saturating_sub(self.begin.elapsed())
            };
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// One open request of a connection.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now_ms = u64::try_from(self.0.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_end_ms.store(now_ms.max(1), Ordering::SeqCst);
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    listening: &Listening,
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let connection = Connection::new(peer, listening.tls.is_some());
    let _open = listening.metrics.connection(connection.is_tls);
    let Some(tls) = &listening.tls else {
        return requests(listening, builder, stream, connection).await;
    };
    let shaken = tokio::select! {
        () = listening.stop.draining.cancelled() => return,
        shaken = tokio::time::timeout(listening.limits.handshake_timeout, handshake(tls, stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => requests(listening, builder, stream, connection).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            listening.metrics.refused(Refusal::Handshake);
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            listening.metrics.refused(Refusal::HandshakeTimeout);
        }
    }
}

/// Turns away who does not speak TLS, with a sentence for those who speak plain HTTP.
async fn handshake(
    tls: &Tls,
    mut stream: TcpStream,
) -> std::io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] == TLS_HANDSHAKE_RECORD {
        return tls.acceptor().accept(stream).await;
    }
    if first[0].is_ascii_uppercase() {
        stream.write_all(SPEAK_TLS.as_bytes()).await?;
        stream.shutdown().await?;
        // A socket that is closed with bytes unread resets the connection, and the sentence is lost.
        let mut rest = [0; 4096];
        while tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await? > 0 {}
    }
    Err(std::io::Error::other("the client does not speak TLS"))
}

async fn requests(
    listening: &Listening,
    builder: &Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
) {
    let limits = &listening.limits;
    let stop = &listening.stop;
    let activity = Arc::clone(&connection.activity);
    let app = MapRequest::new(listening.app.clone(), move |mut request: Request<_>| {
        request.extensions_mut().insert(connection.clone());
        request
    });
    let stream = TokioIo::new(StallLimit::new(stream, limits.write_stall_timeout));
    let mut served = pin!(builder.serve_connection(stream, TowerToHyperService::new(app)));
    let mut idle = pin!(activity.idle(limits.head_timeout, limits.keep_alive_timeout));
    let mut is_closing = false;
    let mut close = pin!(tokio::time::sleep(CLOSE_TIMEOUT));
    let mut must_close = false;
    loop {
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = stop.cut.cancelled() => return,
            () = stop.draining.cancelled(), if !is_closing => {
                is_closing = true;
                served.as_mut().graceful_shutdown();
            }
            () = idle.as_mut(), if !must_close => {
                is_closing = true;
                must_close = true;
                served.as_mut().graceful_shutdown();
                close.as_mut().reset(tokio::time::Instant::now() + CLOSE_TIMEOUT);
            }
            () = close.as_mut(), if must_close => return,
        }
    }
}
