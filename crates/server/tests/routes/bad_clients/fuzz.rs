//! Malformed gRPC: frames, messages and metadata made from a seed. Every call is answered or its stream is reset, no
//! handler panics, and the server goes on.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hearth_proto::gateway as pb;
use http::{HeaderName, HeaderValue, Request};
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{TEST_TIMEOUT, still_answers};
use crate::server::{Server, install_model};

const CALLS: usize = 600;
const SEED: u64 = 0x6865_6172_7468;

/// Panics of this process, whoever catches them.
pub(super) static PANICS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn bytes(random: &mut StdRng, most: usize) -> Vec<u8> {
    let len = random.random_range(0..=most);
    (0..len).map(|_| random.random()).collect()
}

pub(super) fn frame(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

/// A message that is right, for others to spoil.
fn message(random: &mut StdRng) -> Vec<u8> {
    let name =
        ["accounts/default", "accounts/default/datasets/x", "accounts//", "x", "accounts/default/models/ä"];
    let name = name[random.random_range(0..name.len())].to_owned();
    match random.random_range(0..3) {
        0 => pb::GetAccountRequest { name, ..Default::default() }.encode_to_vec(),
        1 => pb::ListDatasetsRequest { parent: name, filter: "state = ".to_owned(), ..Default::default() }
            .encode_to_vec(),
        _ => pb::CreateDatasetRequest { parent: name, dataset_id: "x".to_owned(), ..Default::default() }
            .encode_to_vec(),
    }
}

/// What is sent as the body.
fn body(random: &mut StdRng) -> Vec<u8> {
    let mut message = message(random);
    match random.random_range(0..10) {
        0 => Vec::new(),
        1 => bytes(random, 200),
        // A length that lies, in both directions.
        2 => frame(0, random.random(), &message),
        3 => frame(0, u32::MAX, &[]),
        4 => frame(random.random(), message.len() as u32, &message),
        5 => {
            let junk = bytes(random, 300);
            frame(0, junk.len() as u32, &junk)
        }
        6 => {
            message.truncate(random.random_range(0..=message.len()));
            frame(0, message.len() as u32, &message)
        }
        7 => {
            for _ in 0..3 {
                let at = random.random_range(0..message.len());
                message[at] = random.random();
            }
            frame(0, message.len() as u32, &message)
        }
        // Two messages where one is expected.
        8 => [frame(0, message.len() as u32, &message), frame(0, message.len() as u32, &message)].concat(),
        // A group within a group within a group.
        _ => frame(0, 2000, &[0x0b; 2000]),
    }
}

pub(super) fn header(random: &mut StdRng) -> Option<(HeaderName, HeaderValue)> {
    let names = [
        "grpc-timeout",
        "grpc-encoding",
        "grpc-accept-encoding",
        "te",
        "x-bin",
        "x-fuzz",
        "authorization",
        "x-api-key",
        "x-request-id",
        "grpc-status",
        "grpc-message",
        "content-length",
        "grpc-trace-bin",
        "user-agent",
        "expect",
    ];
    let name = HeaderName::from_static(names[random.random_range(0..names.len())]);
    let values: [&[u8]; 10] = [
        b"",
        b"1n",
        b"99999999999999999H",
        b"-1S",
        b"gzip",
        b"identity",
        b"!!!not base64",
        b"trailers",
        b"0",
        b"%00",
    ];
    let value = match random.random_range(0..3) {
        0 => bytes(random, 100),
        _ => values[random.random_range(0..values.len())].to_vec(),
    };
    Some((name, HeaderValue::from_bytes(&value).ok()?))
}

fn path(random: &mut StdRng, rpcs: &[String]) -> String {
    match random.random_range(0..10) {
        0 => "/gateway.Gateway/".to_owned(),
        1 => "/gateway.Gateway/%00".to_owned(),
        2 => "/other.Service/Call".to_owned(),
        3 => "/grpc.health.v1.Health/Check".to_owned(),
        _ => format!("/gateway.Gateway/{}", rpcs[random.random_range(0..rpcs.len())]),
    }
}

fn request(random: &mut StdRng, server: &Server, rpcs: &[String]) -> Request<()> {
    let types = [
        "application/grpc",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
        "application/grpc-web",
    ];
    let mut request = Request::post(format!("{}{}", server.base, path(random, rpcs)))
        .header("content-type", types[random.random_range(0..types.len())])
        .body(())
        .unwrap();
    for _ in 0..random.random_range(0..4) {
        if let Some((name, value)) = header(random) {
            request.headers_mut().append(name, value);
        }
    }
    if random.random_bool(0.8) {
        request.headers_mut().insert("x-api-key", server.key.parse().unwrap());
    }
    request
}

pub(super) async fn connect(server: &Server) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// Sends one call and reads its end: its code, empty for an answer without one; `None` if its stream was reset.
pub(super) async fn call(
    client: &mut h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Vec<u8>,
    is_reset: bool,
) -> Result<Option<String>, h2::Error> {
    let (response, mut send) = client.send_request(request, false)?;
    send.send_data(Bytes::from(body), !is_reset)?;
    if is_reset {
        send.send_reset(h2::Reason::CANCEL);
        return Ok(None);
    }
    let response = match response.await {
        Ok(response) => response,
        Err(error) if error.is_reset() => return Ok(None),
        Err(error) => return Err(error),
    };
    let status = response.status().as_u16();
    assert!(status == 200 || (400..500).contains(&status), "{response:?}");
    let mut grpc = response.headers().get("grpc-status").cloned();
    let mut stream = response.into_body();
    while let Some(piece) = stream.data().await {
        stream.flow_control().release_capacity(piece?.len())?;
    }
    if let Some(trailers) = stream.trailers().await? {
        grpc = trailers.get("grpc-status").cloned().or(grpc);
    }
    assert!(status != 200 || grpc.is_some(), "an answer without a code");
    Ok(Some(grpc.map_or(String::new(), |code| code.to_str().unwrap().to_owned())))
}

/// From here on [`PANICS`] counts.
pub(super) fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
}

#[test]
fn malformed_calls_kill_nothing() {
    count_panics();
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    let service = hearth_proto::descriptor_pool().get_service_by_name("gateway.Gateway").unwrap();
    let rpcs: Vec<String> = service.methods().map(|method| method.name().to_owned()).collect();
    let mut random = StdRng::seed_from_u64(SEED);
    let answered = server.runtime().block_on(async {
        let mut client = connect(&server).await;
        let mut answered = 0;
        for number in 0..CALLS {
            let (request, body) = (request(&mut random, &server, &rpcs), body(&mut random));
            let is_reset = random.random_bool(0.1);
            let shown = format!("call {number}: {request:?} {body:?}");
            match tokio::time::timeout(TEST_TIMEOUT, call(&mut client, request, body, is_reset)).await {
                Ok(Ok(code)) => answered += usize::from(code.is_some()),
                // The whole connection may end for what the protocol forbids.
                Ok(Err(_)) => client = connect(&server).await,
                Err(_) => panic!("no answer to {shown}"),
            }
            client = match client.ready().await {
                Ok(client) => client,
                Err(_) => connect(&server).await,
            };
        }
        answered
    });
    assert!(answered > CALLS / 2, "only {answered} of {CALLS} calls were answered");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    still_answers(&server);
}
