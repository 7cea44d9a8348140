//! What the events of a run mean for its job. Pure.

use hearth_domain::{Code, Job, JobEvent, JobNews, JobNote, JobProgress, JobState, Status};
use hearth_run::{Event, EventKind, FailureKind};
use hearth_store::RunReport;

use super::rows;

/// What the end of a run says about its adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    /// Lower-case hex SHA-256 of `adapter_model.safetensors`.
    pub(super) adapter_sha256: String,
    /// The training ended before its last step.
    pub(super) is_early: bool,
}

/// Reads events that follow on those that the job has taken in. With [`Finished`], the adapter must be installed and
/// the job completed; that last event is not counted as read, so that it is found again if the server dies before.
///
/// Events up to `unwatched` were written while no server was there. A trainer that was asked to stop in that time was asked
/// by what stopped the server too, and not by somebody who wants the job to rest: a restart of the service, a machine that
/// shut down. The job goes on by itself.
pub(super) fn read(job: &Job, events: &[Event], unwatched: u64) -> (RunReport, Option<Finished>) {
    let mut report =
        RunReport { events_read: job.events_read, progress: job.progress, ..RunReport::default() };
    if !job.state.is_active() {
        report.events_read = events.last().map_or(job.events_read, |event| event.seq);
        return (report, None);
    }
    let mut state = job.state;
    for event in events.iter().filter(|event| event.seq > job.events_read) {
        let moves = match &event.kind {
            EventKind::Started { .. } | EventKind::Fetching { .. } | EventKind::Warning { .. } => vec![],
            EventKind::Fetched { .. } => vec![JobEvent::Fetched],
            EventKind::Validated { .. }
            | EventKind::Planned { .. }
            | EventKind::Tried { .. }
            | EventKind::Step { .. }
            | EventKind::Eval { .. }
            | EventKind::Checkpoint { .. } => vec![JobEvent::Validate],
            EventKind::Writing { .. } | EventKind::Finished { .. } => {
                vec![JobEvent::Validate, JobEvent::Write]
            }
            EventKind::Paused { .. } if event.seq <= unwatched => vec![JobEvent::Lose],
            EventKind::Paused { .. } => vec![JobEvent::Interrupt],
            EventKind::Failed { kind, message } => {
                vec![JobEvent::Fail(Status::new(failure_code(*kind), message.clone()))]
            }
        };
        // Until its rows are counted, a trainer warns of what it goes on from (a checkpoint or a log that is damaged), and
        // of a warm-up that never ends.
        if let (JobState::Validating, EventKind::Warning { message }) = (state, &event.kind) {
            report.run_note = Some(message.clone());
        }
        report.notes.extend(news(event).map(|news| (report.events.len(), news)));
        // A step says that the rows are read, whether or not they were said to be: what has happened is skipped.
        for next in moves {
            if let Ok(after) = hearth_domain::transition(state, &next) {
                state = after;
                report.events.push(next);
            }
        }
        advance(&mut report.progress, &event.kind);
        report.rows_note = rows::note(&event.kind, job.settings.max_context_length).or(report.rows_note);
        if let EventKind::Finished { adapter_sha256, early_stopped, .. } = &event.kind
            && state == JobState::WritingResults
        {
            let finished = Finished { adapter_sha256: adapter_sha256.clone(), is_early: *early_stopped };
            return (report, Some(finished));
        }
        report.events_read = event.seq;
    }
    (report, None)
}

/// What of an event its user wants to know besides the state and the progress of the job: not every step.
fn news(event: &Event) -> Option<JobNews> {
    let (note, message) = match &event.kind {
        EventKind::Warning { message } => (JobNote::Warning, message.clone()),
        EventKind::Started { resumed_from_step: step, .. } => {
            let message = match step {
                0 => "a trainer began".to_owned(),
                step => format!("a trainer goes on from the checkpoint after step {step}"),
            };
            (JobNote::Started { resumed_from_step: *step }, message)
        }
        EventKind::Validated {
            rows,
            samples,
            dropped_too_long,
            dropped_lines,
            tokens_per_epoch,
            trained_tokens_per_epoch,
            eval_rows,
            eval_carved_out,
            eval_dropped,
            total_steps,
            ..
        } => {
            let note = JobNote::Validated {
                rows: *rows,
                samples: *samples,
                dropped_too_long: *dropped_too_long,
                dropped_lines: dropped_lines.clone(),
                tokens_per_epoch: *tokens_per_epoch,
                trained_tokens_per_epoch: *trained_tokens_per_epoch,
                eval_rows: *eval_rows,
                eval_carved_out: *eval_carved_out,
                eval_dropped: eval_dropped.count,
                total_steps: *total_steps,
            };
            let dropped = match dropped_too_long + eval_dropped.count {
                0 => String::new(),
                count => format!(", {count} are left out because they are longer than maxContextLength"),
            };
            (note, format!("{rows} rows are read{dropped}; {total_steps} steps are to be done"))
        }
        EventKind::Eval { step, loss, trained_tokens } => {
            let note = JobNote::Evaluated { step: *step, loss: *loss, trained_tokens: *trained_tokens };
            (note, format!("evaluation loss {loss:.4} after step {step}"))
        }
        EventKind::Checkpoint { step, .. } => {
            (JobNote::Checkpoint { step: *step }, format!("a checkpoint is saved after step {step}"))
        }
        EventKind::Finished { step, total_tokens, train_loss, eval_loss, peak_rss_bytes, .. } => {
            let note = JobNote::Finished {
                step: *step,
                total_tokens: *total_tokens,
                train_loss: *train_loss,
                eval_loss: *eval_loss,
                peak_rss_bytes: *peak_rss_bytes,
            };
            (note, format!("the adapter is made and checked after {step} steps"))
        }
        EventKind::Fetching { .. }
        | EventKind::Fetched { .. }
        | EventKind::Planned { .. }
        | EventKind::Tried { .. }
        | EventKind::Step { .. }
        | EventKind::Paused { .. }
        | EventKind::Writing { .. }
        | EventKind::Failed { .. } => return None,
    };
    Some(JobNews { time_ms: event.time_ms, note, message })
}

/// How much of a log a job may skip when a new trainer starts: everything, but not the end of a run that finished. After a
/// power cut that may be less than was read before.
pub(super) fn events_before_start(events: &[Event]) -> u64 {
    match events.last() {
        None => 0,
        Some(Event { seq, kind: EventKind::Finished { .. }, .. }) => seq - 1,
        Some(event) => event.seq,
    }
}

fn advance(progress: &mut JobProgress, kind: &EventKind) {
    match kind {
        EventKind::Validated { rows, total_steps, .. } => {
            (progress.rows, progress.total_steps) = (*rows, *total_steps);
        }
        EventKind::Fetching { bytes, .. } => progress.fetched_bytes = *bytes,
        EventKind::Step { step, total_steps, epoch, total_tokens, total_samples, .. } => {
            progress.total_steps = *total_steps;
            // A trainer that goes on from a checkpoint does steps again that are done already.
            progress.step = progress.step.max(*step);
            // Whole epochs that are done; a float that is not a number counts as none.
            progress.epoch = progress.epoch.max(epoch.floor() as u32);
            progress.tokens = progress.tokens.max(*total_tokens);
            progress.samples = progress.samples.max(*total_samples);
        }
        EventKind::Finished { step, best_step, .. } => progress.output_step = best_step.unwrap_or(*step),
        _ => {}
    }
}

/// Whose mistake a failure is, in the API's words.
pub(super) fn failure_code(kind: FailureKind) -> Code {
    match kind {
        FailureKind::InvalidData => Code::InvalidArgument,
        FailureKind::InvalidSetting | FailureKind::NonFinite => Code::FailedPrecondition,
        FailureKind::OutOfResources => Code::ResourceExhausted,
        FailureKind::NotFound => Code::NotFound,
        FailureKind::Denied => Code::PermissionDenied,
        FailureKind::Changed => Code::Aborted,
        FailureKind::Unreachable => Code::Unavailable,
        FailureKind::Damaged | FailureKind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::{AccountId, JobId};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_trainer_goes_on_from_is_told_and_what_else_it_warns_of_is_not() {
        let named = |id: &str| json!({"account": "acme", "id": id});
        let settings = json!({
            "display_name": "", "dataset": named("rows"), "evaluation_dataset": null, "base_model": named("base"),
            "output_model": named("j"), "jinja_template": null, "epochs": 1, "learning_rate": 1e-3,
            "learning_rate_warmup_steps": 0, "optimizer_weight_decay": 0.01, "lora_rank": 8, "lora_alpha": 16.0,
            "max_context_length": 128, "batch_size": 0, "batch_size_samples": 8, "gradient_accumulation_steps": 1,
        });
        let settings = serde_json::from_value(settings).unwrap();
        let (account, id) = (AccountId::new("acme").unwrap(), JobId::new("j").unwrap());
        let mut job = Job::new(account, id, settings, "", 0);
        job.apply(&JobEvent::Start, 1).unwrap();
        let warning = |message: &str| EventKind::Warning { message: message.to_owned() };
        let kinds = [
            EventKind::Started { pid: 1, resumed_from_step: 20 },
            warning("checkpoint 40 is damaged; going on from step 20"),
            EventKind::Checkpoint { step: 40, path: "step-00000040".to_owned() },
            warning("more memory than planned"),
        ];
        let events: Vec<Event> =
            (1..).zip(kinds).map(|(seq, kind)| Event { seq, time_ms: 1, kind }).collect();
        let (report, _) = read(&job, &events, 0);
        assert_eq!(report.run_note.as_deref(), Some("checkpoint 40 is damaged; going on from step 20"));
        assert_eq!(report.notes.len(), 4);
        // Later reports leave it as it is.
        let (report, _) = read(&Job { state: JobState::Running, ..job }, &events[2..], 0);
        assert_eq!(report.run_note, None);
    }
}
