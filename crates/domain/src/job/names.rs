//! The resources that a request names: datasets, the base, the model to make.

use super::check::Checker;
use super::{AdapterSettings, JobFacts, JobRequest};
use crate::code::Code;
use crate::dataset::{Dataset, DatasetFormat, DatasetState};
use crate::id::{DatasetRef, ModelId, ModelRef};
use crate::record::{Model, ModelKind};

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
        let what = format!("dataset {name} does not exist or was deleted");
        check.add(Code::FailedPrecondition, field, what);
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

/// Early stopping needs rows to evaluate on.
pub(super) fn evaluation(check: &mut Checker, request: &JobRequest, facts: &JobFacts) {
    if !request.early_stop || !request.evaluation_dataset.is_empty() {
        return;
    }
    if !request.eval_auto_carveout {
        let what = "needs rows to evaluate on: give evaluationDataset, or set evalAutoCarveout";
        check.add(Code::InvalidArgument, "earlyStop", what);
    } else if facts
        .dataset
        .as_ref()
        .is_some_and(|dataset| dataset.state == DatasetState::Ready && dataset.example_count == 1)
    {
        let what = "needs rows to evaluate on, and of a dataset with one row none can be set aside";
        check.add(Code::InvalidArgument, "earlyStop", what);
    }
}

/// What the other settings need to know of the base, and of the adapter that is gone on from.
pub(super) struct Base {
    pub(super) name: ModelRef,
    pub(super) parameter_count: u64,
    pub(super) context_length: i32,
    pub(super) warm_start_from: Option<ModelRef>,
    pub(super) adapter: Option<AdapterSettings>,
}

/// The base that is named, or that of the adapter that is named.
pub(super) fn base(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Option<Base> {
    let wrong = match (request.base_model.is_empty(), request.warm_start_from.is_empty()) {
        (true, true) => "neither is",
        (false, false) => "both are",
        (false, true) => return base_model(check, request, facts),
        (true, false) => return warm_start(check, request, facts),
    };
    let what = format!("exactly one of baseModel and warmStartFrom must be given, and {wrong}");
    check.add(Code::InvalidArgument, "baseModel", what);
    None
}

/// The model that a field names, if it is there and whole.
fn whole<'a>(check: &mut Checker, field: &str, name: &str, found: Option<&'a Model>) -> Option<&'a Model> {
    let Some(model) = found else {
        check.add(Code::NotFound, field, format!("there is no model {name}"));
        return None;
    };
    if model.upload.is_some() {
        let what = format!("model {name} is being uploaded; call validateUpload when all files are there");
        check.add(Code::FailedPrecondition, field, what);
        return None;
    }
    Some(model)
}

fn base_model(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Option<Base> {
    let name = &request.base_model;
    let model = whole(check, "baseModel", name, facts.base_model.as_ref())?;
    let found = base_of(model);
    if found.is_none() {
        let what = format!(
            "model {name} is an adapter, not a base model; to go on from it, give it as warmStartFrom"
        );
        check.add(Code::InvalidArgument, "baseModel", what);
    }
    found
}

fn base_of(model: &Model) -> Option<Base> {
    let ModelKind::Base { parameter_count } = model.kind else { return None };
    let context_length = i32::try_from(model.context_length).unwrap_or(i32::MAX);
    let (warm_start_from, adapter) = (None, None);
    Some(Base { name: model.name(), parameter_count, context_length, warm_start_from, adapter })
}

fn warm_start(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Option<Base> {
    const FIELD: &str = "warmStartFrom";
    let name = &request.warm_start_from;
    let found = facts.warm_start.as_ref();
    let model = whole(check, FIELD, name, found.map(|found| &found.model))?;
    let ModelKind::Adapter { base_model, .. } = &model.kind else {
        let what = format!("model {name} is a base model, not an adapter; give it as baseModel");
        check.add(Code::InvalidArgument, FIELD, what);
        return None;
    };
    let found = found.expect("its model was found");
    let Some(base) = found.base.as_ref().filter(|base| base.upload.is_none()).and_then(base_of) else {
        let what = format!("the base of adapter {name}, {base_model}, is not installed any more");
        check.add(Code::FailedPrecondition, FIELD, what);
        return None;
    };
    match &found.settings {
        Err(why) => {
            check.add(
                Code::InvalidArgument,
                FIELD,
                format!("training cannot go on from adapter {name}: {why}"),
            );
            None
        }
        Ok(settings) => {
            Some(Base { warm_start_from: Some(model.name()), adapter: Some(settings.clone()), ..base })
        }
    }
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
