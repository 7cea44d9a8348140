//! Signed URLs: who has one may read or write one file for an hour, without a key.

use std::time::Duration;

use axum::extract::Request;
use hearth_domain::{DatasetRef, Job, ModelRef};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::context::RequestContext;
use crate::error::ServerError;
use crate::limits::{MODEL_UPLOAD_LIFE, SIGNED_URL_LIFE};
use crate::note;
use crate::state::AppState;

/// What a file name keeps in a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a path to a model's file keeps: as above, and the slash behind a folder.
const IN_MODEL_PATH: &AsciiSet = &IN_PATH.remove(b'/');
/// Query parameter that names the session of a resumable upload.
const UPLOAD_ID: &str = "upload_id";

/// Name of the metrics in URLs of a run.
pub(crate) const METRICS_FILE: &str = "metrics.jsonl";
/// Name of the trainer's output in URLs of a run.
pub(crate) const LOG_FILE: &str = "trainer.log";

/// The two files of a run that the API shows.
pub(crate) struct RunUrls {
    pub(crate) metrics: String,
    pub(crate) log: String,
}

/// Signs `path`, percent-encoded as it will be requested, together with the id of the key that asked for it.
fn url(state: &AppState, context: &RequestContext, method: &Method, path: &str) -> String {
    let key_id = key_id();
    let query = state.signer().sign(method.as_str(), path, &key_id, expires_ms(SIGNED_URL_LIFE));
    format!("{}{path}?key={key_id}&{query}", context.base_url)
}

/// Key of the caller, who answers for what is done with the URL.
fn key_id() -> String {
    let note = note::current();
    note.as_ref().and_then(|note| note.who()).map(|who| who.key_id.clone()).unwrap_or_default()
}

/// What the signature of a session's URL binds besides path and time.
fn session_extra(key_id: &str, session: &str) -> String {
    format!("{key_id} {session}")
}

fn expires_ms(life: Duration) -> i64 {
    crate::now_ms() + i64::try_from(life.as_millis()).expect("the life of a url fits")
}

fn dataset_path(dataset: &DatasetRef, file: &str) -> String {
    let file = utf8_percent_encode(file, IN_PATH);
    format!("/signed/datasets/{}/{}/{file}", dataset.account, dataset.id)
}

/// Where a file of a dataset is PUT.
pub(crate) fn upload_url(
    state: &AppState,
    context: &RequestContext,
    dataset: &DatasetRef,
    file: &str,
) -> String {
    url(state, context, &Method::PUT, &dataset_path(dataset, file))
}

/// Where a file of a dataset can be read.
pub(crate) fn dataset_file_url(
    state: &AppState,
    context: &RequestContext,
    dataset: &DatasetRef,
    file: &str,
) -> String {
    url(state, context, &Method::GET, &dataset_path(dataset, file))
}

fn model_path(model: &ModelRef, file: &str) -> String {
    let file = utf8_percent_encode(file, IN_MODEL_PATH);
    format!("/signed/models/{}/{}/{file}", model.account, model.id)
}

/// Where a file of a model can be read.
pub(crate) fn model_file_url(
    state: &AppState,
    context: &RequestContext,
    model: &ModelRef,
    file: &str,
) -> String {
    url(state, context, &Method::GET, &model_path(model, file))
}

/// Where a file of a model is PUT, or where its resumable upload is begun with POST.
pub(crate) fn model_upload_url(
    state: &AppState,
    context: &RequestContext,
    model: &ModelRef,
    file: &str,
    is_resumable: bool,
) -> String {
    let method = if is_resumable { Method::POST } else { Method::PUT };
    url(state, context, &method, &model_path(model, file))
}

/// Where the pieces of a resumable upload are PUT. It lives as long as what was uploaded.
pub(crate) fn model_session_url(
    state: &AppState,
    context: &RequestContext,
    model: &ModelRef,
    file: &str,
    session: &str,
) -> String {
    let path = model_path(model, file);
    let expires_ms = expires_ms(MODEL_UPLOAD_LIFE);
    let key_id = key_id();
    let query =
        state.signer().sign(Method::PUT.as_str(), &path, &session_extra(&key_id, session), expires_ms);
    format!("{}{path}?{UPLOAD_ID}={session}&key={key_id}&{query}", context.base_url)
}

/// Where metrics and log of a job can be read, from the moment when the job exists.
pub(crate) fn run_urls(state: &AppState, context: &RequestContext, job: &Job) -> RunUrls {
    let of = |file: &str| {
        url(state, context, &Method::GET, &format!("/signed/runs/{}/{}/{file}", job.account, job.id))
    };
    RunUrls { metrics: of(METRICS_FILE), log: of(LOG_FILE) }
}

/// What a URL was signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// A file.
    File,
    /// A session of an upload, which the URL names.
    Session,
}

/// The session that a URL names.
pub(crate) fn upload_id(request: &Request) -> Option<String> {
    query_value(request, UPLOAD_ID)
}

fn query_value(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Checks the signature of a request and counts it as one of the key that asked for the URL. Altered and expired URLs are
/// PERMISSION_DENIED.
pub(crate) fn check(state: &AppState, request: &Request) -> Result<(), ServerError> {
    // Who may read may also ask how long the file is.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    check_signed(state, request, method, Signed::File)
}

/// The same for a URL that was signed for `method`, whatever the request's is.
pub(crate) fn check_signed(
    state: &AppState,
    request: &Request,
    method: &Method,
    signed: Signed,
) -> Result<(), ServerError> {
    let expires_ms = query_value(request, "expires").and_then(|text| text.parse::<i64>().ok());
    let (Some(expires_ms), Some(signature)) = (expires_ms, query_value(request, "signature")) else {
        return Err(ServerError::PermissionDenied("the url is not signed; ask for a signed one".to_owned()));
    };
    let path = request.uri().path();
    let key_id = query_value(request, "key").unwrap_or_default();
    let extra = match signed {
        Signed::File => key_id.clone(),
        Signed::Session => session_extra(&key_id, &upload_id(request).unwrap_or_default()),
    };
    state.signer().check(method.as_str(), path, &extra, expires_ms, &signature, crate::now_ms())?;
    let Some(note) = note::current() else { return Ok(()) };
    // `/signed/KIND/ACCOUNT/...`
    note.set_who(path.split('/').nth(3).unwrap_or_default(), &key_id);
    if request.method() == Method::PUT {
        note.set_upload();
    }
    crate::auth::count(state, note.class(), note.holder().unwrap_or_default())
}
