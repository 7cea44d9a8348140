//! What a batch job keeps on disk: links to its rows, and its journal.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hearth_domain::{BatchInferenceJob, DatasetState, Status};
use hearth_store::{ObjectKey, StoreError, durable};

use super::precondition;
use crate::error::ServerError;
use crate::jobs::link_or_copy;
use crate::state::AppState;

/// Directory of all batch jobs in the data directory.
const BATCH: &str = "batch";
/// Directory of the rows.
const INPUT: &str = "input";
/// The same while it is being made.
const INPUT_UNFINISHED: &str = "input.unfinished";

/// The directory of one job: `batch/{account}/{job}-{time}`. With the time in its name, a job never finds the files of a
/// deleted one that had its name.
pub(crate) struct JobDir {
    root: PathBuf,
}

impl JobDir {
    /// Of a job, whether it is there or not.
    pub(crate) fn of(state: &AppState, job: &BatchInferenceJob) -> Self {
        Self { root: state.data_dir().join(BATCH).join(job.account.as_str()).join(dir_name(job)) }
    }

    /// The journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// Removes all of it.
    pub(crate) fn remove(&self) -> Result<(), ServerError> {
        remove_dir(&self.root)
    }

    /// The rows, linked from the dataset if this is the first time: from then on the job has them, whatever happens to
    /// the dataset.
    pub(super) async fn input(
        &self,
        state: &AppState,
        job: &BatchInferenceJob,
    ) -> Result<Result<Vec<PathBuf>, Status>, ServerError> {
        let input = self.root.join(INPUT);
        if !input.is_dir() {
            let dataset = match state.store().dataset_get(&job.input).await {
                Ok(dataset) if dataset.state == DatasetState::Ready => dataset,
                Ok(_) => return Ok(Err(precondition(format!("dataset {} is not READY", job.input)))),
                Err(error @ StoreError::NotFound { .. }) => return Ok(Err(precondition(error.to_string()))),
                Err(error) => return Err(error.into()),
            };
            let unfinished = self.root.join(INPUT_UNFINISHED);
            remove_dir(&unfinished)?;
            let failed = |source: io::Error| ServerError::internal("linking the rows of a batch job", source);
            durable::create_dir_all(&unfinished)?;
            for (index, file) in dataset.files.iter().enumerate() {
                let key = ObjectKey::dataset_file(&job.input, &file.name)?;
                let from = state.objects().local_path(&key)?;
                link_or_copy(&from, &unfinished.join(format!("{index:04}.jsonl"))).map_err(failed)?;
            }
            durable::sync_dir(&unfinished)?;
            fs::rename(&unfinished, &input).map_err(failed)?;
            durable::sync_dir(&self.root)?;
        }
        let failed = |source: io::Error| ServerError::internal("reading the rows of a batch job", source);
        let entries: io::Result<Vec<PathBuf>> =
            fs::read_dir(&input).map_err(failed)?.map(|entry| Ok(entry?.path())).collect();
        let mut files = entries.map_err(failed)?;
        files.sort_unstable();
        Ok(Ok(files))
    }
}

fn dir_name(job: &BatchInferenceJob) -> String {
    format!("{}-{}", job.id, job.create_time_ms)
}

fn remove_dir(path: &Path) -> Result<(), ServerError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ServerError::internal("removing the files of a batch job", error))
        }
        _ => Ok(()),
    }
}

/// Removes the directories of jobs that are no more: an earlier server was killed in the middle.
pub(super) async fn sweep(state: &AppState) -> Result<(), ServerError> {
    let jobs: Vec<BatchInferenceJob> = state.store().all().await?;
    let known: BTreeSet<(String, String)> =
        jobs.iter().map(|job| (job.account.to_string(), dir_name(job))).collect();
    let failed = |source: io::Error| ServerError::internal("listing the files of batch jobs", source);
    for account in entries(&state.data_dir().join(BATCH)).map_err(failed)? {
        for dir in entries(&account.1).map_err(failed)? {
            if !known.contains(&(account.0.clone(), dir.0)) {
                remove_dir(&dir.1)?;
            }
        }
    }
    Ok(())
}

/// Names and paths in a directory, which may not be there.
fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries
        .map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())))
        .collect()
}
