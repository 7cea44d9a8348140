//! `FindModelsByRow`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_domain::{Model, ModelKind};
use hearth_proto::gateway as pb;
use hearth_run::RunError;
use hearth_run::ledger::{Entry, LEDGER_FILE, LedgerReader, RowDigest, Usage};
use hearth_store::{ListQuery, installed};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::ServerError;
use crate::gateway::dataset::lines::{Lines, page_size};
use crate::gateway::dataset::preview::{read_error, ready};
use crate::gateway::dataset::stop::StopOnDrop;
use crate::gateway::dataset::{check, lines};
use crate::gateway::{Call, int, names};
use crate::limits::LEDGERS_MAX;

/// Looks for a row in the ledgers of an account's models, a page of models at a time. Only models that jobs made here
/// count: what stands in the ledger of an upload is what its owner says.
pub(in crate::gateway) async fn model_find_by_row(
    call: &Call,
    request: pb::FindModelsByRowRequest,
) -> Result<pb::FindModelsByRowResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read_models(&account)?;
    let models = page_size(request.page_size, LEDGERS_MAX, LEDGERS_MAX)?;
    let permit = Arc::new(call.state.row_search_permit()?);
    let row = row_digest(call, &account, &request, &permit).await?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let query = ListQuery {
        page_size: i32::try_from(models).unwrap_or(i32::MAX),
        page_token: request.page_token,
        ..ListQuery::default()
    };
    let page = store.model_list(&account, &query).await?;
    let data_dir = call.state.data_dir().to_owned();
    let looking = tokio::task::spawn_blocking(move || {
        // The work goes on when nobody waits any more, and counts until its end.
        let _permit = permit;
        let (mut uses, mut unreadable_models) = (Vec::new(), Vec::new());
        for model in page.items {
            let ModelKind::Adapter { fine_tuning_job, .. } = &model.kind else { continue };
            if fine_tuning_job.is_empty() || model.upload.is_some() {
                continue;
            }
            let path = installed::model_dir(&data_dir, &model.account, &model.id).join(LEDGER_FILE);
            match find(&path, &row) {
                Some(found) => uses.extend(found.iter().map(|entry| to_pb(&model, fine_tuning_job, entry))),
                None => unreadable_models.push(model.name().to_string()),
            }
        }
        (uses, unreadable_models)
    });
    let (uses, unreadable_models) = looking
        .await
        .map_err(|source| ServerError::internal("looking through the ledgers of models", source))?;
    Ok(pb::FindModelsByRowResponse {
        uses,
        next_page_token: page.next_page_token,
        row_digest: row.to_string(),
        unreadable_models,
    })
}

/// `None` if the ledger cannot be read. A model that was made before there were ledgers, or that was deleted in this
/// moment, has none.
fn find(path: &Path, row: &RowDigest) -> Option<Vec<Entry>> {
    match LedgerReader::open(path).and_then(|ledger| ledger.find(row)) {
        Ok(entries) => Some(entries),
        Err(RunError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Some(Vec::new()),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a ledger cannot be read");
            None
        }
    }
}

/// The digest that is asked for, or that of the row of a dataset.
async fn row_digest(
    call: &Call,
    account: &hearth_domain::AccountId,
    request: &pb::FindModelsByRowRequest,
    permit: &Arc<OwnedSemaphorePermit>,
) -> Result<RowDigest, ServerError> {
    match (request.row_digest.as_str(), request.dataset.as_str(), request.line) {
        ("", "", _) => Err(ServerError::field("rowDigest", "is required, or dataset and line")),
        (digest, "", 0) => digest.parse().map_err(|_| {
            ServerError::field("rowDigest", format!("is not {} hexadecimal digits", RowDigest::DIGITS))
        }),
        ("", dataset, line @ 1..) => {
            let name = names::dataset_in(account, "dataset", dataset)?;
            call.caller.may_read(&name.account)?;
            let dataset = ready(&call.state, &name).await?;
            let files =
                check::uploaded_files(&call.state, &dataset)?.into_iter().map(|(_, path)| path).collect();
            let (stop, permit) = (StopOnDrop::default(), Arc::clone(permit));
            let stopped = stop.flag();
            let reading = tokio::task::spawn_blocking(move || {
                // As below.
                let _permit = permit;
                of_line(files, line.unsigned_abs(), &stopped)
            });
            reading.await.map_err(|source| ServerError::internal("reading rows", source))?
        }
        ("", _, line) => Err(ServerError::field("line", format!("{line} is not a line; lines count from 1"))),
        _ => Err(ServerError::field("rowDigest", "does not go with dataset and line")),
    }
}

fn of_line(files: Vec<PathBuf>, number: u64, stopped: &AtomicBool) -> Result<RowDigest, ServerError> {
    let mut rows =
        Lines::open(files, lines::Place::default()).map_err(read_error)?.ok_or_else(|| no_row(number))?;
    while let Some(row) = rows.next().map_err(read_error)? {
        if stopped.load(Ordering::Relaxed) {
            return Err(ServerError::DeadlineExceeded("nobody waits for the row any more".to_owned()));
        }
        if row.number == number && !row.is_too_long {
            return Ok(RowDigest::of(row.bytes.trim_ascii()));
        }
        if row.number >= number {
            break;
        }
    }
    Err(no_row(number))
}

fn no_row(number: u64) -> ServerError {
    ServerError::field("line", format!("there is no row on line {number} of the dataset"))
}

fn to_pb(model: &Model, job: &str, entry: &Entry) -> pb::RowUse {
    use pb::row_use::Use;
    let r#use = match entry.usage {
        Usage::Train => Use::Train,
        Usage::NotReached => Use::NotReached,
        Usage::Eval => Use::Evaluation,
        Usage::CarvedOut => Use::CarvedOut,
        Usage::Dropped => Use::Dropped,
    };
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    pb::RowUse {
        model: model.name().to_string(),
        fine_tuning_job: job.to_owned(),
        r#use: r#use.into(),
        file: count(entry.file.saturating_add(1)),
        line: int(entry.line),
        sample_count: count(entry.samples),
        token_count: i64::from(entry.tokens),
        trained_token_count: i64::from(entry.trained_tokens),
    }
}
