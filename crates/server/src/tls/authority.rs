//! An authority of this server's own, for machines without a certificate from elsewhere.
//!
//! It lives in `DIR/tls`: `authority.pem` and `authority.key`, and the server's certificate that it signed. The
//! authority stays as long as it is valid, because clients trust it by its file; the server's certificate is made
//! anew when it is near its end or when the server has other names.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hearth_store::write_secret_file;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;

use super::{read, unusable};
use crate::error::ServerError;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Life of the authority.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Life of the server's certificate; clients refuse more than 398 days.
const SERVER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The server's certificate is renewed this long before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 3600);
/// Certificates begin this long before now: clocks differ.
const CLOCK_SKEW: Duration = DAY;

/// The authority's directory.
pub(super) fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

/// The authority's certificate.
pub(super) fn certificate_path(dir: &Path) -> PathBuf {
    dir.join("authority.pem")
}

/// The server's certificate.
pub(super) fn server_path(dir: &Path) -> PathBuf {
    dir.join("server.pem")
}

/// The server's private key.
pub(super) fn server_key_path(dir: &Path) -> PathBuf {
    dir.join("server.key")
}

/// All that a server needs, in PEM.
pub(super) struct ServerCertificate {
    pub(super) authority_pem: String,
    /// The certificate, then the authority's.
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
}

/// The server's certificate for `names`, made or renewed if needed, and before it the authority.
pub(super) fn server_certificate(
    dir: &Path,
    names: &[String],
    now: SystemTime,
) -> Result<ServerCertificate, ServerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| ServerError::internal("making the directory of certificates", source))?;
    let authority = Authority::open_or_make(dir, now)?;
    let (path, key_path) = (server_path(dir), server_key_path(dir));
    if path.exists() && key_path.exists() {
        let (pem, key_pem) = (text(&path)?, text(&key_path)?);
        if authority.vouches_for(&pem, names, now) {
            return Ok(authority.with(&pem, key_pem));
        }
    }
    let (pem, key_pem) = authority.sign(names, now)?;
    // The old key fits no new certificate, so it goes first: a stop in between leaves no wrong pair.
    remove(&key_path)?;
    remove(&path)?;
    write_secret_file(&key_path, key_pem.as_bytes())?;
    write_public(&path, &pem)?;
    tracing::info!(path = %path.display(), "made a certificate for this server");
    Ok(authority.with(&pem, key_pem))
}

struct Authority {
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn open_or_make(dir: &Path, now: SystemTime) -> Result<Self, ServerError> {
        let (path, key_path) = (certificate_path(dir), dir.join("authority.key"));
        match (path.exists(), key_path.exists()) {
            (true, true) => {
                let pem = text(&path)?;
                let is_over = with_certificate(&pem, |cert| !is_valid(cert, now))
                    .ok_or_else(|| unusable(&path, "it holds no certificate"))?;
                if !is_over {
                    let key = KeyPair::from_pem(&text(&key_path)?)
                        .map_err(|_| unusable(&key_path, "it holds no private key that can be read"))?;
                    Issuer::from_ca_cert_pem(&pem, &key).map_err(|error| unusable(&path, error))?;
                    return Ok(Self { pem, key });
                }
                tracing::warn!("the authority's certificate has ended; clients must trust the new one");
                remove(&key_path)?;
                remove(&path)?;
            }
            (true, false) => {
                let why = "its authority.key is gone; put it back, or remove the file for a new authority";
                return Err(unusable(&path, why));
            }
            // A key without its certificate was never used: the certificate is written last.
            (false, true) => remove(&key_path)?,
            (false, false) => {}
        }
        let made = Self::make(now)?;
        write_secret_file(&key_path, made.key.serialize_pem().as_bytes())?;
        write_public(&path, &made.pem)?;
        tracing::info!(path = %path.display(), "made an authority for certificates of this server");
        Ok(made)
    }

    fn make(now: SystemTime) -> Result<Self, ServerError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        // Clients tell authorities apart by their names.
        let name = format!("Hearth authority {}", hex::encode(rand::random::<[u8; 4]>()));
        params.distinguished_name = named(&name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = life(now, AUTHORITY_LIFE);
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { pem, key })
    }

    /// A new key and its certificate.
    fn sign(&self, names: &[String], now: SystemTime) -> Result<(String, String), ServerError> {
        let issuer = Issuer::from_ca_cert_pem(&self.pem, &self.key).map_err(failed)?;
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
        params.distinguished_name = named("Hearth");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = life(now, SERVER_LIFE);
        let end = with_certificate(&self.pem, |cert| cert.validity().not_after.to_datetime());
        params.not_after = params.not_after.min(end.unwrap_or(params.not_after));
        let cert = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok((cert.pem(), key.serialize_pem()))
    }

    /// Whether a certificate is this authority's, for exactly these names, and not near its end.
    fn vouches_for(&self, pem: &str, names: &[String], now: SystemTime) -> bool {
        let own_end = with_certificate(&self.pem, |own| own.validity().not_after);
        let is_good = |cert: &X509Certificate<'_>| {
            // What ends with the authority cannot be renewed before it.
            let is_fresh = is_valid(cert, now + RENEW_BEFORE) || Some(cert.validity().not_after) == own_end;
            let is_ours =
                with_certificate(&self.pem, |own| cert.verify_signature(Some(own.public_key())).is_ok());
            is_fresh && is_valid(cert, now) && is_ours == Some(true) && has_names(cert, names)
        };
        with_certificate(pem, is_good) == Some(true)
    }

    fn with(&self, pem: &str, key_pem: String) -> ServerCertificate {
        let chain_pem = format!("{pem}{}", self.pem);
        ServerCertificate { authority_pem: self.pem.clone(), chain_pem, key_pem }
    }
}

fn failed(source: rcgen::Error) -> ServerError {
    ServerError::internal("making a certificate", source)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn life(now: SystemTime, length: Duration) -> (OffsetDateTime, OffsetDateTime) {
    (OffsetDateTime::from(now - CLOCK_SKEW), OffsetDateTime::from(now + length))
}

/// Looks at the first certificate of a text; `None` if there is none.
fn with_certificate<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    let cert = block.parse_x509().ok()?;
    Some(look(&cert))
}

fn is_valid(cert: &X509Certificate<'_>, at: SystemTime) -> bool {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ASN1Time::from_timestamp(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
        .is_ok_and(|at| cert.validity().is_valid_at(at))
}

fn has_names(cert: &X509Certificate<'_>, names: &[String]) -> bool {
    let Ok(Some(held)) = cert.subject_alternative_name() else { return false };
    let held: BTreeSet<String> = held
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect();
    held == names.iter().cloned().collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn text(path: &Path) -> Result<String, ServerError> {
    String::from_utf8(read(path)?).map_err(|_| unusable(path, "it is not PEM"))
}

fn remove(path: &Path) -> Result<(), ServerError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(path, error)),
        _ => Ok(()),
    }
}

/// Writes a file that everybody may read, unless it holds the text already.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), ServerError> {
    if std::fs::read(path).is_ok_and(|held| held == text.as_bytes()) {
        return Ok(());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = Path::new(&beside);
    let written = (|| {
        let mut file = std::fs::File::create(beside)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(beside, path)
    })();
    written.map_err(|error| unusable(path, error))
}
