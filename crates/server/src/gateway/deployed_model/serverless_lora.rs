//! `ListServerlessLoraModels`.

use hearth_domain::{Account, AccountId};
use hearth_proto::gateway as pb;
use hearth_store::{Comparator, Condition, ListQuery, Listed, PAGE_SIZE_MAX, Value};

use crate::error::ServerError;
use crate::gateway::Call;

/// Most bases that are named: the reply has no pages.
const BASES_MAX: usize = 10_000;

/// Names the bases whose adapters answer without a deployment of their own: all of the catalogue.
pub(in crate::gateway) async fn serverless_lora_list(
    call: &Call,
    _request: pb::ListServerlessLoraModelsRequest,
) -> Result<pb::ListServerlessLoraModelsResponse, ServerError> {
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let catalogue = AccountId::new(Account::CATALOGUE).expect("the catalogue's account has a valid id");
    let kind = Listed::Model.column("kind").expect("models have a kind");
    let is_base = Condition::Compare(kind, Comparator::Equal, Value::Text("HF_BASE_MODEL".to_owned()));
    let mut query = ListQuery { page_size: PAGE_SIZE_MAX, filter: is_base, ..ListQuery::default() };
    let mut models = Vec::new();
    while models.len() < BASES_MAX {
        let page = store.model_list(&catalogue, &query).await?;
        let ready = page.items.iter().filter(|model| model.upload.is_none());
        models.extend(ready.map(|model| model.name().to_string()));
        query.page_token = page.next_page_token;
        if query.page_token.is_empty() {
            break;
        }
    }
    Ok(pb::ListServerlessLoraModelsResponse { models })
}
