//! Datasets.

pub(crate) mod check;
mod copy;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod download_endpoint;
mod fields;
pub(crate) mod files;
pub(crate) mod findings;
pub(super) mod get;
pub(crate) mod lines;
pub(super) mod list;
pub(super) mod preview;
pub(super) mod render_preview;
mod request_rows;
pub(crate) mod rules;
pub(super) mod split;
pub(super) mod stop;
pub(super) mod update;
pub(super) mod upload;
pub(super) mod upload_endpoint;
pub(super) mod validate_upload;

use hearth_domain::{Dataset, DatasetFile, DatasetFormat, DatasetSource, DatasetState};
use hearth_proto::gateway as pb;

use super::time::timestamp;

/// The record as clients see it.
pub(crate) fn to_pb(dataset: &Dataset) -> pb::Dataset {
    let state = match dataset.state {
        DatasetState::Uploading => pb::dataset::State::Uploading,
        DatasetState::Ready => pb::dataset::State::Ready,
    };
    pb::Dataset {
        name: dataset.name().to_string(),
        display_name: dataset.display_name.clone(),
        create_time: Some(timestamp(dataset.create_time_ms)),
        update_time: Some(timestamp(dataset.update_time_ms)),
        state: state.into(),
        status: Some(super::status_to_pb(&dataset.status)),
        example_count: i64::try_from(dataset.example_count).unwrap_or(i64::MAX),
        data_source: Some(source_to_pb(&dataset.source)),
        source_job_name: dataset.source_job_name.clone(),
        external_url: dataset.external_url.clone(),
        format: format_to_pb(dataset.format).into(),
        created_by: dataset.created_by.clone(),
        files: dataset.files.iter().map(file_to_pb).collect(),
        ..Default::default()
    }
}

fn source_to_pb(source: &DatasetSource) -> pb::dataset::DataSource {
    match source {
        DatasetSource::UserUploaded => pb::dataset::DataSource::UserUploaded(pb::UserUploaded {}),
        DatasetSource::Transformed { dataset, format } => {
            pb::dataset::DataSource::Transformed(pb::Transformed {
                source_dataset_id: dataset.to_string(),
                filter: String::new(),
                original_format: format_to_pb(*format).into(),
            })
        }
        DatasetSource::Splitted { dataset } => {
            pb::dataset::DataSource::Splitted(pb::Splitted { source_dataset_id: dataset.to_string() })
        }
    }
}

fn file_to_pb(file: &DatasetFile) -> pb::DatasetFile {
    pb::DatasetFile {
        name: file.name.clone(),
        size_bytes: i64::try_from(file.size_bytes).unwrap_or(i64::MAX),
        sha256: file.sha256.clone().unwrap_or_default(),
    }
}

fn format_to_pb(format: DatasetFormat) -> pb::dataset::Format {
    match format {
        DatasetFormat::Unspecified => pb::dataset::Format::Unspecified,
        DatasetFormat::Chat => pb::dataset::Format::Chat,
        DatasetFormat::Completion => pb::dataset::Format::Completion,
        DatasetFormat::Rl => pb::dataset::Format::Rl,
    }
}
