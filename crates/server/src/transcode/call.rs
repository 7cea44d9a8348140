//! Calls an RPC of the gateway within this process, as a gRPC client would.

use axum::body::Body;
use axum::extract::Request;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Extensions, HeaderMap, HeaderValue, Method, Version, header};
use http_body_util::BodyExt;
use prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tonic::Status;

use crate::state::AppState;

/// Bytes before each gRPC message: one flag byte and the length.
const FRAME_HEAD_BYTES: usize = 5;

/// Sends one message and waits for the one reply. The extensions carry who calls and over which face.
pub(crate) async fn call(
    state: &AppState,
    method: &MethodDescriptor,
    message: &DynamicMessage,
    extensions: Extensions,
) -> Result<DynamicMessage, Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut request = Request::new(Body::from(frame(message)));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = path.parse().expect("an RPC's path is a URI");
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    *request.extensions_mut() = extensions;

    let response = crate::grpc::dispatch(state, request).await;
    failure(response.headers())?;
    let collected = response
        .into_body()
        .collect()
        .await
        .map_err(|error| Status::internal(format!("the reply of {path} broke off: {error}")))?;
    if let Some(trailers) = collected.trailers() {
        failure(trailers)?;
    }
    let payload = unframe(collected.to_bytes())
        .ok_or_else(|| Status::internal(format!("the reply of {path} has no message")))?;
    DynamicMessage::decode(method.output(), payload)
        .map_err(|error| Status::internal(format!("the reply of {path} cannot be decoded: {error}")))
}

/// The status that headers or trailers hold, unless it is OK.
fn failure(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status),
        _ => Ok(()),
    }
}

fn frame(message: &DynamicMessage) -> Bytes {
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(FRAME_HEAD_BYTES + len);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).expect("a control-plane message is below 4 GiB"));
    message.encode(&mut out).expect("the buffer grows");
    out.freeze()
}

fn unframe(mut bytes: Bytes) -> Option<Bytes> {
    if bytes.len() < FRAME_HEAD_BYTES || bytes.get_u8() != 0 {
        return None;
    }
    let len = bytes.get_u32() as usize;
    (bytes.len() == len).then_some(bytes)
}
