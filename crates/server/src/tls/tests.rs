//! Certificates from files and of the own authority.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn names() -> Vec<String> {
    vec!["127.0.0.1".to_owned(), "::1".to_owned(), "localhost".to_owned()]
}

/// The authority's certificate and the server's, after a start at `now`.
fn start(dir: &Path, names: &[String], now: SystemTime) -> (String, String) {
    let made = authority::server_certificate(dir, names, now).unwrap();
    (made.authority_pem, made.chain_pem)
}

#[test]
fn the_authority_stays_and_the_certificate_is_renewed() {
    let data = tempfile::tempdir().unwrap();
    let dir = authority::dir(data.path());
    let now = SystemTime::now();
    let (authority, first) = start(&dir, &names(), now);
    for file in ["authority.key", "server.key"] {
        assert_eq!(std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(start(&dir, &names(), now + DAY), (authority.clone(), first.clone()));
    // Within two months of its end a certificate is made anew; the authority is the same.
    assert_eq!(start(&dir, &names(), now + 300 * DAY), (authority.clone(), first.clone()));
    let (kept, renewed) = start(&dir, &names(), now + 310 * DAY);
    assert_eq!(kept, authority);
    assert_ne!(renewed, first);
    // So is one for other names.
    let mut more = names();
    more.push("models.example.org".to_owned());
    let (kept, other) = start(&dir, &more, now + 311 * DAY);
    assert_eq!(kept, authority);
    assert_ne!(other, renewed);
    // Near the authority's end the certificate ends with it, and stays until then.
    let (kept, last) = start(&dir, &more, now + 3640 * DAY);
    assert_eq!(kept, authority);
    assert_eq!(start(&dir, &more, now + 3641 * DAY), (authority.clone(), last));
    // Only when the authority has ended there is another.
    let (next, _) = start(&dir, &more, now + 3651 * DAY);
    assert_ne!(next, authority);
}

#[test]
fn a_certificate_of_another_authority_is_not_used() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = SystemTime::now();
    start(one.path(), &names(), now);
    let (_, foreign) = start(other.path(), &names(), now);
    for file in ["server.pem", "server.key"] {
        std::fs::copy(other.path().join(file), one.path().join(file)).unwrap();
    }
    assert_ne!(start(one.path(), &names(), now).1, foreign);
}

#[test]
fn lost_and_broken_files_are_named() {
    let data = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    start(data.path(), &names(), now);
    let check = |part: &str| {
        let error = authority::server_certificate(data.path(), &names(), now).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    let key = std::fs::read(data.path().join("authority.key")).unwrap();
    std::fs::write(data.path().join("authority.key"), "nothing").unwrap();
    check("no private key");
    std::fs::remove_file(data.path().join("authority.key")).unwrap();
    check("authority.key is gone");
    std::fs::write(data.path().join("authority.key"), key).unwrap();
    std::fs::write(data.path().join("authority.pem"), "nothing").unwrap();
    check("no certificate");
}

#[test]
fn files_are_checked_and_read_again() {
    let data = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let (one, other) = (data.path().join("one"), data.path().join("other"));
    start(&one, &names(), now);
    start(&other, &names(), now);
    let (cert, key) = (data.path().join("cert.pem"), data.path().join("key.pem"));
    let config = TlsConfig::Files { cert: cert.clone(), key: key.clone() };
    let open = || Tls::open(&config, data.path(), "127.0.0.1:0".parse().unwrap(), None);
    let refused = |part: &str| {
        let error = open().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused("cert.pem");
    std::fs::write(&cert, "").unwrap();
    std::fs::write(&key, "").unwrap();
    refused("no certificate");
    std::fs::copy(one.join("server.pem"), &cert).unwrap();
    refused("no private key");
    std::fs::copy(other.join("server.key"), &key).unwrap();
    refused("not the key of the certificate");
    std::fs::write(&key, vec![b'x'; (PEM_MAX_BYTES + 1) as usize]).unwrap();
    refused("larger than");
    std::fs::copy(one.join("server.key"), &key).unwrap();
    let tls = open().unwrap();
    let first = tls.resolver.0.read().unwrap().cert[0].clone();
    // A pair that does not fit changes nothing; one that fits is taken.
    std::fs::copy(other.join("server.pem"), &cert).unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(tls.resolver.0.read().unwrap().cert[0], first);
    std::fs::copy(other.join("server.key"), &key).unwrap();
    tls.reload().unwrap();
    assert_ne!(tls.resolver.0.read().unwrap().cert[0], first);
}
