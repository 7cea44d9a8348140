//! `ListQuotas`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn quota_list(
    call: &Call,
    request: pb::ListQuotasRequest,
) -> Result<pb::ListQuotasResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("ListQuotas is not supported by this server yet".to_owned()))
}
