//! Datasets.

pub(crate) mod check;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod download_endpoint;
pub(crate) mod files;
pub(super) mod get;
pub(super) mod list;
pub(super) mod upload_endpoint;
pub(super) mod validate_upload;

use hearth_domain::{Dataset, DatasetFormat, DatasetState};
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
        data_source: Some(pb::dataset::DataSource::UserUploaded(pb::UserUploaded {})),
        format: format_to_pb(dataset.format).into(),
        created_by: dataset.created_by.clone(),
        ..Default::default()
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
