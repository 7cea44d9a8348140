//! Long-running operations.

pub(super) mod get;

use hearth_domain::{Operation, OperationEnd};
use hearth_proto::gateway as pb;
use hearth_proto::google::longrunning::{self, operation::Result as LongrunningResult};
use hearth_proto::google::rpc;
use prost::Message;

use super::model;
use super::time::timestamp;
use crate::operations::status_message;

/// The record as clients see it. The model is shown as it was when the operation ended.
pub(super) fn to_pb(operation: &Operation) -> longrunning::Operation {
    let metadata = pb::OperationMetadata {
        create_time: Some(timestamp(operation.create_time_ms)),
        update_time: Some(timestamp(operation.update_time_ms)),
        status_message: status_message(operation),
    };
    let result = operation.end.as_ref().map(|end| match end {
        OperationEnd::Made(made) => {
            LongrunningResult::Response(any("Model", &model::to_pb(made, Vec::new())))
        }
        OperationEnd::Failed(status) => LongrunningResult::Error(rpc::Status {
            code: status.code.number(),
            message: status.message.clone(),
            details: Vec::new(),
        }),
    });
    longrunning::Operation {
        name: operation.name(),
        metadata: Some(any("OperationMetadata", &metadata)),
        done: operation.end.is_some(),
        result,
    }
}

/// A message of this API in an envelope that names its type.
fn any(type_name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/gateway.{type_name}"),
        value: message.encode_to_vec(),
    }
}
