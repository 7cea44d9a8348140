//! How services are reached: blocking requests in threads of their own, their bodies a few pieces ahead of who reads
//! them.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::uri::Scheme;
use http_body::Frame;
use http_body_util::StreamBody;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use tokio::sync::{mpsc, oneshot};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::endpoint::Endpoint;
use crate::error::RemoteError;
use crate::services::Services;

/// Bytes of one piece of a body.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for who reads them.
const PIECES_AHEAD: usize = 4;
/// Longest time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for the head of an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for the body of an answer. Files are asked for in ranges, so none is long.
const BODY_TIMEOUT: Duration = Duration::from_secs(600);

/// Header in which Azure says what is wrong.
const AZURE_CODE_HEADER: &str = "x-ms-error-code";
/// What stands there for credentials that are no good.
const AZURE_NOT_AUTHENTICATED: &str = "InvalidAuthenticationInfo";
/// Longest answer of what gives tokens.
const TOKEN_ANSWER_MAX_BYTES: u64 = 1 << 20;

/// Makes requests to the one host that it is given URLs of. Redirects are answers like others, and are not followed.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    agent: ureq::Agent,
    /// Whether requests may go without TLS: only to an endpoint that the operator has named.
    allow_http: bool,
    last_status: Arc<AtomicU16>,
}

impl Connector {
    /// For the service itself.
    pub(crate) fn official() -> Self {
        Self::with(false, RootCerts::WebPki)
    }

    /// For one that the operator has named.
    pub(crate) fn named(is_plain: bool, services: &Services) -> Result<Self, RemoteError> {
        let Some(file) = &services.ca_file else { return Ok(Self::with(is_plain, RootCerts::WebPki)) };
        let wrong = |why: String| {
            RemoteError::Refused(format!(
                "the authorities of storage services cannot be read ({why}); the operator must see to the file {}",
                file.display()
            ))
        };
        let pem = std::fs::read(file).map_err(|source| wrong(source.kind().to_string()))?;
        let mut certificates = Vec::new();
        for item in ureq::tls::parse_pem(&pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                _ => return Err(wrong("it holds something else than certificates".to_owned())),
            }
        }
        Ok(Self::with(is_plain, RootCerts::from(certificates)))
    }

    /// For what gives tokens.
    pub(crate) fn for_tokens(
        url: &Endpoint,
        is_official: bool,
        services: &Services,
    ) -> Result<Self, RemoteError> {
        if is_official { Ok(Self::official()) } else { Self::named(url.is_plain(), services) }
    }

    fn with(allow_http: bool, roots: RootCerts) -> Self {
        let agent = ureq::Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(HEAD_TIMEOUT))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .build()
            .into();
        Self { agent, allow_http, last_status: Arc::default() }
    }

    /// Status of the last answer, or 0 if there was none: the clients of the services do not tell it for all errors.
    pub(crate) fn last_status(&self) -> u16 {
        self.last_status.load(Ordering::Relaxed)
    }

    /// The head of an answer to HEAD, without a key. Blocking.
    pub(crate) fn head(&self, url: &str) -> Result<http::Response<ureq::Body>, ureq::Error> {
        self.agent.head(url).call()
    }

    /// Status and text of the answer to a form. Blocking.
    pub(crate) fn post_form(&self, url: &str, form: &str) -> Result<(u16, Zeroizing<String>), ureq::Error> {
        let request = self.agent.post(url).header("content-type", "application/x-www-form-urlencoded");
        let mut answer = request.send(form)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(TOKEN_ANSWER_MAX_BYTES).read_to_string()?;
        Ok((status, Zeroizing::new(text)))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// Why a request could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(&'static str);

#[async_trait::async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let refused = |what| HttpError::new(HttpErrorKind::Unknown, Refused(what));
        if request.uri().scheme() != Some(&Scheme::HTTPS) && !self.allow_http {
            return Err(refused("requests go over https"));
        }
        let (parts, body) = request.into_parts();
        if !body.is_empty() {
            return Err(refused("files are only read"));
        }
        self.last_status.store(0, Ordering::Relaxed);
        let (agent, request) = (self.agent.clone(), http::Request::from_parts(parts, ()));
        let (head, answered) = oneshot::channel();
        let (pieces, received) = mpsc::channel(PIECES_AHEAD);
        // A thread of its own: a server that stops does not wait for one that waits for S3.
        let asking = move || {
            let answer = match agent.run(request) {
                Ok(answer) => answer,
                Err(error) => {
                    let _ = head.send(Err(error));
                    return;
                }
            };
            let (parts, body) = answer.into_parts();
            if head.send(Ok(parts)).is_ok() {
                send(body, &pieces);
            }
        };
        let started = std::thread::Builder::new().name("hearth-remote".to_owned()).spawn(asking);
        started.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let parts = match answered.await {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => return Err(HttpError::new(kind(&error), error)),
            Err(_) => return Err(refused("the request ended without an answer")),
        };
        self.last_status.store(told_status(&parts), Ordering::Relaxed);
        let mut received = received;
        let body = stream::poll_fn(move |context| received.poll_recv(context));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(StreamBody::new(body))))
    }
}

/// The status, but that Azure tells credentials that are no good with that of a malformed request, too.
fn told_status(parts: &http::response::Parts) -> u16 {
    let code = parts.headers.get(AZURE_CODE_HEADER).and_then(|code| code.to_str().ok());
    match code {
        Some(AZURE_NOT_AUTHENTICATED) => http::StatusCode::UNAUTHORIZED.as_u16(),
        _ => parts.status.as_u16(),
    }
}

/// Reads a body to its end, or until nobody wants more.
fn send(body: ureq::Body, pieces: &mpsc::Sender<Result<Frame<Bytes>, HttpError>>) {
    let mut reader = body.into_reader();
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let sent = match reader.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => {
                piece.truncate(read);
                pieces.blocking_send(Ok(Frame::data(piece.into())))
            }
            Err(error) => {
                let _ = pieces.blocking_send(Err(HttpError::new(HttpErrorKind::Interrupted, error)));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn kind(error: &ureq::Error) -> HttpErrorKind {
    match error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Request,
        _ => HttpErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::role::Role;
    use crate::services::{AzureIdentity, StsConfig};

    #[test]
    fn authorities_are_those_of_services_that_are_named() {
        let with = |url: Option<&str>| {
            let mut services = Services::default();
            services.sts = Some(StsConfig::new(url, None, "token".into()).unwrap());
            services.azure_identity = Some(AzureIdentity::new(url, "token".into()).unwrap());
            services.ca_file = Some("no-such-authorities.pem".into());
            services
        };
        let role = |services: &Services| Role::new(services, "arn", "session").map(drop);
        let identity = |services: &Services| Identity::new(services, "client", "tenant").map(drop);
        for asked in [role, identity] {
            asked(&with(None)).unwrap();
            // Over the pipe to the process that reads rows, too.
            let text = serde_json::to_string(&with(None)).unwrap();
            asked(&serde_json::from_str(&text).unwrap()).unwrap();
            let error = asked(&with(Some("https://login.example"))).unwrap_err();
            assert!(
                matches!(&error, RemoteError::Refused(text) if text.contains("no-such-authorities.pem")),
                "{error}"
            );
        }
    }
}
