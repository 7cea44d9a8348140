//! Which fields of a resource a client has set: what is not acted on is refused, never ignored.

use hearth_proto::behavior::{Behavior, behavior};
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

use crate::error::{FieldViolation, ServerError};
use hearth_domain::Code;

/// JSON names of the fields of a `gateway.{type_name}` that are set, not in the list, and not OUTPUT_ONLY in the
/// `.proto`: what a client sends in those means nothing. An empty submessage counts as not set: some clients send
/// `wandbConfig: {}`.
pub(super) fn other_fields<M: Message>(
    type_name: &str,
    resource: &M,
    supported: &[&str],
) -> Result<Vec<String>, ServerError> {
    let desc = hearth_proto::descriptor_pool()
        .get_message_by_name(&format!("gateway.{type_name}"))
        .expect("the caller names a message of the gateway");
    let message = DynamicMessage::decode(desc, resource.encode_to_vec().as_slice())
        .map_err(|source| ServerError::internal("reading the fields of a request", source))?;
    let given = |value: &Value| match value {
        Value::Message(inner) => inner.encoded_len() > 0,
        _ => true,
    };
    Ok(message
        .fields()
        .filter(|(field, value)| given(value) && behavior(field) != Behavior::OutputOnly)
        .map(|(field, _)| field.json_name().to_owned())
        .filter(|name| !supported.contains(&name.as_str()))
        .collect())
}

/// UNIMPLEMENTED if there are other fields, naming each behind `prefix`.
pub(super) fn refuse_other<M: Message>(
    type_name: &str,
    prefix: &str,
    resource: &M,
    supported: &[&str],
) -> Result<(), ServerError> {
    let others = other_fields(type_name, resource, supported)?;
    if others.is_empty() {
        return Ok(());
    }
    let violation = |name: String| FieldViolation {
        field: format!("{prefix}{name}"),
        description: "this server does not support this field yet; leave it out".to_owned(),
    };
    let violations = others.into_iter().map(violation).collect();
    Err(ServerError::Refused { code: Code::Unimplemented, violations })
}
