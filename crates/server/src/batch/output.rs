//! The output dataset: reserved when the job is made, filled when all rows are done.

use hearth_domain::{BatchInferenceJob, Dataset, DatasetFile, DatasetState};
use hearth_store::{ObjectKey, PutOutcome, StagedWriter, StoreError};
use serde_json::{Value, json};

use super::JobDir;
use super::journal::{Outcome, entries};
use crate::error::ServerError;
use crate::state::AppState;

/// File of the answers.
const RESULTS: &str = "results.jsonl";
/// File of the rows that have an error instead; there only if there are such rows.
const ERRORS: &str = "errors.jsonl";

/// Writes the files and makes the dataset READY. May be done again.
pub(super) async fn write(state: &AppState, job: &BatchInferenceJob) -> Result<(), ServerError> {
    let objects = state.objects().clone();
    let (journal, output) = (JobDir::of(state, job).journal(), job.output.clone());
    let written = tokio::task::spawn_blocking(move || {
        let mut staging = objects.staging()?;
        let (mut results, mut errors) = (staging.create()?, staging.create()?);
        let (mut rows, mut failed) = (0_u64, 0_u64);
        let reading =
            |source: std::io::Error| ServerError::internal("reading the journal of a batch job", source);
        for entry in entries(&journal).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            match entry.outcome {
                Outcome::Response(response) => {
                    rows += 1;
                    line(&mut results, &json!({"custom_id": entry.custom_id, "response": response}))?;
                }
                Outcome::Error(error) => {
                    failed += 1;
                    line(&mut errors, &json!({"custom_id": entry.custom_id, "error": error}))?;
                }
            }
        }
        let mut written = vec![(RESULTS, results)];
        if failed > 0 {
            written.push((ERRORS, errors));
        }
        let (mut files, mut staged) = (Vec::new(), Vec::new());
        for (name, file) in written {
            let file = file.finish()?;
            let PutOutcome { size_bytes, sha256 } = file.outcome().clone();
            files.push(DatasetFile::stored(name, size_bytes, sha256));
            staged.push((ObjectKey::dataset_file(&output, name)?, file));
        }
        objects.move_in(&staged)?;
        Ok::<_, ServerError>((files, rows))
    });
    let (files, rows) = written
        .await
        .map_err(|source| ServerError::internal("writing the output of a batch job", source))??;
    let ready = |dataset: &mut Dataset| {
        dataset.files = files;
        dataset.example_count = rows;
        dataset.state = DatasetState::Ready;
        dataset.update_time_ms = crate::now_ms();
        Ok(())
    };
    match state.store().dataset_update(&job.output, ready).await {
        // A user who deleted the dataset does not want it.
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn line(file: &mut StagedWriter, value: &Value) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec(value).expect("JSON values can be written");
    bytes.push(b'\n');
    file.write(&bytes)
}

/// Removes the dataset of a job that will not fill it.
pub(crate) async fn forget(state: &AppState, job: &BatchInferenceJob) -> Result<(), ServerError> {
    match state.store().dataset_get(&job.output).await {
        Ok(dataset) if dataset.source_job_name == job.name() && dataset.state == DatasetState::Uploading => {
            match state.store().dataset_delete(&job.output).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
