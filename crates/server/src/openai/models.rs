//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use hearth_data::ToolForm;
use hearth_data::template::source_of;
use hearth_domain::{Account, AccountId, Model, ModelKind};
use hearth_store::Store;
use hearth_store::installed::model_dir;
use serde_json::{Value, json};

use super::error::OpenAiError;
use super::lookup;
use crate::deployments::model_files;
use crate::error::ServerError;
use crate::state::AppState;

/// Most models of one account that the list shows, and most names beside theirs; the gateway's own lists have pages.
const LISTED_PER_ACCOUNT_MAX: usize = 1000;

/// A model, under one of its names.
type Named = (String, Model);

/// Bases that everybody may use, then the models of the caller's account, then what the account has deployed, in
/// OpenAI's form.
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
    let mut named: Vec<Named> = models.into_iter().map(|model| (model.name().to_string(), model)).collect();
    for (name, model) in state.deployments().names(&caller.account, LISTED_PER_ACCOUNT_MAX).await? {
        // One whose model is gone, or whose base is, does not answer.
        if let Some((model, _)) = model_files(store, &model).await? {
            named.push((name, model));
        }
    }
    Ok(Json(json!({"object": "list", "data": entries(&state, named).await?})))
}

/// One model, by a name that chats take.
///
/// # Errors
/// 404 for models that cannot be used, as for chats.
pub(super) async fn get(
    State(state): State<AppState>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    let caller = crate::auth::authenticate(&state, &headers).await?;
    let model = lookup::model(&state, &caller, &name).await?;
    Ok(Json(entries(&state, vec![model]).await?.remove(0)))
}

async fn of_account(store: &Store, account: &AccountId) -> Result<Vec<Model>, ServerError> {
    let mut models: Vec<Model> = store.first(account, LISTED_PER_ACCOUNT_MAX).await?;
    models.retain(|model| model.upload.is_none());
    Ok(models)
}

/// What is shown of models. Their chat templates are read for it, which blocks.
async fn entries(state: &AppState, models: Vec<Named>) -> Result<Vec<Value>, ServerError> {
    let state = state.clone();
    let entries = move || models.iter().map(|named| entry(&state, named)).collect();
    tokio::task::spawn_blocking(entries)
        .await
        .map_err(|error| ServerError::internal("the models cannot be shown", error))
}

fn entry(state: &AppState, (name, model): &Named) -> Value {
    let template = source_of(&model_dir(state.data_dir(), &model.account, &model.id));
    // One that cannot be read is found out by the first chat.
    let form = template.ok().flatten().as_deref().and_then(ToolForm::of);
    let kind = match model.kind {
        ModelKind::Base { .. } => "HF_BASE_MODEL",
        ModelKind::Adapter { .. } => "HF_PEFT_ADDON",
    };
    json!({
        "id": name,
        "object": "model",
        "created": model.create_time_ms / 1000,
        "owned_by": model.account.as_str(),
        "kind": kind,
        "supports_chat": true,
        "supports_image_input": false,
        "supports_tools": form.is_some_and(ToolForm::is_read),
        "context_length": model.context_length,
    })
}
