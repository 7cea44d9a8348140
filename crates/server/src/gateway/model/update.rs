//! `UpdateModel`.

use hearth_domain::Code;
use hearth_proto::behavior::{Behavior, behavior};
use hearth_proto::gateway as pb;
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage};

use super::about;
use crate::error::{FieldViolation, ServerError};
use crate::gateway::{Call, names};

/// Fields that can be changed: what people read about a model.
const CHANGEABLE: &[&str] = &["display_name", "description", "github_url", "hugging_face_url"];

/// Changes what people read about a model. Without a mask, the fields that are sent; sending a field as it is means
/// nothing, so that a model that was read can be sent back.
pub(in crate::gateway) async fn model_update(
    call: &Call,
    request: pb::UpdateModelRequest,
) -> Result<pb::Model, ServerError> {
    let given = request.model.unwrap_or_default();
    let name = names::model("model.name", &given.name)?;
    call.caller.may_change(&name.account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let current = store.model_find(&name).await?;
    let refs = super::deployed_refs(store, &current).await?;
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let changes = changes(&given, &super::to_pb(&current, refs), &paths, &call.present)?;
    about::check_texts(&given)?;
    let changed = store
        .model_update(&name, |model| {
            for field in &changes {
                match *field {
                    "display_name" => model.display_name.clone_from(&given.display_name),
                    "description" => model.about.description.clone_from(&given.description),
                    "github_url" => model.about.github_url.clone_from(&given.github_url),
                    "hugging_face_url" => model.about.hugging_face_url.clone_from(&given.hugging_face_url),
                    other => unreachable!("{other} is not one of CHANGEABLE"),
                }
            }
            if !changes.is_empty() {
                model.update_time_ms = crate::now_ms();
            }
            Ok(())
        })
        .await?;
    let refs = super::deployed_refs(store, &changed).await?;
    Ok(super::to_pb(&changed, refs))
}

/// Which of [`CHANGEABLE`] change. Other fields that would change are refused by name.
fn changes(
    given: &pb::Model,
    current: &pb::Model,
    mask: &[String],
    present: &[String],
) -> Result<Vec<&'static str>, ServerError> {
    let desc = hearth_proto::descriptor_pool()
        .get_message_by_name("gateway.Model")
        .expect("the descriptors hold gateway.Model");
    let read = |message: &pb::Model| {
        DynamicMessage::decode(desc.clone(), message.encode_to_vec().as_slice())
            .map_err(|source| ServerError::internal("reading the fields of a model", source))
    };
    let (given, current) = (read(given)?, read(current)?);
    let everything = mask.is_empty() || mask.iter().any(|path| path == "*");
    let mut names: Vec<&str> = Vec::new();
    for path in mask.iter().filter(|path| *path != "*") {
        let top = path.split('.').next().unwrap_or_default();
        if desc.get_field_by_name(top).is_none() {
            return Err(ServerError::field("updateMask", format!("Model has no field {path:?}")));
        }
        names.push(top);
    }
    let (mut changes, mut violations) = (Vec::new(), Vec::new());
    for field in given.descriptor().fields() {
        let is_emptied = || {
            let is_sent = present.iter().any(|name| name == field.json_name());
            is_sent && CHANGEABLE.contains(&field.name())
        };
        let is_meant = match everything {
            true => given.has_field(&field) || is_emptied(),
            false => names.contains(&field.name()),
        };
        if !is_meant || given.get_field(&field) == current.get_field(&field) {
            continue;
        }
        match CHANGEABLE.iter().find(|name| **name == field.name()) {
            Some(name) => changes.push(*name),
            None if behavior(&field) == Behavior::OutputOnly => {}
            None => violations.push(FieldViolation {
                field: format!("model.{}", field.json_name()),
                description:
                    "this server cannot change it; what can be changed is displayName, description, \
                              githubUrl and huggingFaceUrl"
                        .to_owned(),
            }),
        }
    }
    if violations.is_empty() {
        return Ok(changes);
    }
    Err(ServerError::Refused { code: Code::Unimplemented, violations })
}
