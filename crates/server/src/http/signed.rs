//! Signed URLs: who has one may read or write one file for an hour, without a key.

use axum::extract::Request;
use hearth_domain::{DatasetRef, Job, ModelRef};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::context::RequestContext;
use crate::error::ServerError;
use crate::limits::SIGNED_URL_LIFE;
use crate::note;
use crate::state::AppState;

/// What a file name keeps in a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

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
    let life_ms = i64::try_from(SIGNED_URL_LIFE.as_millis()).expect("an hour fits");
    let note = note::current();
    let key_id = note.as_ref().and_then(|note| note.who()).map_or("", |who| who.key_id.as_str());
    let query = state.signer().sign(method.as_str(), path, key_id, crate::now_ms() + life_ms);
    format!("{}{path}?key={key_id}&{query}", context.base_url)
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

/// Where a file of a model can be read.
pub(crate) fn model_file_url(
    state: &AppState,
    context: &RequestContext,
    model: &ModelRef,
    file: &str,
) -> String {
    let file = utf8_percent_encode(file, IN_PATH);
    let path = format!("/signed/models/{}/{}/{file}", model.account, model.id);
    url(state, context, &Method::GET, &path)
}

/// Where metrics and log of a job can be read, from the moment when the job exists.
pub(crate) fn run_urls(state: &AppState, context: &RequestContext, job: &Job) -> RunUrls {
    let of = |file: &str| {
        url(state, context, &Method::GET, &format!("/signed/runs/{}/{}/{file}", job.account, job.id))
    };
    RunUrls { metrics: of(METRICS_FILE), log: of(LOG_FILE) }
}

/// Checks the signature of a request and counts it as one of the key that asked for the URL. Altered and expired URLs are
/// PERMISSION_DENIED.
pub(crate) fn check(state: &AppState, request: &Request) -> Result<(), ServerError> {
    let query = request.uri().query().unwrap_or_default();
    let value = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    };
    let expires_ms = value("expires").and_then(|text| text.parse::<i64>().ok());
    let (Some(expires_ms), Some(signature)) = (expires_ms, value("signature")) else {
        return Err(ServerError::PermissionDenied("the url is not signed; ask for a signed one".to_owned()));
    };
    // Who may read may also ask how long the file is.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let path = request.uri().path();
    let key_id = value("key").unwrap_or_default();
    state.signer().check(method.as_str(), path, &key_id, expires_ms, &signature, crate::now_ms())?;
    let Some(note) = note::current() else { return Ok(()) };
    // `/signed/KIND/ACCOUNT/...`
    note.set_who(path.split('/').nth(3).unwrap_or_default(), &key_id);
    if method == Method::PUT {
        note.set_upload();
    }
    crate::auth::count(state, note.class(), note.holder().unwrap_or_default())
}
