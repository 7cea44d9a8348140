//! `SplitDataset`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_domain::{Dataset, DatasetFile, DatasetId, DatasetRef, DatasetSource, DatasetState, QuotaKind};
use hearth_proto::gateway as pb;
use hearth_store::{NewDataset, StagedWriter, Staging};

use super::lines::{Lines, Place};
use super::preview::{read_error, ready};
use super::stop::StopOnDrop;
use super::{check, files};
use crate::error::ServerError;
use crate::gateway::{Call, names};
use crate::limits::SPLIT_PARTS_MAX;
use crate::quota::must_have_room;

/// Name of the one file of a part.
const PART_FILE: &str = "rows.jsonl";

/// Makes a READY dataset of each run of `chunk_size` rows, in reading order: all parts or none.
pub(in crate::gateway) async fn dataset_split(
    call: &Call,
    request: pb::SplitDatasetRequest,
) -> Result<pb::SplitDatasetResponse, ServerError> {
    let name = names::dataset("name", &request.name)?;
    let parent = match request.parent.as_str() {
        "" => name.account.clone(),
        parent => names::account("parent", parent)?,
    };
    call.caller.may_read(&name.account)?;
    call.caller.may_change(&parent)?;
    let chunk_size = u64::try_from(request.chunk_size).ok().filter(|size| *size > 0).ok_or_else(|| {
        ServerError::field(
            "chunkSize",
            format!("{} is not at least 1, the rows of a part", request.chunk_size),
        )
    })?;
    let source = ready(&call.state, &name).await?;
    let parts = part_count(source.example_count, chunk_size)?;
    let mut records = Vec::with_capacity(parts);
    for number in 1..=parts {
        let part = DatasetRef { account: parent.clone(), id: part_id(&name.id, number)? };
        records.push(Dataset {
            display_name: source.display_name.clone(),
            state: DatasetState::Ready,
            format: source.format,
            source: DatasetSource::Splitted { dataset: name.clone() },
            ..Dataset::new(part, call.caller.email.clone(), crate::now_ms())
        });
    }
    // Before the work: most clashes are there from the beginning. Those that come later fail the transaction.
    for record in &records {
        must_be_free(call, &record.name()).await?;
    }
    must_have_room(&call.state, &parent, QuotaKind::Datasets, parts as u64).await?;
    let _permit = call.state.upload_permit()?;
    let paths = check::uploaded_files(&call.state, &source)?.into_iter().map(|(_, path)| path).collect();
    let names: Vec<String> = records.iter().map(|record| record.name().to_string()).collect();
    let total_examples = i64::try_from(source.example_count).unwrap_or(i64::MAX);
    let objects = call.state.objects().clone();
    let stop = StopOnDrop::default();
    let stopped = stop.flag();
    let writing = tokio::task::spawn_blocking(move || {
        let mut staging = objects.staging()?;
        let made = write_parts(&mut staging, paths, records, chunk_size, &stopped)?;
        Ok::<_, ServerError>((made, staging))
    });
    let (made, staging) =
        writing.await.map_err(|source| ServerError::internal("splitting a dataset", source))??;
    files::create_whole(&call.state, made, staging).await?;
    Ok(pb::SplitDatasetResponse {
        chunks_created: i32::try_from(names.len()).expect("there are few parts"),
        chunk_dataset_names: names,
        total_examples,
    })
}

/// Parts that so many rows make.
fn part_count(rows: u64, chunk_size: u64) -> Result<usize, ServerError> {
    let parts = rows.div_ceil(chunk_size);
    match usize::try_from(parts) {
        Ok(parts) if parts <= SPLIT_PARTS_MAX => Ok(parts),
        _ => {
            let least = rows.div_ceil(SPLIT_PARTS_MAX as u64);
            let what = format!(
                "{chunk_size} rows each make {parts} parts of {rows} rows; at most {SPLIT_PARTS_MAX} parts are made, \
                 so give {least} or more"
            );
            Err(ServerError::field("chunkSize", what))
        }
    }
}

/// `{dataset}-chunk-{number}`, counted from 1.
fn part_id(dataset: &DatasetId, number: usize) -> Result<DatasetId, ServerError> {
    DatasetId::new(format!("{dataset}-chunk-{number}")).map_err(|error| {
        ServerError::FailedPrecondition(format!(
            "{error}; copy the dataset under a shorter id first (sourceDatasetId of CreateDataset)"
        ))
    })
}

async fn must_be_free(call: &Call, name: &DatasetRef) -> Result<(), ServerError> {
    match call.state.store().dataset_get(name).await {
        Ok(_) => Err(ServerError::AlreadyExists(format!(
            "dataset {name} exists already; delete it, or copy the dataset under another id and split the copy"
        ))),
        Err(hearth_store::StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes the rows of all parts, and into the records what was written. Blocking.
fn write_parts(
    staging: &mut Staging,
    paths: Vec<PathBuf>,
    records: Vec<Dataset>,
    chunk_size: u64,
    stopped: &AtomicBool,
) -> Result<Vec<NewDataset>, ServerError> {
    let changed =
        || ServerError::internal("splitting a dataset", "its files are not those that were checked");
    let mut lines = Lines::open(paths, Place::default()).map_err(read_error)?.ok_or_else(changed)?;
    let mut made = Vec::with_capacity(records.len());
    for mut dataset in records {
        let mut file = staging.create()?;
        dataset.example_count = write_part(&mut file, &mut lines, chunk_size, stopped)?;
        if dataset.example_count == 0 {
            return Err(changed());
        }
        let file = file.finish()?;
        let outcome = file.outcome().clone();
        dataset.files = vec![DatasetFile::stored(PART_FILE, outcome.size_bytes, outcome.sha256)];
        made.push(NewDataset { dataset, files: vec![file] });
    }
    match lines.next().map_err(read_error)? {
        Some(_) => Err(changed()),
        None => Ok(made),
    }
}

/// Writes up to `rows` rows and says how many there were.
fn write_part(
    file: &mut StagedWriter,
    lines: &mut Lines,
    rows: u64,
    stopped: &AtomicBool,
) -> Result<u64, ServerError> {
    for written in 0..rows {
        if stopped.load(Ordering::Relaxed) {
            return Err(ServerError::DeadlineExceeded("nobody waits for the parts any more".to_owned()));
        }
        let Some(line) = lines.next().map_err(read_error)? else { return Ok(written) };
        if line.is_too_long {
            return Err(ServerError::internal("splitting a dataset", "a row is longer than any checked row"));
        }
        file.write(line.bytes)?;
        file.write(b"\n")?;
    }
    Ok(rows)
}
