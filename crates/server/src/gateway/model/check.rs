//! Checking the uploaded files of a model, which makes it READY.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth_domain::{Code, Model, ModelKind, ModelRef, Status};
use hearth_inference::assemble::{self, AssembleError, Problem, Take, Templates};
use hearth_inference::{InferenceError, Service};
use hearth_store::StoreError;
use hearth_store::installed::{self, InstalledKind, ModelManifest};

use super::files::upload_of;
use crate::error::{FieldViolation, ServerError};
use crate::limits::MODEL_PROBLEMS_SHOWN;
use crate::state::AppState;

/// Where a model came from that was uploaded through the API.
pub(crate) const UPLOADED: &str = "upload";

/// Checks all files of a model and installs it. Returns what its owner should know. A READY model stays so.
///
/// INVALID_ARGUMENT with files and tensors if they are wrong, which also stands in the model's status;
/// FAILED_PRECONDITION while files are missing.
pub(crate) async fn model_check(state: &AppState, name: &ModelRef) -> Result<Vec<String>, ServerError> {
    let (state, name) = (state.clone(), name.clone());
    // A task of its own: it takes as long as it takes, whoever waits for it.
    tokio::spawn(async move { checked(&state, &name, UPLOADED).await })
        .await
        .map_err(|source| ServerError::internal("checking a model", source))?
}

/// The same in the caller's task, for models from `source`.
pub(crate) async fn checked(
    state: &AppState,
    name: &ModelRef,
    source: &str,
) -> Result<Vec<String>, ServerError> {
    let _check = state.model_check_lock(name).await;
    let model = state.store().model_find(name).await?;
    if model.upload.is_none() {
        return Ok(Vec::new());
    }
    complete(state, &model).await?;
    let (found, staged) = examine(state, &model, source).await?;
    let outcome = match found {
        Ok((manifest, warnings)) => install(state, &model, &staged.0, manifest).await.map(|()| warnings),
        Err(error) => {
            note(state, &model, &error).await?;
            Err(error)
        }
    };
    tokio::task::spawn_blocking(move || drop(staged))
        .await
        .map_err(|source| ServerError::internal("removing what was staged", source))?;
    outcome
}

/// Fails unless all registered files are there.
async fn complete(state: &AppState, model: &Model) -> Result<(), ServerError> {
    let files = upload_of(model)?.files.clone();
    let name = model.name();
    if files.is_empty() {
        return Err(ServerError::FailedPrecondition(format!(
            "model {name} has no files; call getUploadEndpoint and upload them first"
        )));
    }
    let (uploads, of) = (state.store().uploads().clone(), name.clone());
    let missing = tokio::task::spawn_blocking(move || {
        let mut missing = Vec::new();
        for file in &files {
            match uploads.size_bytes(&of, &file.name)? {
                Some(size) if file.size_bytes == 0 || size == file.size_bytes => {}
                _ => missing.push(format!("{:?}", file.name)),
            }
        }
        Ok::<_, StoreError>(missing)
    })
    .await
    .map_err(|source| ServerError::internal("looking for the files of a model", source))??;
    if missing.is_empty() {
        return Ok(());
    }
    let more = missing.len().saturating_sub(MODEL_PROBLEMS_SHOWN);
    let shown = missing.into_iter().take(MODEL_PROBLEMS_SHOWN).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(ServerError::FailedPrecondition(format!("not uploaded yet: {shown}{more} of model {name}")))
}

/// A directory in the making; what is left of it goes away on drop.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // After an installation it is not there any more.
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Found = Result<(ModelManifest, Vec<String>), ServerError>;

/// Assembles the model in a staging directory. The outer error is for what is not the files' fault.
async fn examine(state: &AppState, model: &Model, source: &str) -> Result<(Found, Staged), ServerError> {
    let (data_dir, service) = (state.data_dir().to_owned(), state.inference().clone());
    let from = state.store().uploads().files_dir(&model.name());
    let (model, source) = (model.clone(), source.to_owned());
    tokio::task::spawn_blocking(move || {
        let staged = Staged(installed::stage(&data_dir)?);
        let found = match assembled(&service, &data_dir, &model, &from, &staged.0, &source) {
            Ok(found) => Ok(found),
            Err(ServerError::Invalid { message, violations }) => {
                Err(ServerError::Invalid { message, violations })
            }
            Err(other) => return Err(other),
        };
        Ok((found, staged))
    })
    .await
    .map_err(|source| ServerError::internal("checking a model", source))?
}

fn assembled(
    service: &Service,
    data_dir: &Path,
    model: &Model,
    from: &Path,
    dir: &Path,
    source: &str,
) -> Result<(ModelManifest, Vec<String>), ServerError> {
    let mut manifest = ModelManifest {
        version: ModelManifest::VERSION,
        kind: InstalledKind::Base,
        display_name: model.display_name.clone(),
        source: source.to_owned(),
        hub_id: None,
        parameter_count: 0,
        context_length: 0,
        model_type: String::new(),
        base_model: None,
        r: 0,
        target_modules: Vec::new(),
        files: Default::default(),
        create_time_ms: model.create_time_ms,
    };
    let warnings = match &model.kind {
        ModelKind::Base { .. } => {
            let backend = Arc::clone(service.backend());
            let facts =
                assemble::base(from, Take::All, dir, backend, Templates::Apart(service)).map_err(refused)?;
            manifest.parameter_count = facts.parameter_count;
            manifest.context_length = facts.context_length;
            manifest.model_type = facts.model_type;
            facts.warnings
        }
        ModelKind::Adapter { base_model, r, target_modules, .. } => {
            let base =
                installed::read(data_dir, &base_model.account, &base_model.id).map_err(
                    |error| match error {
                        StoreError::NotFound { .. } => ServerError::FailedPrecondition(format!(
                            "the base {base_model} of model {} is not installed any more",
                            model.name()
                        )),
                        other => other.into(),
                    },
                )?;
            let facts = assemble::adapter(service, &base.dir, from, dir).map_err(refused)?;
            as_announced(*r, target_modules, &facts)?;
            manifest.kind = InstalledKind::Adapter;
            manifest.parameter_count = facts.parameter_count;
            manifest.context_length = base.manifest.context_length;
            manifest.model_type = base.manifest.model_type;
            manifest.base_model = Some(base_model.clone());
            manifest.r = facts.r;
            manifest.target_modules = facts.target_modules;
            facts.warnings
        }
    };
    manifest.files = installed::digest_files(dir)?;
    Ok((manifest, warnings))
}

/// What the client said of an adapter must be what its files say.
fn as_announced(
    r: u32,
    target_modules: &[String],
    facts: &assemble::AdapterFacts,
) -> Result<(), ServerError> {
    let mut violations = Vec::new();
    if r != 0 && r != facts.r {
        let description = format!("is {r}, and adapter_config.json says {}", facts.r);
        violations.push(FieldViolation { field: "peftDetails.r".to_owned(), description });
    }
    let sorted = |modules: &[String]| {
        let mut modules = modules.to_vec();
        modules.sort();
        modules
    };
    if !target_modules.is_empty() && sorted(target_modules) != sorted(&facts.target_modules) {
        let (said, found) = (target_modules.join(", "), facts.target_modules.join(", "));
        let description = format!("are {said}, and adapter_config.json says {found}");
        violations.push(FieldViolation { field: "peftDetails.targetModules".to_owned(), description });
    }
    if violations.is_empty() { Ok(()) } else { Err(invalid(violations, 0)) }
}

/// What is wrong with the files, each with its place.
fn refused(error: AssembleError) -> ServerError {
    match error {
        AssembleError::Refused(problems) => {
            let more = problems.len().saturating_sub(MODEL_PROBLEMS_SHOWN);
            let violation = |problem: &Problem| FieldViolation {
                field: match &problem.tensor {
                    Some(tensor) => format!("{}:{tensor}", problem.file),
                    None if problem.file.is_empty() => "files".to_owned(),
                    None => problem.file.clone(),
                },
                description: problem.message.clone(),
            };
            invalid(problems.iter().take(MODEL_PROBLEMS_SHOWN).map(violation).collect(), more)
        }
        AssembleError::Check(InferenceError::QueueFull { .. }) => {
            ServerError::Unavailable("too many chat templates are being rendered; call again".to_owned())
        }
        other @ (AssembleError::Io { .. } | AssembleError::Check(_)) => {
            ServerError::internal("checking a model", other)
        }
    }
}

fn invalid(violations: Vec<FieldViolation>, more: usize) -> ServerError {
    let texts: Vec<String> =
        violations.iter().map(|one| format!("{}: {}", one.field, one.description)).collect();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    ServerError::Invalid { message: format!("{}{more}", texts.join("; ")), violations }
}

/// Writes into the model's status why it is not READY.
async fn note(state: &AppState, checked: &Model, error: &ServerError) -> Result<(), ServerError> {
    let status = Status::new(Code::InvalidArgument, error.to_string());
    state
        .store()
        .model_update(&checked.name(), |model| {
            // Files that came meanwhile were not looked at.
            if let Some(upload) = model.upload.as_mut()
                && model.create_time_ms == checked.create_time_ms
                && Some(&upload.files) == checked.upload.as_ref().map(|upload| &upload.files)
            {
                upload.status = status;
                model.update_time_ms = crate::now_ms();
            }
            Ok(())
        })
        .await?;
    Ok(())
}

/// Moves the staged model to its place and lets its row say so.
async fn install(
    state: &AppState,
    checked: &Model,
    staged: &Path,
    manifest: ModelManifest,
) -> Result<(), ServerError> {
    let name = checked.name();
    let _lock = state.model_lock(&name).await;
    let now = state.store().model_find(&name).await?;
    let files = |model: &Model| model.upload.as_ref().map(|upload| upload.files.clone());
    if now.create_time_ms != checked.create_time_ms || files(&now) != files(checked) {
        return Err(ServerError::FailedPrecondition(format!(
            "the files of model {name} changed while they were checked; call validateUpload again"
        )));
    }
    let (data_dir, staged, of) = (state.data_dir().to_owned(), staged.to_owned(), name.clone());
    tokio::task::spawn_blocking(move || {
        installed::install(&data_dir, &of.account, &of.id, &staged, &manifest)
    })
    .await
    .map_err(|source| ServerError::internal("installing a model", source))??;
    // From here on the model is READY, whatever happens: a start would find it as this does.
    crate::state::sync_models(state.store()).await?;
    state
        .store()
        .model_update(&name, |model| {
            model.update_time_ms = crate::now_ms();
            Ok(())
        })
        .await?;
    let uploads = state.store().uploads().clone();
    tokio::task::spawn_blocking(move || uploads.remove(&name))
        .await
        .map_err(|source| ServerError::internal("removing uploaded files", source))??;
    Ok(())
}
