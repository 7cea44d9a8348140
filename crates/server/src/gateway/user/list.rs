//! `ListUsers`.

use hearth_domain::User;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the users of an account. Admins only.
pub(in crate::gateway) async fn user_list(
    call: &Call,
    request: pb::ListUsersRequest,
) -> Result<pb::ListUsersResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_administer(&account)?;
    let query = list_query(
        Resource::USER,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let page = call.state.store().list::<User>(&account, &query).await?;
    let users = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListUsersResponse {
        users: mask::apply_all("User", users, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}
