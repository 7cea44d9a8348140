//! Checks of datasets, which run in the background.

pub(super) mod create;
pub(super) mod get;
mod runner;

pub(crate) use runner::{Runner, Validations};

use hearth_domain::{
    DatasetFinding, DatasetReport, DatasetValidationFormat, DatasetValidationJob, DatasetValidationResult,
    DatasetValidationState,
};
use hearth_proto::gateway as pb;
use prost_types::value::Kind;

use super::time::timestamp;
use super::{int, structure};

/// The record as clients see it. All its states are known to old clients.
fn to_pb(job: &DatasetValidationJob) -> pb::DatasetValidationJob {
    let names: Vec<String> = job.datasets.iter().map(ToString::to_string).collect();
    let (dataset_name, dataset_names) = match (job.is_single, names) {
        (true, names) => (names.concat(), Vec::new()),
        (false, names) => (String::new(), names),
    };
    let state = match job.state {
        DatasetValidationState::Pending => pb::JobState::Pending,
        DatasetValidationState::Running => pb::JobState::Running,
        DatasetValidationState::Completed => pb::JobState::Completed,
        DatasetValidationState::Failed => pb::JobState::Failed,
    };
    let result = match job.result {
        None => pb::DatasetValidationJobResult::Unspecified,
        Some(DatasetValidationResult::Success) => pb::DatasetValidationJobResult::Success,
        Some(DatasetValidationResult::Failure) => pb::DatasetValidationJobResult::Failure,
    };
    pb::DatasetValidationJob {
        name: job.name(),
        display_name: job.display_name.clone(),
        create_time: Some(timestamp(job.create_time_ms)),
        update_time: Some(timestamp(job.update_time_ms)),
        created_by: job.created_by.clone(),
        state: state.into(),
        status: Some(super::status_to_pb(&job.status)),
        dataset_name,
        dataset_names,
        format: format_to_pb(job.format).into(),
        result: result.into(),
        validation_error: job.validation_error.clone(),
        base_model: job.base_model.as_ref().map(ToString::to_string).unwrap_or_default(),
        reports: job.reports.iter().map(report_to_pb).collect(),
        ..Default::default()
    }
}

fn report_to_pb(report: &DatasetReport) -> pb::DatasetReport {
    let findings = |findings: &[DatasetFinding]| findings.iter().map(finding_to_pb).collect();
    pb::DatasetReport {
        dataset: report.dataset.to_string(),
        rows: int(report.rows),
        errors: findings(&report.errors),
        error_count: int(report.error_count),
        warnings: findings(&report.warnings),
        warning_count: int(report.warning_count),
        statistics: match structure::value(&report.statistics).kind {
            Some(Kind::StructValue(statistics)) => Some(statistics),
            _ => None,
        },
        note: report.note.clone(),
    }
}

fn finding_to_pb(finding: &DatasetFinding) -> pb::DatasetFinding {
    let DatasetFinding { file, line, pointer, code, message, fix } = finding.clone();
    pb::DatasetFinding { file, line: int(line), pointer, code, message, fix }
}

fn format_to_pb(format: DatasetValidationFormat) -> pb::DatasetValidationFormat {
    use pb::DatasetValidationFormat as Format;
    match format {
        DatasetValidationFormat::Chat => Format::Chat,
        DatasetValidationFormat::Training => Format::Training,
        DatasetValidationFormat::ChatRelaxed => Format::ChatRelaxed,
        DatasetValidationFormat::BatchInferenceStrict => Format::BatchInferenceStrict,
        DatasetValidationFormat::BatchInferenceAllowTrailingAssistant => {
            Format::BatchInferenceAllowTrailingAssistant
        }
        DatasetValidationFormat::BatchInference => Format::BatchInference,
    }
}
