//! The port over TLS: right clients over both protocols, and wrong ones, which are turned away without harm.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use hearth_proto::gateway as pb;
use hearth_proto::gateway::gateway_client::GatewayClient;
use hearth_server::TlsConfig;
use serde_json::json;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::server::{Server, rows};

/// Longest wait of a test for a connection's end.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn server(handshake_timeout: Duration) -> Server {
    Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.tls = Some(TlsConfig::SelfSigned {
            names: vec!["models.example.org".to_owned()],
            authority_file: None,
        });
        config.limits.handshake_timeout = handshake_timeout;
    })
}

fn authority(server: &Server) -> Vec<u8> {
    std::fs::read(server.running().authority_file().unwrap()).unwrap()
}

/// A TLS client that offers these protocols and trusts these authorities.
fn connector(authorities: &[u8], protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// The protocol that is agreed on for a name.
fn agreed(server: &Server, name: &str, protocols: &[&[u8]]) -> std::io::Result<Option<Vec<u8>>> {
    let connector = connector(&authority(server), protocols);
    let (name, addr) = (ServerName::try_from(name.to_owned()).unwrap(), server.addr());
    server.runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(addr).await?;
        let stream = connector.connect(name, stream).await?;
        Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    })
}

#[track_caller]
fn still_answers(server: &Server) {
    assert_eq!(server.get("/verifyApiKey").status, 200);
}

/// All that the server sends until it closes the connection.
fn read_to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        // The end may be a reset.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    all
}

#[test]
fn signed_urls_are_https_and_work() {
    let server = server(TEST_TIMEOUT);
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    let files = json!({"filenameToSize": {"a.jsonl": rows().len(), "b.jsonl": rows().len()}});
    let urls = server.post("/v1/accounts/default/datasets/rows:getUploadEndpoint", &files).ok();
    for file in ["a.jsonl", "b.jsonl"] {
        let url = urls["filenameToSignedUrls"][file].as_str().unwrap();
        assert!(url.starts_with(&format!("https://{}/signed/", server.addr())), "{url}");
        let reply = server.request(&[], "PUT", url, rows().as_bytes());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }
    server.post("/v1/accounts/default/datasets/rows:validateUpload", &json!({})).ok();
    let dataset = server.get("/v1/accounts/default/datasets/rows").ok();
    assert_eq!((&dataset["state"], &dataset["exampleCount"]), (&json!("READY"), &json!("10")));
}

#[test]
fn protocols_and_names() {
    let server = server(TEST_TIMEOUT);
    let check = |name: &str, protocols: &[&[u8]], expect: Option<&[u8]>| {
        assert_eq!(agreed(&server, name, protocols).unwrap().as_deref(), expect, "{name} {protocols:?}");
    };
    check("localhost", &[b"http/1.1", b"h2"], Some(b"h2"));
    check("localhost", &[b"http/1.1"], Some(b"http/1.1"));
    check("127.0.0.1", &[], None);
    check("models.example.org", &[b"h2"], Some(b"h2"));
    let error = agreed(&server, "other.example.org", &[b"h2"]).unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    assert!(agreed(&server, "localhost", &[b"spdy/3"]).is_err());
    still_answers(&server);
}

#[test]
fn grpc_over_tls() {
    let server = server(TEST_TIMEOUT);
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority(&server)));
    let endpoint = Endpoint::from_shared(server.base.clone()).unwrap().tls_config(tls).unwrap();
    let account = server.runtime().block_on(async {
        let mut client = GatewayClient::new(endpoint.connect().await.unwrap());
        let mut request = tonic::Request::new(pb::GetAccountRequest {
            name: "accounts/default".to_owned(),
            ..pb::GetAccountRequest::default()
        });
        request.metadata_mut().insert("x-api-key", server.key.parse().unwrap());
        client.get_account(request).await.unwrap().into_inner()
    });
    assert_eq!(account.name, "accounts/default");
}

#[test]
fn the_authority_stays_over_a_restart() {
    let first = server(TEST_TIMEOUT);
    let before = authority(&first);
    let dir = first.stop();
    let again = Server::start_with(dir, |config| {
        config.tls = Some(TlsConfig::SelfSigned { names: Vec::new(), authority_file: None });
    });
    assert_eq!(authority(&again), before);
    still_answers(&again);
}

#[test]
fn a_client_that_speaks_plain_http_is_told_so() {
    let server = server(TEST_TIMEOUT);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"GET /verifyApiKey HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let text = String::from_utf8(read_to_the_end(&mut stream)).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], 3);
    assert!(body["message"].as_str().unwrap().contains("TLS"), "{body}");
    still_answers(&server);
}

#[test]
fn garbage_and_broken_handshakes_are_closed() {
    let server = server(TEST_TIMEOUT);
    let hello_then_garbage = [&[22, 3, 1, 0, 200][..], &[7; 200]].concat();
    let endless_record = [&[22, 3, 1, 255, 255][..], &[0; 70_000]].concat();
    for bytes in
        [&b"\x00\x01\x02\x03"[..], &[0xff; 3000], b"ssh-2.0-x\r\n", &hello_then_garbage, &endless_record]
    {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        // The server may close before all is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = read_to_the_end(&mut stream);
        // At most a TLS alert comes back.
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    still_answers(&server);
}

#[test]
fn a_handshake_that_does_not_go_on_is_closed() {
    let server = server(Duration::from_millis(200));
    for bytes in [&b""[..], &[22], &[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]] {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(bytes).unwrap();
        assert_eq!(read_to_the_end(&mut stream), b"");
    }
    still_answers(&server);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(
        metrics.contains("hearth_connections_refused_total{reason=\"tls_handshake_timeout\"} 3"),
        "{metrics}"
    );
}

#[test]
fn a_tls_client_on_a_plain_port_is_refused() {
    let other = server(TEST_TIMEOUT);
    let plain = Server::start();
    let connector = connector(&authority(&other), &[b"h2"]);
    let addr = plain.addr();
    let result = plain.runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let connecting = connector.connect(ServerName::try_from("localhost").unwrap(), stream);
        tokio::time::timeout(TEST_TIMEOUT, connecting).await.unwrap().map(|_| ())
    });
    assert!(result.is_err());
    still_answers(&plain);
}

#[test]
fn a_server_without_its_certificate_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::server::config(dir.path());
    config.tls =
        Some(TlsConfig::Files { cert: dir.path().join("none.pem"), key: dir.path().join("none.key") });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(hearth_server::serve(config)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
    assert!(!dir.path().join("api-key").exists());
}
