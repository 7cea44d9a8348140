//! `/healthz`, `/readyz` and `grpc.health.v1.Health`.

use serde_json::json;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::server::Server;

async fn client(server: &Server) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(server.base.clone()).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[test]
fn nobody_needs_a_key() {
    let server = Server::start();
    assert_eq!(server.send_as(None, "GET", "/healthz", b"").ok(), json!({"status": "ok"}));
    assert_eq!(server.send_as(None, "GET", "/readyz", b"").ok(), json!({"status": "ready"}));
    assert_eq!(server.send_as(None, "POST", "/readyz", b"").status, 405);
}

#[test]
fn a_server_without_its_files_is_not_ready() {
    let server = Server::start();
    std::fs::rename(server.dir.path().join("objects"), server.dir.path().join("elsewhere")).unwrap();
    let (status, code, message) = server.send_as(None, "GET", "/readyz", b"").error();
    assert_eq!((status, code), (503, 14));
    assert!(message.contains("files"), "{message}");
    assert_eq!(server.send_as(None, "GET", "/healthz", b"").status, 200);
    let status = server
        .runtime()
        .block_on(async { client(&server).await.check(about("")).await.unwrap().into_inner().status() });
    assert_eq!(status, ServingStatus::NotServing);
    std::fs::rename(server.dir.path().join("elsewhere"), server.dir.path().join("objects")).unwrap();
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn grpc_health() {
    let server = Server::start();
    server.runtime().block_on(async {
        let mut client = client(&server).await;
        for service in ["", "gateway.Gateway"] {
            let reply = client.check(about(service)).await.unwrap();
            assert_eq!(reply.get_ref().status(), ServingStatus::Serving, "{service:?}");
            assert_eq!(reply.metadata().get("x-request-id").unwrap().len(), 16);
        }
        let error = client.check(about("gateway.Other")).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        let mut unknown = client.watch(about("gateway.Other")).await.unwrap().into_inner();
        let first = unknown.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    });
}

#[test]
fn a_watch_tells_that_the_server_stops() {
    let mut server = Server::start();
    let mut watch = server.runtime().block_on(async {
        let mut watch = client(&server).await.watch(about("")).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);
        watch
    });
    let running = server.take_running();
    server.runtime().block_on(async {
        let rest = async {
            let next = watch.message().await.unwrap().unwrap();
            (next.status(), watch.message().await.unwrap())
        };
        // The open stream does not hold up the end.
        let (rest, ()) = tokio::join!(rest, running.shutdown());
        assert_eq!(rest, (ServingStatus::NotServing, None));
    });
}
