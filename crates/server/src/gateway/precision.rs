//! In which form weights are computed with: that in which they are stored, and no other.

use hearth_domain::{Code, Model, ModelKind, ModelRef};
use hearth_proto::gateway as pb;
use hearth_store::installed::model_dir;
use pb::deployment::Precision;

use crate::error::{FieldViolation, ServerError};
use crate::state::AppState;

/// How the weights of a model, or of its base, are stored, in the API's word. Empty if it has none for it.
pub(super) async fn stored(state: &AppState, model: &Model) -> Result<&'static str, ServerError> {
    let base: ModelRef = match &model.kind {
        ModelKind::Base { .. } => model.name(),
        ModelKind::Adapter { base_model, .. } => base_model.clone(),
    };
    let dir = model_dir(state.data_dir(), &base.account, &base.id);
    let what = "reading how a model's weights are stored";
    let stored = tokio::task::spawn_blocking(move || hearth_inference::stored_precision(&dir))
        .await
        .map_err(|source| ServerError::internal(what, source))?
        .map_err(|source| ServerError::internal(what, source))?;
    Ok(match stored.as_deref() {
        Some("BF16") => "BF16",
        Some("F16") => "FP16",
        _ => "",
    })
}

/// The word as the API's value.
pub(super) fn value(word: &str) -> Precision {
    Precision::from_str_name(word).unwrap_or_default()
}

/// Refuses another precision than that of the stored weights.
pub(super) fn check(given: Precision, stored: &str) -> Result<(), ServerError> {
    if given == Precision::Unspecified || given == value(stored) {
        return Ok(());
    }
    let stored = if stored.is_empty() { "which has no name here" } else { stored };
    let given = given.as_str_name();
    let description =
        format!("weights are used as they are stored ({stored}), and not as {given}; leave it out");
    let violations = vec![FieldViolation { field: "precision".to_owned(), description }];
    Err(ServerError::Refused { code: Code::Unimplemented, violations })
}
