//! Uploads: the multipart form of a small file, and PUT to a signed URL.

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Path as PathParams, Request, State};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use hearth_domain::{AccountId, Dataset, DatasetFile, DatasetId, DatasetRef};
use hearth_store::{ObjectKey, SizeRule};
use http::{HeaderMap, header};
use serde_json::json;

use super::signed::check;
use crate::error::ServerError;
use crate::gateway::dataset::{check::dataset_check, files};
use crate::gateway::names;
use crate::limits::{MULTIPART_FILE_MAX_BYTES, SIGNED_FILE_MAX_BYTES};
use crate::state::AppState;

/// Name of the form's part that holds the file.
const FILE_PART: &str = "file";
/// Room for what stands around the file in a form.
const FORM_MAX_BYTES: u64 = 64 << 10;
/// How clients of the hosted storage say how many bytes they will send: `smallest,largest`.
const LENGTH_RANGE_HEADER: &str = "x-goog-content-length-range";

/// `POST .../datasets/{dataset}:upload`: one file in the part `file`. The dataset is READY when this returns;
/// a file that cannot be trained on leaves nothing behind but the dataset's status.
pub(crate) async fn dataset_upload(
    state: AppState,
    name: String,
    request: Request,
) -> Result<Response, ServerError> {
    let caller = crate::auth::authenticate(&state, request.headers()).await?;
    let name = names::dataset("name", &name)?;
    caller.may_change(&name.account)?;
    // A client that says at once that it has too much need not send it.
    if content_length(request.headers())
        .is_some_and(|bytes| bytes > MULTIPART_FILE_MAX_BYTES + FORM_MAX_BYTES)
    {
        return Err(ServerError::TooLarge { what: "the upload", max_bytes: MULTIPART_FILE_MAX_BYTES });
    }
    files::uploading(&state, &name).await?;
    let file = store_part(&state, &name, request).await?;
    let dataset = match dataset_check(&state, &name).await {
        Ok(dataset) => dataset,
        Err(error) => {
            files::forget(&state, &name, &file).await?;
            return Err(error);
        }
    };
    if dataset.files != [file.clone()] {
        return Err(ServerError::FailedPrecondition(format!(
            "another upload took the place of this one in dataset {name}"
        )));
    }
    let reply = json!({
        "id": name.id.as_str(),
        "bytes": file.size_bytes,
        "created_at": dataset.create_time_ms / 1000,
        "filename": file.name,
        "object": "file",
        "purpose": "fine-tune",
    });
    Ok(axum::Json(reply).into_response())
}

/// Streams the part to the objects and makes it the only file of the dataset.
async fn store_part(
    state: &AppState,
    name: &DatasetRef,
    request: Request,
) -> Result<DatasetFile, ServerError> {
    let _permit = state.upload_permit()?;
    let bad_form =
        |error: MultipartError| ServerError::invalid(format!("multipart form: {}", error.body_text()));
    let mut form = Multipart::from_request(request, state).await.map_err(|_| {
        ServerError::invalid("the body is not a multipart form; send the file as its part \"file\"")
    })?;
    while let Some(field) = form.next_field().await.map_err(bad_form)? {
        if field.name() != Some(FILE_PART) {
            continue;
        }
        let file_name = part_file_name(&field);
        files::check_name(FILE_PART, name, &file_name)?;
        let key = ObjectKey::dataset_file(name, &file_name)?;
        let rule = SizeRule::AtMost(MULTIPART_FILE_MAX_BYTES);
        let staged = state.objects().stage(&key, rule, field).await?;
        let note = |dataset: &mut Dataset, file| files::set_files(dataset, vec![file]);
        return files::publish(state, name, file_name, staged, note).await;
    }
    Err(ServerError::field(FILE_PART, "the form has no part of this name"))
}

/// The name that the client gave. Some clients send none, or one without an extension.
fn part_file_name(field: &Field<'_>) -> String {
    let given = field.file_name().unwrap_or("upload");
    if given.contains('.') { given.to_owned() } else { format!("{given}.jsonl") }
}

/// `PUT` to a signed URL: the bytes of one registered file, of any content type. 200 when all are stored;
/// otherwise the file is as it was before.
pub(crate) async fn signed_put(
    State(state): State<AppState>,
    PathParams((account, dataset, file)): PathParams<(String, String, String)>,
    request: Request,
) -> Result<Response, ServerError> {
    check(&state, &request)?;
    let invalid = |error: &dyn std::error::Error| ServerError::invalid(error.to_string());
    let name = DatasetRef {
        account: AccountId::new(account).map_err(|error| invalid(&error))?,
        id: DatasetId::new(dataset).map_err(|error| invalid(&error))?,
    };
    let known = files::uploading(&state, &name).await?;
    let registered = known.files.iter().find(|known| known.name == file).ok_or_else(|| {
        ServerError::NotFound(format!(
            "file {file:?} is not registered with dataset {name} any more; ask for new upload urls"
        ))
    })?;
    let rule = size_rule(registered.announced_bytes, SIGNED_FILE_MAX_BYTES, request.headers())?;
    let _permit = state.upload_permit()?;
    let key = ObjectKey::dataset_file(&name, &file)?;
    let pieces = request.into_body().into_data_stream().map_err(axum::Error::into_inner);
    let staged = state.objects().stage(&key, rule, pieces).await?;
    files::publish(&state, &name, file, staged, files::set_uploaded).await?;
    Ok(Body::empty().into_response())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// How many bytes must come: the announced size, if there is one (0 is none); what the length-range header says; what
/// Content-Length says; and at most `limit_bytes`.
pub(super) fn size_rule(
    announced_bytes: u64,
    limit_bytes: u64,
    headers: &HeaderMap,
) -> Result<SizeRule, ServerError> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let range = match headers.get(LENGTH_RANGE_HEADER) {
        None => (0, limit_bytes),
        Some(_) => text(LENGTH_RANGE_HEADER)
            .and_then(|range| range.split_once(','))
            .and_then(|(least, most)| Some((number(least)?, number(most)?)))
            .filter(|(least, most)| least <= most)
            .ok_or_else(|| {
                ServerError::invalid(format!("header {LENGTH_RANGE_HEADER} is not of the form least,most"))
            })?,
    };
    let length = content_length(headers);
    let exact = if announced_bytes > 0 { Some(announced_bytes) } else { length };
    let (least, most) = (range.0, range.1.min(limit_bytes));
    match exact {
        Some(size) if !(least..=most).contains(&size) => Err(ServerError::invalid(format!(
            "the file has {size} bytes, which is not between {least} and {most}"
        ))),
        Some(size) => match length {
            Some(length) if length != size => {
                Err(ServerError::invalid(format!("{size} bytes were announced and {length} are sent")))
            }
            _ => Ok(SizeRule::Exactly(size)),
        },
        None if least == most => Ok(SizeRule::Exactly(most)),
        None if least > 0 => {
            Err(ServerError::invalid("a least number of bytes needs the header content-length"))
        }
        None => Ok(SizeRule::AtMost(most)),
    }
}
