//! gRPC server reflection, as grpcurl and the like use it: without a key.

use prost::Message;
use tonic_reflection::pb::{v1, v1alpha};

use crate::server::Server;

/// Asks the given questions in one stream, in a version of the protocol.
macro_rules! ask {
    ($server:expr, $version:ident, $questions:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_response::MessageResponse;
        $server.runtime().block_on(async {
            let channel = tonic::transport::Endpoint::from_shared($server.base.clone()).unwrap();
            let mut client = ServerReflectionClient::new(channel.connect().await.unwrap());
            let asked: Vec<_> = $questions
                .into_iter()
                .map(|question| $version::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(question),
                })
                .collect();
            let mut replies =
                client.server_reflection_info(futures::stream::iter(asked)).await.unwrap().into_inner();
            let mut texts = Vec::new();
            while let Some(reply) = replies.message().await.transpose() {
                texts.push(match reply.map(|reply| reply.message_response.unwrap()) {
                    Ok(MessageResponse::ListServicesResponse(list)) => {
                        list.service.into_iter().map(|one| one.name).collect::<Vec<_>>().join(" ")
                    }
                    Ok(MessageResponse::FileDescriptorResponse(files)) => {
                        let names = files.file_descriptor_proto.iter().map(|file| {
                            prost_types::FileDescriptorProto::decode(file.as_slice())
                                .unwrap()
                                .name()
                                .to_owned()
                        });
                        names.collect::<Vec<_>>().join(" ")
                    }
                    Ok(other) => format!("{other:?}"),
                    Err(status) => format!("{:?}", status.code()),
                });
            }
            texts
        })
    }};
}

#[test]
fn both_versions_show_the_services_and_their_files() {
    let server = Server::start();
    let asked = || {
        use v1::server_reflection_request::MessageRequest;
        vec![
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("gateway.Gateway".to_owned()),
            MessageRequest::FileByFilename("google/api/http.proto".to_owned()),
            MessageRequest::FileContainingSymbol("gateway.Nothing".to_owned()),
        ]
    };
    let found = ask!(server, v1, asked());
    assert_eq!(
        found,
        [
            "gateway.Gateway grpc.reflection.v1.ServerReflection",
            "gateway/gateway.proto",
            "google/api/http.proto",
            "NotFound",
        ]
    );
    let found = ask!(server, v1alpha, {
        use v1alpha::server_reflection_request::MessageRequest;
        vec![
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("gateway.SupervisedFineTuningJob".to_owned()),
        ]
    });
    assert_eq!(
        found,
        [
            "gateway.Gateway grpc.reflection.v1alpha.ServerReflection",
            "gateway/supervised_fine_tuning_job.proto"
        ]
    );
}

/// The options that make REST of an RPC are in the descriptors that are shown.
#[test]
fn http_options_are_shown() {
    let server = Server::start();
    let file = server.runtime().block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(server.base.clone()).unwrap();
        let mut client =
            v1::server_reflection_client::ServerReflectionClient::new(channel.connect().await.unwrap());
        let request = v1::ServerReflectionRequest {
            message_request: Some(v1::server_reflection_request::MessageRequest::FileByFilename(
                "gateway/gateway.proto".to_owned(),
            )),
            ..Default::default()
        };
        let mut replies =
            client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
        match replies.message().await.unwrap().unwrap().message_response.unwrap() {
            v1::server_reflection_response::MessageResponse::FileDescriptorResponse(files) => {
                files.file_descriptor_proto[0].clone()
            }
            other => panic!("{other:?}"),
        }
    });
    assert!(String::from_utf8_lossy(&file).contains("/v1/{name=accounts/*/datasets/*}:validateUpload"));
}
