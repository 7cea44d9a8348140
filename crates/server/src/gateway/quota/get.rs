//! `GetQuota`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn quota_get(
    call: &Call,
    request: pb::GetQuotaRequest,
) -> Result<pb::Quota, ServerError> {
    let account = names::quota("name", &request.name)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("GetQuota is not supported by this server yet".to_owned()))
}
