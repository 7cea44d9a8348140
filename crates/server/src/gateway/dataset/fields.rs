//! The fields of a dataset that clients write: what may stand in them.

use hearth_domain::{DatasetFormat, DatasetRef, Location, LocationError};
use hearth_proto::gateway as pb;

use crate::auth::Caller;
use crate::error::ServerError;
use crate::gateway::names;

/// Fields that are acted on when a dataset is made.
pub(super) const SUPPORTED_AT_CREATION: &[&str] =
    &["displayName", "exampleCount", "externalUrl", "format", "sourceJobName", "userUploaded"];

/// Fields that are acted on later.
pub(super) const SUPPORTED: &[&str] =
    &["displayName", "exampleCount", "format", "sourceJobName", "userUploaded"];

/// Longest display name, in characters.
const DISPLAY_NAME_MAX_CHARS: usize = 63;

pub(super) fn display_name(text: String) -> Result<String, ServerError> {
    if text.chars().count() > DISPLAY_NAME_MAX_CHARS {
        let limit = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
        return Err(ServerError::field("dataset.displayName", limit));
    }
    Ok(text)
}

/// A URL of rows that this server can read, or nothing.
pub(super) fn external_url(url: String) -> Result<String, ServerError> {
    const FIELD: &str = "dataset.externalUrl";
    if url.is_empty() {
        return Ok(url);
    }
    match Location::parse(&url) {
        Ok(_) => Ok(url),
        Err(LocationError::Malformed(what)) => Err(ServerError::field(FIELD, what)),
        Err(LocationError::Unsupported(what)) => Err(ServerError::Unimplemented(format!("{FIELD}: {what}"))),
    }
}

pub(super) fn example_count(count: i64) -> Result<u64, ServerError> {
    u64::try_from(count)
        .map_err(|_| ServerError::field("dataset.exampleCount", format!("{count} is below 0")))
}

pub(super) fn format(format: i32) -> Result<DatasetFormat, ServerError> {
    let known = pb::dataset::Format::try_from(format)
        .map_err(|_| ServerError::field("dataset.format", format!("{format} is no format")))?;
    Ok(match known {
        pb::dataset::Format::Unspecified => DatasetFormat::Unspecified,
        pb::dataset::Format::Chat => DatasetFormat::Chat,
        pb::dataset::Format::Completion => DatasetFormat::Completion,
        pb::dataset::Format::Rl => {
            return Err(ServerError::Unimplemented(
                "dataset.format: this server has no use for RL rows; give CHAT or COMPLETION".to_owned(),
            ));
        }
    })
}

/// The name of a job that the caller may read. It may be gone: a dataset outlives the job that made it.
pub(super) fn source_job_name(caller: &Caller, name: String) -> Result<String, ServerError> {
    const FIELD: &str = "dataset.sourceJobName";
    if name.is_empty() {
        return Ok(name);
    }
    let account = match (names::job(FIELD, &name), names::batch_inference_job(FIELD, &name)) {
        (Ok((account, _)), _) | (_, Ok((account, _))) => account,
        _ => {
            let what = "is not of the form accounts/{account}/supervisedFineTuningJobs/{job} or \
                        accounts/{account}/batchInferenceJobs/{job}";
            return Err(ServerError::field(FIELD, what));
        }
    };
    caller.may_read(&account)?;
    Ok(name)
}

/// A dataset that must be READY has other states, and then nothing can be read of it.
pub(super) fn not_ready(name: &DatasetRef) -> ServerError {
    ServerError::FailedPrecondition(format!(
        "dataset {name} is not READY; upload its files and call validateUpload first"
    ))
}
