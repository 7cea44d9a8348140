//! The resources that a request names: datasets, the base, the model to make.

use super::check::Checker;
use super::{JobFacts, JobRequest};
use crate::code::Code;
use crate::dataset::{Dataset, DatasetFormat, DatasetState};
use crate::id::{DatasetRef, ModelId, ModelRef};
use crate::record::ModelKind;

/// The dataset that a field names, if it can be trained on.
pub(super) fn dataset(
    check: &mut Checker,
    field: &str,
    name: &str,
    found: Option<&Dataset>,
) -> Option<DatasetRef> {
    if name.is_empty() {
        return None;
    }
    let Some(dataset) = found else {
        check.add(Code::NotFound, field, format!("there is no dataset {name}"));
        return None;
    };
    if dataset.state != DatasetState::Ready {
        check.add(
            Code::FailedPrecondition,
            field,
            format!("dataset {name} is not READY; upload its files and call validateUpload first"),
        );
    } else if dataset.format == DatasetFormat::Rl {
        check.add(
            Code::InvalidArgument,
            field,
            format!("dataset {name} has format RL; rows need messages, or prompt and completion"),
        );
    }
    Some(dataset.name())
}

/// What the other settings need to know of the base.
pub(super) struct Base {
    pub(super) name: ModelRef,
    pub(super) parameter_count: u64,
    pub(super) context_length: i32,
}

pub(super) fn base_model(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Option<Base> {
    let warm_start = request.other_fields.iter().any(|field| field == "warmStartFrom");
    if request.base_model.is_empty() {
        if !warm_start {
            check.add(
                Code::InvalidArgument,
                "baseModel",
                "exactly one of baseModel and warmStartFrom must be given, and neither is",
            );
        }
        return None;
    }
    if warm_start {
        check.add(
            Code::InvalidArgument,
            "baseModel",
            "exactly one of baseModel and warmStartFrom must be given, and both are",
        );
    }
    let name = &request.base_model;
    let Some(model) = &facts.base_model else {
        check.add(Code::NotFound, "baseModel", format!("there is no model {name}"));
        return None;
    };
    if model.upload.is_some() {
        let what = format!("model {name} is being uploaded; call validateUpload when all files are there");
        check.add(Code::FailedPrecondition, "baseModel", what);
        return None;
    }
    let ModelKind::Base { parameter_count } = model.kind else {
        check.add(
            Code::InvalidArgument,
            "baseModel",
            format!("model {name} is an adapter, not a base model"),
        );
        return None;
    };
    let context_length = i32::try_from(model.context_length).unwrap_or(i32::MAX);
    Some(Base { name: model.name(), parameter_count, context_length })
}

/// The model to make: an id or a full name in the job's account; the job's id when not given.
pub(super) fn output_model(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> ModelRef {
    let text = request.output_model.as_str();
    let own = format!("accounts/{}/models/", facts.account);
    let id = match text.strip_prefix(&own) {
        // The 0.19 client turns an empty id into a name without one.
        Some("") => "",
        Some(id) => id,
        None => text,
    };
    let by_default =
        ModelId::new(facts.job.as_str()).expect("the rules of job ids and model ids are the same");
    let id = if id.is_empty() {
        by_default
    } else if id.contains('/') {
        check.add(
            Code::InvalidArgument,
            "outputModel",
            format!("{text:?} is neither a model id nor a name that begins with {own}"),
        );
        by_default
    } else {
        ModelId::new(id).unwrap_or_else(|error| {
            check.add(Code::InvalidArgument, "outputModel", error.to_string());
            by_default
        })
    };
    ModelRef { account: facts.account.clone(), id }
}
