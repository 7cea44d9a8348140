//! `ImportModel`.

use hearth_proto::{gateway as pb, google};

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn model_import(
    call: &Call,
    request: pb::ImportModelRequest,
) -> Result<google::longrunning::Operation, ServerError> {
    let account = names::model("name", &request.name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("ImportModel is not supported by this server yet".to_owned()))
}
