//! Requests and answers.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, RequestBuilder};

use crate::ClientError;

/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time until the first byte of an answer; the server checks every row of an upload before it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest answer that is read into memory.
const ANSWER_MAX_BYTES: u64 = 256 << 20;
/// Longest error body that is read.
const ERROR_BODY_MAX_BYTES: u64 = 64 << 10;

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Account id, without `accounts/`.
    pub account_id: String,
    /// E-mail address of the developer, if the server tells.
    pub email: Option<String>,
}

/// Speaks to one server with one key. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) agent: Agent,
    base_url: String,
    api_key: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl Client {
    /// `base_url` is scheme, host and port, for example `http://127.0.0.1:8080`. `authorities` is PEM with the
    /// certificates that the server's own is checked with, instead of those of the public authorities.
    pub fn new(
        base_url: &str,
        api_key: Option<String>,
        authorities: Option<&[u8]>,
    ) -> Result<Self, ClientError> {
        let trimmed = base_url.trim_end_matches('/');
        let rest = trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
            return Err(ClientError::BadUrl { url: base_url.to_owned() });
        }
        let mut tls = TlsConfig::builder();
        if let Some(pem) = authorities {
            let roots: Vec<Certificate<'static>> = parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if roots.is_empty() {
                return Err(ClientError::NoAuthority);
            }
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build();
        Ok(Self { agent: config.into(), base_url: trimmed.to_owned(), api_key })
    }

    /// Scheme, host and port of the server.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Asks whose key this is.
    pub fn verify_api_key(&self) -> Result<Identity, ClientError> {
        let response = self.answer(self.request(self.agent.get(self.url("/verifyApiKey"))).call())?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let account_id = header("x-fireworks-account-id")
            .ok_or_else(|| self.protocol("verifyApiKey has no x-fireworks-account-id header"))?;
        Ok(Identity { account_id, email: header("x-fireworks-developer-email") })
    }

    /// Downloads a signed URL into memory. The key is not sent: the URL itself is the permission.
    pub fn signed_get(&self, url: &str) -> Result<Vec<u8>, ClientError> {
        self.answer(self.agent.get(url).call()).and_then(|response| self.read_all(response))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// Adds the key.
    pub(crate) fn request<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.api_key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    /// Turns a refused or missing answer into an error.
    pub(crate) fn answer(
        &self,
        result: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ClientError> {
        let response =
            result.map_err(|source| ClientError::Transport { url: self.base_url.clone(), source })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let request_id =
            response.headers().get("x-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        let reader = response.into_body().into_reader().take(ERROR_BODY_MAX_BYTES);
        // What was read until a break is still the best explanation there is.
        let _ = { reader }.read_to_end(&mut body);
        Err(ClientError::from_body(status.as_u16(), request_id, &body))
    }

    /// Reads a JSON answer; an empty body is `{}`.
    pub(crate) fn json(&self, response: Response<Body>) -> Result<Value, ClientError> {
        let body = self.read_all(response)?;
        if body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&body).map_err(|error| self.protocol(format!("not JSON: {error}")))
    }

    fn read_all(&self, response: Response<Body>) -> Result<Vec<u8>, ClientError> {
        let mut reader = response.into_body().into_with_config().limit(ANSWER_MAX_BYTES).reader();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| self.broken(error))?;
        Ok(bytes)
    }

    pub(crate) fn protocol(&self, detail: impl Into<String>) -> ClientError {
        ClientError::Protocol { url: self.base_url.clone(), detail: detail.into() }
    }

    pub(crate) fn broken(&self, error: std::io::Error) -> ClientError {
        self.protocol(format!("the answer broke off: {error}"))
    }
}
