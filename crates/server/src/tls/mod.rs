//! TLS on the one port: rustls with ring, HTTP/2 and HTTP/1.1 by ALPN, certificates that can be read again while the
//! server runs.

mod authority;
mod names;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::error::ServerError;

/// Largest certificate or key file that is read.
const PEM_MAX_BYTES: u64 = 1 << 20;
/// Protocols, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where the server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// Files that somebody else makes and renews.
    Files {
        /// PEM: the server's certificate first, then those between it and its authority.
        cert: PathBuf,
        /// PEM: the private key.
        key: PathBuf,
    },
    /// An authority of this server's own, kept in the data directory.
    SelfSigned {
        /// Host names and addresses that clients use, besides those that the server knows of itself.
        names: Vec<String>,
        /// Where the authority's certificate is written for clients to trust, besides the data directory.
        authority_file: Option<PathBuf>,
    },
}

/// Accepts TLS connections.
pub(crate) struct Tls {
    source: Source,
    resolver: Arc<Resolver>,
    acceptor: TlsAcceptor,
}

enum Source {
    Files { cert: PathBuf, key: PathBuf },
    Own { dir: PathBuf, names: Vec<String>, copy: Option<PathBuf> },
}

/// Gives every client the same certificate, the newest one.
#[derive(Debug)]
struct Resolver(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// Reads or makes the certificate. FAILED_PRECONDITION says what is wrong with a file.
    pub(crate) fn open(
        config: &TlsConfig,
        data_dir: &Path,
        listen: SocketAddr,
        public_url: Option<&str>,
    ) -> Result<Self, ServerError> {
        let source = match config {
            TlsConfig::Files { cert, key } => Source::Files { cert: cert.clone(), key: key.clone() },
            TlsConfig::SelfSigned { names, authority_file } => Source::Own {
                dir: authority::dir(data_dir),
                names: names::all(names, listen, public_url)?,
                copy: authority_file.clone(),
            },
        };
        let resolver = Arc::new(Resolver(RwLock::new(Arc::new(source.load()?))));
        let failed = |source: rustls::Error| ServerError::internal("setting up TLS", source);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Resolver>::clone(&resolver));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        Ok(Self { source, resolver, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Makes a TLS stream of a TCP stream.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reads the files again, or renews the own certificate if it is near its end. New connections get the result;
    /// after an error they get what they got before.
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        let loaded = Arc::new(self.source.load()?);
        *self.resolver.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// The certificate of the own authority, which clients must trust.
    pub(crate) fn authority_file(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Files { .. } => None,
            Source::Own { copy: Some(copy), .. } => Some(copy.clone()),
            Source::Own { dir, .. } => Some(authority::certificate_path(dir)),
        }
    }
}

impl Source {
    fn load(&self) -> Result<CertifiedKey, ServerError> {
        match self {
            Self::Files { cert, key } => certified(cert, &read(cert)?, key, &read(key)?),
            Self::Own { dir, names, copy } => {
                let made = authority::server_certificate(dir, names, std::time::SystemTime::now())?;
                if let Some(copy) = copy {
                    authority::write_public(copy, &made.authority_pem)?;
                }
                let (cert, key) = (authority::server_path(dir), authority::server_key_path(dir));
                certified(&cert, made.chain_pem.as_bytes(), &key, made.key_pem.as_bytes())
            }
        }
    }
}

/// A certificate with its key, checked against each other.
fn certified(
    cert_path: &Path,
    cert: &[u8],
    key_path: &Path,
    key: &[u8],
) -> Result<CertifiedKey, ServerError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(cert_path, format!("it is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(unusable(cert_path, "it holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| unusable(key_path, "it holds no private key in PEM that can be read"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            unusable(key_path, format!("it is not the key of the certificate in {}", cert_path.display()))
        }
        other => unusable(cert_path, other),
    })
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> ServerError {
    ServerError::FailedPrecondition(format!("TLS cannot use {}: {why}", path.display()))
}

/// A whole file below the limit.
fn read(path: &Path) -> Result<Vec<u8>, ServerError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unusable(path, error))?;
    if bytes.len() as u64 > PEM_MAX_BYTES {
        return Err(unusable(path, format!("it is larger than {PEM_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
