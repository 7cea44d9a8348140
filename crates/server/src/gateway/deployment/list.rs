//! `ListDeployments`.

use hearth_proto::gateway as pb;
use hearth_store::{Comparator, Condition, Listed, Order, Value};

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the deployments of an account, with the one that is built in; deleted ones only if asked for.
pub(in crate::gateway) async fn deployment_list(
    call: &Call,
    request: pb::ListDeploymentsRequest,
) -> Result<pb::ListDeploymentsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read_models(&account)?;
    let mut query = list_query(
        Resource::DEPLOYMENT,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let column = |path| Listed::Deployment.column(path).expect("deployments have it");
    if query.order.is_empty() {
        query.order.push(Order::By { column: column("create_time"), descending: false });
    }
    if !request.show_deleted {
        let deleted = Value::Text("deleted".to_owned());
        let is_there = Condition::Compare(column("state"), Comparator::NotEqual, deleted);
        query.filter = Condition::All(vec![is_there, query.filter]);
    }
    let page = call.state.store().deployment_list(&account, &query).await?;
    let deployments = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListDeploymentsResponse {
        deployments: mask::apply_all("Deployment", deployments, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}
