//! Which fields of a resource a client has set: what is not acted on is refused, never ignored.

use hearth_proto::behavior::{Behavior, behavior};
use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use prost_types::FieldMask;

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

/// JSON names of the fields that an update changes: those that `mask` names, or without a mask (AIP-134) those that are
/// sent, which are those that are set and, over REST, those that are `present` with an empty value. `*` names all that are
/// supported. A field that this server does not change is refused, never left as it is; an empty one asks for nothing.
pub(super) fn changed_fields<M: Message>(
    type_name: &str,
    prefix: &str,
    resource: &M,
    mask: Option<&FieldMask>,
    present: &[String],
    supported: &[&str],
) -> Result<Vec<String>, ServerError> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        refuse_other(type_name, prefix, resource, supported)?;
        return sent_fields(type_name, resource, present, supported);
    };
    let desc = hearth_proto::descriptor_pool()
        .get_message_by_name(&format!("gateway.{type_name}"))
        .expect("the caller names a message of the gateway");
    let mut fields = Vec::new();
    for path in &mask.paths {
        if path == "*" {
            fields.extend(supported.iter().map(|name| (*name).to_owned()));
            continue;
        }
        let field = desc.get_field_by_name(path).or_else(|| desc.get_field_by_json_name(path));
        let Some(field) = field else {
            return Err(ServerError::field("updateMask", format!("{type_name} has no field {path:?}")));
        };
        if behavior(&field) == Behavior::OutputOnly {
            return Err(ServerError::field("updateMask", format!("{path:?} is written by the server only")));
        }
        if !supported.contains(&field.json_name()) {
            let description = format!("this server does not change {path:?}");
            let violations = vec![FieldViolation { field: "updateMask".to_owned(), description }];
            return Err(ServerError::Refused { code: Code::Unimplemented, violations });
        }
        fields.push(field.json_name().to_owned());
    }
    fields.sort();
    fields.dedup();
    Ok(fields)
}

/// JSON names of those of the `supported` fields that are set, or `present` with an empty value.
pub(super) fn sent_fields<M: Message>(
    type_name: &str,
    resource: &M,
    present: &[String],
    supported: &[&str],
) -> Result<Vec<String>, ServerError> {
    let mut sent = other_fields(type_name, resource, &[])?;
    sent.extend(present.iter().cloned());
    sent.retain(|name| supported.contains(&name.as_str()));
    sent.sort();
    sent.dedup();
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use hearth_proto::gateway as pb;

    use super::*;

    #[test]
    fn updates_change_what_is_named_or_set() {
        let check = |paths: &[&str], expect: Result<&[&str], Code>| {
            let user = pb::User { name: "n".to_owned(), email: "a@b".to_owned(), ..Default::default() };
            let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
            let got = changed_fields("User", "user.", &user, Some(&mask), &[], &["email", "displayName"]);
            let expect = expect.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(got.map_err(|error| error.code()), expect, "{paths:?}");
        };
        check(&[], Ok(&["email"]));
        check(&["display_name"], Ok(&["displayName"]));
        check(&["displayName", "email", "email"], Ok(&["displayName", "email"]));
        check(&["*"], Ok(&["displayName", "email"]));
        check(&["nme"], Err(Code::InvalidArgument));
        check(&["createTime"], Err(Code::InvalidArgument));
        check(&["role"], Err(Code::Unimplemented));
        let other = pb::User { role: "user".to_owned(), ..Default::default() };
        let refused =
            changed_fields("User", "user.", &other, None, &[], &["email"]).map_err(|error| error.code());
        assert_eq!(refused, Err(Code::Unimplemented));
        // What is present and empty is emptied, if it can be changed, and asks for nothing otherwise.
        let none = pb::User { email: "a@b".to_owned(), ..Default::default() };
        let present = ["displayName", "role", "email"].map(str::to_owned);
        let got = changed_fields("User", "user.", &none, None, &present, &["email", "displayName"]);
        assert_eq!(got.unwrap(), ["displayName", "email"]);
    }
}
