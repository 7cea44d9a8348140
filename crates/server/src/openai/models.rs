//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use hearth_domain::{Account, AccountId, Model, ModelKind};
use hearth_store::{ListQuery, Store};
use serde_json::{Value, json};

use super::error::OpenAiError;
use super::lookup;
use crate::error::ServerError;
use crate::limits::PAGE_SIZE_MAX;
use crate::state::AppState;

/// Most models of one account that the list shows; the gateway's own list has pages.
const LISTED_PER_ACCOUNT_MAX: usize = 1000;

/// Bases that everybody may use, then the models of the caller's account, in OpenAI's form.
pub(super) async fn list(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Json<Value>, OpenAiError> {
    let caller = crate::auth::authenticate(&state, &headers).await?;
    let store = state.store();
    crate::state::sync_models(store).await.map_err(ServerError::from)?;
    let catalogue = AccountId::new(Account::CATALOGUE).expect("the catalogue's id is an id");
    let mut models = of_account(store, &catalogue).await?;
    if caller.account != catalogue {
        models.extend(of_account(store, &caller.account).await?);
    }
    let data: Vec<Value> = models.iter().map(entry).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

/// One model, by its full name.
///
/// # Errors
/// 404 for models that cannot be used, as for chats.
pub(super) async fn get(
    State(state): State<AppState>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    let caller = crate::auth::authenticate(&state, &headers).await?;
    Ok(Json(entry(&lookup::model(&state, &caller, &name).await?)))
}

async fn of_account(store: &Store, account: &AccountId) -> Result<Vec<Model>, ServerError> {
    let mut models = Vec::new();
    let mut query = ListQuery { page_size: PAGE_SIZE_MAX, ..ListQuery::default() };
    while models.len() < LISTED_PER_ACCOUNT_MAX {
        let page = store.model_list(account, &query).await?;
        models.extend(page.items);
        query.page_token = page.next_page_token;
        if query.page_token.is_empty() {
            break;
        }
    }
    models.truncate(LISTED_PER_ACCOUNT_MAX);
    Ok(models)
}

fn entry(model: &Model) -> Value {
    let kind = match model.kind {
        ModelKind::Base { .. } => "HF_BASE_MODEL",
        ModelKind::Adapter { .. } => "HF_PEFT_ADDON",
    };
    json!({
        "id": model.name().to_string(),
        "object": "model",
        "created": model.create_time_ms / 1000,
        "owned_by": model.account.as_str(),
        "kind": kind,
        "supports_chat": true,
        "supports_image_input": false,
        "supports_tools": false,
        "context_length": model.context_length,
    })
}
