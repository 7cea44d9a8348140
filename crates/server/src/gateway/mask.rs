//! `read_mask`: only the named fields come back. `update_mask`: only the named fields change.

use hearth_proto::behavior::{Behavior, behavior};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use prost_types::FieldMask;

use crate::error::ServerError;

/// Most paths of a mask.
const PATHS_MAX: usize = 100;

/// Clears the fields of `resource` (of the message type `gateway.{type_name}`) that the mask does not name.
/// No mask, an empty one and `*` keep everything; a path that does not exist is INVALID_ARGUMENT.
pub(crate) fn apply<M: Message + Default>(
    type_name: &str,
    resource: M,
    mask: Option<&FieldMask>,
) -> Result<M, ServerError> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else { return Ok(resource) };
    if mask.paths.len() > PATHS_MAX {
        return Err(ServerError::field("readMask", format!("more than {PATHS_MAX} paths")));
    }
    let desc = hearth_proto::descriptor_pool()
        .get_message_by_name(&format!("gateway.{type_name}"))
        .expect("the caller names a message of the gateway");
    let paths: Vec<Vec<&str>> = mask.paths.iter().map(|path| path.split('.').collect()).collect();
    for path in &paths {
        if *path != ["*"] && !exists(&desc, path) {
            let text = path.join(".");
            return Err(ServerError::field("readMask", format!("{type_name} has no field {text:?}")));
        }
    }
    if paths.iter().any(|path| *path == ["*"]) {
        return Ok(resource);
    }
    keep_only(desc, resource, mask)
}

/// Clears the fields that the mask does not name.
fn keep_only<M: Message + Default>(
    desc: MessageDescriptor,
    resource: M,
    mask: &FieldMask,
) -> Result<M, ServerError> {
    let reflected = |source| ServerError::internal("applying a mask", source);
    let paths: Vec<Vec<&str>> = mask.paths.iter().map(|path| path.split('.').collect()).collect();
    let mut message = DynamicMessage::decode(desc, resource.encode_to_vec().as_slice()).map_err(reflected)?;
    keep(&mut message, &paths);
    M::decode(message.encode_to_vec().as_slice()).map_err(reflected)
}

/// The same for every resource of a list.
pub(crate) fn apply_all<M: Message + Default>(
    type_name: &str,
    resources: Vec<M>,
    mask: Option<&FieldMask>,
) -> Result<Vec<M>, ServerError> {
    // A list without items still refuses a wrong mask.
    apply(type_name, M::default(), mask)?;
    resources.into_iter().map(|resource| apply(type_name, resource, mask)).collect()
}

/// What an update changes: the paths that its mask names, or without a mask the fields that are sent (those that are set
/// and, over REST, those that are `present` with an empty value), and the resource with nothing else in it. Fields that
/// only the server writes mean nothing; a path that does not exist is INVALID_ARGUMENT.
pub(super) fn changes<M: Message + Default>(
    type_name: &str,
    given: M,
    mask: Option<&FieldMask>,
    present: &[String],
) -> Result<(Vec<String>, M), ServerError> {
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.len() > PATHS_MAX {
        return Err(ServerError::field("updateMask", format!("more than {PATHS_MAX} paths")));
    }
    let desc = hearth_proto::descriptor_pool()
        .get_message_by_name(&format!("gateway.{type_name}"))
        .expect("the caller names a message of the gateway");
    let is_written = |path: &str| {
        let field = path.split('.').next().and_then(|field| desc.get_field_by_name(field));
        field.is_some_and(|field| behavior(&field) != Behavior::OutputOnly)
    };
    let mut found: Vec<String> = Vec::new();
    for path in paths.iter().filter(|path| *path != "*") {
        if !exists(&desc, &path.split('.').collect::<Vec<_>>()) {
            return Err(ServerError::field("updateMask", format!("{type_name} has no field {path:?}")));
        }
        found.push(path.clone());
    }
    if paths.iter().any(|path| path == "*") {
        found = desc.fields().map(|field| field.name().to_owned()).collect();
    } else if paths.is_empty() {
        let message = DynamicMessage::decode(desc.clone(), given.encode_to_vec().as_slice())
            .map_err(|source| ServerError::internal("reading the fields of an update", source))?;
        let is_sent = |field: &FieldDescriptor| {
            message.has_field(field) || present.iter().any(|name| name == field.json_name())
        };
        found = desc.fields().filter(is_sent).map(|field| field.name().to_owned()).collect();
    }
    found.retain(|path| is_written(path));
    if found.is_empty() {
        return Ok((found, M::default()));
    }
    let only = FieldMask { paths: found.clone() };
    Ok((found, keep_only(desc, given, &only)?))
}

fn exists(desc: &MessageDescriptor, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let Some(field) = desc.get_field_by_name(first) else { return false };
    match field.kind() {
        _ if rest.is_empty() => true,
        Kind::Message(inner) if !field.is_list() && !field.is_map() => exists(&inner, rest),
        _ => false,
    }
}

fn keep(message: &mut DynamicMessage, paths: &[Vec<&str>]) {
    let desc = message.descriptor();
    for field in desc.fields() {
        let inside: Vec<Vec<&str>> = paths
            .iter()
            .filter(|path| path.first() == Some(&field.name()))
            .map(|path| path[1..].to_vec())
            .collect();
        if inside.is_empty() {
            message.clear_field(&field);
        } else if inside.iter().all(|path| !path.is_empty())
            && message.has_field(&field)
            && let Value::Message(inner) = message.get_field_mut(&field)
        {
            keep(inner, &inside);
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_proto::gateway;

    use super::*;

    fn dataset(paths: &[&str]) -> Result<gateway::Dataset, ServerError> {
        let full = gateway::Dataset {
            name: "accounts/a/datasets/d".to_owned(),
            example_count: 3,
            status: Some(gateway::Status { code: 3, message: "bad".to_owned() }),
            ..Default::default()
        };
        let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        apply("Dataset", full, Some(&mask))
    }

    #[test]
    fn masks_keep_what_they_name() {
        assert_eq!(dataset(&["name"]).unwrap().example_count, 0);
        assert_eq!(dataset(&["name"]).unwrap().name, "accounts/a/datasets/d");
        assert_eq!(dataset(&["name"]).unwrap().status, None);
        let nested = dataset(&["status.message"]).unwrap().status.unwrap();
        assert_eq!((nested.code, nested.message.as_str()), (0, "bad"));
        assert_eq!(dataset(&["*"]).unwrap().example_count, 3);
        assert_eq!(dataset(&[]).unwrap().example_count, 3);
        assert!(dataset(&["nme"]).is_err());
        assert!(dataset(&["name.x"]).is_err());
        let wrong = FieldMask { paths: vec!["nme".to_owned()] };
        assert!(apply_all::<gateway::Dataset>("Dataset", Vec::new(), Some(&wrong)).is_err());
    }

    /// What an update with these paths changes, and what is left of the deployment for it.
    fn changed(paths: &[&str]) -> Result<(String, gateway::Deployment), ServerError> {
        let given = gateway::Deployment {
            name: "accounts/a/deployments/d".to_owned(),
            display_name: "x".to_owned(),
            replica_count: 1,
            max_replica_count: 1,
            ..Default::default()
        };
        let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let (paths, left) = changes("Deployment", given, Some(&mask), &["description".to_owned()])?;
        Ok((paths.join(" "), left))
    }

    #[test]
    fn updates_change_what_their_mask_names() {
        let (paths, left) = changed(&[]).unwrap();
        assert_eq!((paths.as_str(), left.name.as_str()), ("display_name description max_replica_count", ""));
        let (paths, left) = changed(&["description", "replica_count", "max_replica_count"]).unwrap();
        assert_eq!(paths, "description max_replica_count");
        assert_eq!((left.display_name.as_str(), left.max_replica_count), ("", 1));
        let (paths, _) = changed(&["autoscaling_policy.scale_up_window", "name"]).unwrap();
        assert_eq!(paths, "autoscaling_policy.scale_up_window");
        assert!(changed(&["*"]).unwrap().0.contains("base_model"));
        assert!(changed(&["nme"]).is_err());
    }
}
