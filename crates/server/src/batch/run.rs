//! One job from its first row that is not done to its end.

use std::path::PathBuf;
use std::time::Instant;

use futures::{StreamExt, stream};
use hearth_data::request::Request;
use hearth_domain::{BatchInferenceJob, BatchProgress, BatchState, Status};
use hearth_store::StoreError;
use http::StatusCode;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::journal::{Entry, Journal, Outcome, entries};
use super::{JobDir, change, output, precondition, row};
use crate::auth::Caller;
use crate::error::ServerError;
use crate::gateway::dataset::lines::{Lines, Place};
use crate::limits::{
    BATCH_BUSY_INTERVAL, BATCH_BUSY_RETRIES_MAX, BATCH_ROWS_AHEAD, BATCH_ROWS_AT_ONCE, BATCH_SAVE_INTERVAL,
};
use crate::openai::{OpenAiError, answer_chat};
use crate::state::AppState;

/// Why a job is not at its end.
pub(super) enum Ended {
    /// It cannot go on.
    Failed(Status),
    /// Its record is gone.
    Deleted,
    /// Something broke that may work later.
    Broken(ServerError),
}

impl<E: Into<ServerError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// Why no more rows are answered.
#[derive(Debug)]
enum RowEnd {
    /// The row cannot be asked for a reason that all rows share.
    Job(Status),
    /// The server stops.
    Stopped,
    /// The job's account is suspended.
    Suspended,
}

/// Answers all rows that are not done, and writes the output. Ends before that if the server stops, or if the account is
/// suspended: then the job waits again.
pub(super) async fn run(
    state: &AppState,
    job: &BatchInferenceJob,
    stop: &CancellationToken,
) -> Result<(), Ended> {
    let dir = JobDir::of(state, job);
    let files = dir.input(state, job).await?.map_err(Ended::Failed)?;
    let counted = files.clone();
    let total = blocking(move || count(counted)).await?;
    let path = dir.journal();
    let (mut journal, mut progress) = blocking(move || Journal::open(&path)).await?;
    progress.total = total;
    save(state, job, progress, BatchState::Running).await?;
    let earlier = earlier(state, job).await?;
    let mut rows = read(files, earlier, progress.processed());
    let caller = Caller::of_account(job.account.clone(), job.created_by.clone());
    let answers = stream::poll_fn(|context| rows.poll_recv(context))
        .map(|row| answer(state, &caller, job, row, stop))
        .buffered(BATCH_ROWS_AT_ONCE);
    let mut answers = std::pin::pin!(answers);
    let mut saved = Instant::now();
    while let Some(entry) = answers.next().await {
        let entry = match entry? {
            Ok(entry) => entry,
            Err(RowEnd::Job(status)) => return Err(Ended::Failed(status)),
            Err(end @ (RowEnd::Stopped | RowEnd::Suspended)) => {
                journal = blocking(move || journal.sync().map(|()| journal)).await?;
                drop(journal);
                let waits = matches!(end, RowEnd::Suspended);
                let to = if waits { BatchState::Pending } else { BatchState::Running };
                return save(state, job, progress, to).await;
            }
        };
        entry.add_to(&mut progress);
        let sync = saved.elapsed() >= BATCH_SAVE_INTERVAL;
        journal = blocking(move || {
            journal.append(&entry)?;
            if sync {
                journal.sync()?;
            }
            Ok(journal)
        })
        .await?;
        if sync {
            save(state, job, progress, BatchState::Running).await?;
            saved = Instant::now();
        }
    }
    blocking(move || journal.sync()).await?;
    if progress.processed() != total {
        let found = progress.processed();
        let what = format!("{found} rows are done and the input has {total}");
        return Err(Ended::Broken(ServerError::internal("counting the rows of a batch job", what)));
    }
    save(state, job, progress, BatchState::WritingResults).await?;
    output::write(state, job).await?;
    save(state, job, progress, BatchState::Completed).await
}

/// Runs something that waits for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ServerError> {
    let failed = |source| ServerError::internal("reading or writing the files of a batch job", source);
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => {
            done.map_err(|source| failed(Box::new(source) as Box<dyn std::error::Error + Send + Sync>))
        }
        Err(source) => Err(failed(Box::new(source))),
    }
}

async fn save(
    state: &AppState,
    job: &BatchInferenceJob,
    progress: BatchProgress,
    to: BatchState,
) -> Result<(), Ended> {
    let saved = change(state, job, |job| {
        job.progress = progress;
        job.state = to;
    });
    match saved.await? {
        Some(_) => Ok(()),
        None => Err(Ended::Deleted),
    }
}

/// The journal of the job that this one goes on from.
async fn earlier(state: &AppState, job: &BatchInferenceJob) -> Result<Option<PathBuf>, Ended> {
    if job.continued_from.is_empty() {
        return Ok(None);
    }
    let gone = || Ended::Failed(precondition(format!("{} is deleted", job.continued_from)));
    let (account, id) =
        crate::gateway::names::batch_inference_job("continuedFromJobName", &job.continued_from)?;
    match state.store().get::<BatchInferenceJob>(&account, id.as_str()).await {
        Ok(earlier) => Ok(Some(JobDir::of(state, &earlier).journal()).filter(|path| path.is_file())),
        Err(StoreError::NotFound { .. }) => Err(gone()),
        Err(error) => Err(error.into()),
    }
}

fn count(files: Vec<PathBuf>) -> std::io::Result<u64> {
    let Some(mut lines) = Lines::open(files, Place::default())? else { return Ok(0) };
    let mut rows = 0;
    while lines.next()?.is_some() {
        rows += 1;
    }
    Ok(rows)
}

/// A row that is to be done, or that an earlier job has done.
enum Todo {
    Ask(u64, Vec<u8>),
    Done(Entry),
}

/// Reads the rows behind the first `done`, in a thread of its own, a few ahead of who takes them. Where `earlier` has an
/// answer to a row, it is taken over.
fn read(files: Vec<PathBuf>, earlier: Option<PathBuf>, done: u64) -> mpsc::Receiver<std::io::Result<Todo>> {
    let (sender, rows) = mpsc::channel(BATCH_ROWS_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_rows(&sender, files, earlier, done) {
            // Nobody waits for it if the job has ended.
            let _ = sender.blocking_send(Err(error));
        }
    });
    rows
}

fn send_rows(
    sender: &mpsc::Sender<std::io::Result<Todo>>,
    files: Vec<PathBuf>,
    earlier: Option<PathBuf>,
    done: u64,
) -> std::io::Result<()> {
    let Some(mut lines) = Lines::open(files, Place::default())? else { return Ok(()) };
    let mut earlier = earlier.map(|path| entries(&path)).transpose()?;
    let mut index = 0;
    while let Some(line) = lines.next()? {
        let before = earlier.as_mut().and_then(Iterator::next).transpose()?;
        if index >= done {
            let todo = match before {
                Some(entry) if matches!(entry.outcome, Outcome::Response(_)) => Todo::Done(entry),
                // Checked rows are not too long; one that is has no bytes and is no request.
                _ => Todo::Ask(line.number, line.bytes.to_vec()),
            };
            if sender.blocking_send(Ok(todo)).is_err() {
                return Ok(());
            }
        }
        index += 1;
    }
    Ok(())
}

/// What becomes of a row.
async fn answer(
    state: &AppState,
    caller: &Caller,
    job: &BatchInferenceJob,
    row: std::io::Result<Todo>,
    stop: &CancellationToken,
) -> Result<Result<Entry, RowEnd>, ServerError> {
    let row = row.map_err(|source| ServerError::internal("reading the rows of a batch job", source))?;
    let (line, bytes) = match row {
        Todo::Done(entry) => return Ok(Ok(entry)),
        Todo::Ask(line, bytes) => (line, bytes),
    };
    let row = match Request::from_bytes(line, &bytes) {
        Ok(row) => row,
        // The dataset was checked; this one holds something else than requests.
        Err(bad) => {
            let status = Status::new(hearth_domain::Code::InvalidArgument, bad.to_string());
            return Ok(Err(RowEnd::Job(status)));
        }
    };
    match state.store().account_check(&job.account).await {
        Ok(()) => {}
        Err(StoreError::Suspended { .. }) => return Ok(Err(RowEnd::Suspended)),
        Err(error) => return Err(error.into()),
    }
    let custom_id = row.custom_id.clone();
    let reply = match row::body(job, row) {
        Ok(body) => tokio::select! {
            () = stop.cancelled() => return Ok(Err(RowEnd::Stopped)),
            reply = ask(state, caller, body) => reply,
        },
        Err(error) => Err(error),
    };
    Ok(match reply {
        Ok(response) => {
            let tokens = |name: &str| response["usage"][name].as_u64().unwrap_or(0);
            let (input_tokens, output_tokens) = (tokens("prompt_tokens"), tokens("completion_tokens"));
            Ok(Entry { custom_id, outcome: Outcome::Response(response), input_tokens, output_tokens })
        }
        Err(error) if error.status == StatusCode::NOT_FOUND => {
            Err(RowEnd::Job(precondition(format!("model {} cannot be asked any more", job.model))))
        }
        Err(error) => {
            let outcome = Outcome::Error(error.body(None)["error"].take());
            Ok(Entry { custom_id, outcome, input_tokens: 0, output_tokens: 0 })
        }
    })
}

/// Asks, and asks again while people's chats fill the queue.
async fn ask(state: &AppState, caller: &Caller, body: Map<String, Value>) -> Result<Value, OpenAiError> {
    let body = serde_json::to_vec(&body).expect("JSON values can be written");
    for _ in 0..BATCH_BUSY_RETRIES_MAX {
        match answer_chat(state, caller, &body).await {
            Err(error)
                if matches!(
                    error.status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                ) =>
            {
                tokio::time::sleep(BATCH_BUSY_INTERVAL).await;
            }
            reply => return reply,
        }
    }
    answer_chat(state, caller, &body).await
}

#[cfg(test)]
mod tests {
    use hearth_domain::{
        Account, AccountId, BatchInferenceJobId, BatchParameters, DatasetId, DatasetRef, ModelId, ModelRef,
        SuspendState,
    };

    use super::*;

    #[tokio::test]
    async fn rows_of_a_suspended_account_are_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        let state = crate::state::tests::state(dir.path()).await;
        let (store, account) = (state.store(), AccountId::new("acme").unwrap());
        let dataset = |id: &str| DatasetRef { account: account.clone(), id: DatasetId::new(id).unwrap() };
        let job = BatchInferenceJob {
            account: account.clone(),
            id: BatchInferenceJobId::new("b").unwrap(),
            display_name: String::new(),
            model: ModelRef { account: account.clone(), id: ModelId::new("absent").unwrap() },
            input: dataset("rows"),
            output: dataset("answers"),
            parameters: BatchParameters::default(),
            continued_from: String::new(),
            state: BatchState::Pending,
            status: Status::default(),
            progress: BatchProgress::default(),
            created_by: String::new(),
            create_time_ms: 1,
            update_time_ms: 1,
        };
        store.account_create(&Account::new(account.clone(), "", "", 1)).await.unwrap();
        store.create(&job).await.unwrap();
        let input = dir.path().join("batch/acme/b-1/input");
        std::fs::create_dir_all(&input).unwrap();
        let row = r#"{"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}]}}"#;
        std::fs::write(input.join("0000.jsonl"), format!("{row}\n")).unwrap();
        let stop = CancellationToken::new();

        store.account_suspend(&account, SuspendState::BlockedByAbuseRule, 2).await.unwrap();
        assert!(run(&state, &job, &stop).await.is_ok());
        let found: BatchInferenceJob = store.get(&account, "b").await.unwrap();
        assert_eq!(
            (found.state, found.progress.total, found.progress.processed()),
            (BatchState::Pending, 1, 0)
        );
        assert!(store.batch_inference_job_next().await.unwrap().is_none());

        // Afterwards its model is asked, and is not there.
        store.account_suspend(&account, SuspendState::Unsuspended, 3).await.unwrap();
        assert_eq!(store.batch_inference_job_next().await.unwrap().unwrap().id, job.id);
        let Err(Ended::Failed(status)) = run(&state, &job, &stop).await else { panic!("it was not asked") };
        assert!(status.message.contains("cannot be asked any more"), "{status:?}");
    }
}
