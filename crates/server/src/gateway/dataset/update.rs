//! `UpdateDataset`.

use hearth_domain::{Dataset, DatasetFormat, DatasetSource, DatasetState};
use hearth_proto::behavior::{Behavior, behavior};
use hearth_proto::gateway as pb;

use super::fields;
use crate::error::ServerError;
use crate::gateway::given::{self, refuse_other};
use crate::gateway::{Call, names};

/// Changes what describes a dataset. Its rows stay.
pub(in crate::gateway) async fn dataset_update(
    call: &Call,
    request: pb::UpdateDatasetRequest,
) -> Result<pb::Dataset, ServerError> {
    let given = request.dataset.unwrap_or_default();
    let name = names::dataset("dataset.name", &given.name)?;
    call.caller.may_change(&name.account)?;
    let change = Change::of(call, given, request.update_mask.as_ref())?;
    let now_ms = crate::now_ms();
    let store = call.state.store();
    let updated =
        store.update(&name.account, name.id.as_str(), |dataset| change.apply(dataset, now_ms)).await?;
    Ok(super::to_pb(&updated))
}

/// New values; `None` stays as it is.
#[derive(Debug, Default)]
struct Change {
    display_name: Option<String>,
    example_count: Option<u64>,
    format: Option<DatasetFormat>,
    source_job_name: Option<String>,
    is_user_uploaded: bool,
}

impl Change {
    /// What is asked for, by the mask or else by the fields that are sent.
    fn of(
        call: &Call,
        given: pb::Dataset,
        mask: Option<&prost_types::FieldMask>,
    ) -> Result<Self, ServerError> {
        let names = match mask.filter(|mask| !mask.paths.is_empty()) {
            Some(mask) => masked(mask)?,
            None => {
                refuse_other("Dataset", "dataset.", &given, fields::SUPPORTED)?;
                given::sent_fields("Dataset", &given, &call.present, fields::SUPPORTED)?
            }
        };
        let has = |name: &str| names.iter().any(|known| known == name);
        let mut change = Self {
            is_user_uploaded: matches!(given.data_source, Some(pb::dataset::DataSource::UserUploaded(_))),
            ..Self::default()
        };
        if has("displayName") {
            change.display_name = Some(fields::display_name(given.display_name)?);
        }
        if has("exampleCount") {
            change.example_count = Some(fields::example_count(given.example_count)?);
        }
        if has("format") {
            change.format = Some(fields::format(given.format)?);
        }
        if has("sourceJobName") {
            change.source_job_name = Some(fields::source_job_name(&call.caller, given.source_job_name)?);
        }
        Ok(change)
    }

    fn apply(self, dataset: &mut Dataset, now_ms: i64) -> Result<(), ServerError> {
        let before = dataset.clone();
        if self.is_user_uploaded && dataset.source != DatasetSource::UserUploaded {
            return Err(ServerError::FailedPrecondition(
                "dataset.userUploaded: the rows of this dataset come from another one; leave it out"
                    .to_owned(),
            ));
        }
        if let Some(text) = self.display_name {
            dataset.display_name = text;
        }
        if let Some(name) = self.source_job_name {
            dataset.source_job_name = name;
        }
        if let Some(count) = self.example_count {
            dataset.example_count = count;
        }
        if let Some(format) = self.format {
            dataset.format = format;
        }
        let is_counted = dataset.state == DatasetState::Ready;
        if is_counted && dataset.example_count != before.example_count {
            return Err(ServerError::FailedPrecondition(format!(
                "dataset.exampleCount: dataset {} is READY and has {} rows; its count can be announced only before",
                before.name(),
                before.example_count
            )));
        }
        if is_counted && dataset.format != before.format {
            return Err(ServerError::FailedPrecondition(format!(
                "dataset.format: dataset {} is READY, and its rows say what they are",
                before.name()
            )));
        }
        if *dataset != before {
            dataset.update_time_ms = now_ms;
        }
        Ok(())
    }
}

/// JSON names of the fields that a mask names; `*` is all that can be changed.
fn masked(mask: &prost_types::FieldMask) -> Result<Vec<String>, ServerError> {
    let changeable: Vec<&str> =
        fields::SUPPORTED.iter().copied().filter(|name| *name != "userUploaded").collect();
    let desc = hearth_proto::descriptor_pool()
        .get_message_by_name("gateway.Dataset")
        .expect("datasets are messages of the gateway");
    let mut names = Vec::new();
    for path in &mask.paths {
        if path == "*" {
            return Ok(changeable.into_iter().map(str::to_owned).collect());
        }
        let known = desc.get_field_by_name(path).or_else(|| desc.get_field_by_json_name(path));
        let Some(field) = known else {
            return Err(ServerError::field("updateMask", format!("Dataset has no field {path:?}")));
        };
        let name = field.json_name();
        if behavior(&field) == Behavior::OutputOnly {
            return Err(ServerError::field("updateMask", format!("only the server writes {name}")));
        }
        if !changeable.contains(&name) {
            return Err(ServerError::Unimplemented(format!(
                "updateMask: this server cannot change {name} of a dataset; leave it out"
            )));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}
