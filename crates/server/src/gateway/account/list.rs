//! `ListAccounts`.

use hearth_domain::Account;
use hearth_proto::gateway as pb;
use hearth_store::{Comparator, Condition, Listed, Value};

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, total_size};

/// The caller's own account and that of the shared models; with `showAll` every account, for the operator only.
pub(in crate::gateway) async fn account_list(
    call: &Call,
    request: pb::ListAccountsRequest,
) -> Result<pb::ListAccountsResponse, ServerError> {
    let mut query = list_query(
        Resource::ACCOUNT,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    if request.show_all {
        call.caller.must_be_operator("list all accounts")?;
    } else {
        let name = Listed::Account.column("name").expect("accounts have names");
        let is = |account: &str| {
            Condition::Compare(name, Comparator::Equal, Value::Text(format!("accounts/{account}")))
        };
        let seen = Condition::Any(vec![is(call.caller.account.as_str()), is(Account::CATALOGUE)]);
        query.filter = Condition::All(vec![seen, query.filter]);
    }
    let page = call.state.store().account_list(&query).await?;
    let accounts = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListAccountsResponse {
        accounts: mask::apply_all("Account", accounts, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}
