//! `ListAccounts`.

use hearth_proto::gateway as pb;
use hearth_store::{ListPage, StoreError};

use crate::error::ServerError;
use crate::gateway::{Call, list_query, mask, total_size};

/// The caller's own account; with `showAll` every account, for the operator only.
pub(in crate::gateway) async fn account_list(
    call: &Call,
    request: pb::ListAccountsRequest,
) -> Result<pb::ListAccountsResponse, ServerError> {
    let query = list_query(request.page_size, &request.page_token, &request.filter, &request.order_by)?;
    let store = call.state.store();
    let page = if request.show_all {
        call.caller.must_be_operator("list all accounts")?;
        store.account_list(query).await?
    } else {
        // A list of one: it has no second page.
        if !query.page_token.is_empty() {
            return Err(StoreError::PageToken.into());
        }
        if query.page_size < 0 {
            return Err(StoreError::PageSize(query.page_size).into());
        }
        let own = store.account_get(&call.caller.account).await?;
        ListPage { items: vec![own], next_page_token: String::new(), total_size: 1 }
    };
    let accounts = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListAccountsResponse {
        accounts: mask::apply_all("Account", accounts, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}
