//! An event of a job as clients see it.

use hearth_domain::{JobNote, JobState};
use hearth_proto::gateway as pb;
use hearth_proto::gateway::supervised_fine_tuning_job_event as event;
use hearth_store::JobEventRow;

use super::state_to_pb;
use crate::context::Face;
use crate::gateway::int;
use crate::gateway::time::timestamp;

/// The record as clients see it.
pub(super) fn event_to_pb(row: &JobEventRow, face: Face) -> pb::SupervisedFineTuningJobEvent {
    let (kind, detail) = match &row.note {
        None => (event::Type::StateChanged, Some(state_change(row, face))),
        Some(JobNote::Warning) => (event::Type::Warning, None),
        Some(JobNote::Started { resumed_from_step }) => {
            let start = event::TrainerStart { resumed_from_step: int(*resumed_from_step) };
            (event::Type::TrainerStarted, Some(event::Detail::TrainerStart(start)))
        }
        Some(note @ JobNote::Validated { .. }) => (event::Type::Validated, validation(note)),
        Some(JobNote::Evaluated { step, loss, trained_tokens }) => {
            let evaluation =
                event::Evaluation { step: int(*step), loss: *loss, trained_tokens: int(*trained_tokens) };
            (event::Type::Evaluated, Some(event::Detail::Evaluation(evaluation)))
        }
        Some(JobNote::Checkpoint { step }) => {
            let checkpoint = event::Checkpoint { step: int(*step) };
            (event::Type::CheckpointSaved, Some(event::Detail::Checkpoint(checkpoint)))
        }
        Some(JobNote::Finished { step, total_tokens, train_loss, eval_loss, peak_rss_bytes }) => {
            let training = event::Training {
                step: int(*step),
                total_tokens: int(*total_tokens),
                train_loss: *train_loss,
                evaluation_loss: *eval_loss,
                peak_memory_bytes: int(*peak_rss_bytes),
            };
            (event::Type::Trained, Some(event::Detail::Training(training)))
        }
    };
    pb::SupervisedFineTuningJobEvent {
        sequence_number: int(row.number),
        create_time: Some(timestamp(row.time_ms)),
        r#type: kind.into(),
        message: row.message.clone(),
        detail,
    }
}

fn state_change(row: &JobEventRow, face: Face) -> event::Detail {
    let state = |name: &str| {
        let state = JobState::ALL.iter().find(|state| state.name() == name);
        state.map_or(pb::JobState::Unspecified, |&state| state_to_pb(state, face)).into()
    };
    event::Detail::StateChange(event::StateChange { from: state(&row.from_state), to: state(&row.to_state) })
}

fn validation(note: &JobNote) -> Option<event::Detail> {
    let JobNote::Validated {
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
    } = note
    else {
        return None;
    };
    Some(event::Detail::Validation(event::Validation {
        rows: int(*rows),
        samples: int(*samples),
        dropped_rows: int(*dropped_too_long),
        dropped_lines: dropped_lines.iter().map(|&line| int(line)).collect(),
        tokens_per_epoch: int(*tokens_per_epoch),
        trained_tokens_per_epoch: int(*trained_tokens_per_epoch),
        evaluation_rows: int(*eval_rows),
        carved_out_rows: int(*eval_carved_out),
        dropped_evaluation_rows: int(*eval_dropped),
        total_steps: int(*total_steps),
    }))
}
