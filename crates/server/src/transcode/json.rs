//! proto3 JSON in and out.

use std::collections::{BTreeMap, HashMap};

use hearth_proto::behavior::{Behavior, behavior};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    ReflectMessage, SerializeOptions,
};
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::fields;
use super::routes::BodyTarget;

/// Puts the body of a REST call into the request message. The error says line and column.
pub(crate) fn read_body(message: &mut DynamicMessage, to: &BodyTarget, body: &[u8]) -> Result<(), String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    match to {
        BodyTarget::None => Ok(()),
        BodyTarget::Message => {
            *message = parse(&message.descriptor(), body)?;
            Ok(())
        }
        BodyTarget::Field(field) if is_wrapped(field, body) => {
            *message = parse(&message.descriptor(), body)?;
            Ok(())
        }
        BodyTarget::Field(field) => {
            let Kind::Message(inner) = field.kind() else {
                return Err(format!("field {} cannot be a body", field.name()));
            };
            message.set_field(field, prost_reflect::Value::Message(parse(&inner, body)?));
            Ok(())
        }
    }
}

/// True for `{"supervisedFineTuningJob": {...}}` where the bare job is asked for: some examples send that.
fn is_wrapped(field: &FieldDescriptor, body: &[u8]) -> bool {
    let Kind::Message(inner) = field.kind() else { return false };
    let Ok(keys) = serde_json::from_slice::<HashMap<String, IgnoredAny>>(body) else { return false };
    let wraps = |key: &String| key == field.name() || key == field.json_name();
    keys.keys().any(wraps) && !keys.keys().any(|key| fields::field(&inner, key).is_some())
}

/// JSON names of the fields that stand in the body of a resource, whatever their values; `null` is none. A message of
/// protocol buffers does not tell an empty text from none.
pub(crate) fn present(to: &BodyTarget, body: &[u8]) -> Vec<String> {
    let BodyTarget::Field(field) = to else { return Vec::new() };
    let Kind::Message(inner) = field.kind() else { return Vec::new() };
    let Ok(Value::Object(mut sent)) = serde_json::from_slice(body) else { return Vec::new() };
    if is_wrapped(field, body) {
        let wrapped = [field.json_name(), field.name()].iter().find_map(|key| sent.remove(*key));
        sent = wrapped.and_then(|value| value.as_object().cloned()).unwrap_or_default();
    }
    let names = sent.iter().filter(|(_, value)| !value.is_null());
    names.filter_map(|(key, _)| Some(fields::field(&inner, key)?.json_name().to_owned())).collect()
}

fn parse(desc: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(desc.clone(), &mut deserializer, &options);
    let message = message.map_err(|error| {
        format!("the body is not valid JSON for this call: {}", shown(desc, body, &error))
    })?;
    deserializer.end().map_err(|error| format!("the body goes on after its end: {error}"))?;
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not valid: {error}"))?;
    check_enums(desc, &value, "")?;
    Ok(message)
}

/// An error of the parser, which repeats the value that it does not like: but never that of a field that does not come
/// back.
fn shown(desc: &MessageDescriptor, body: &[u8], error: &serde_json::Error) -> String {
    if !holds_secret(desc, &mut Vec::new()) {
        return error.to_string();
    }
    let mut value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        // What is no JSON at all is said without what it is.
        Err(error) => return error.to_string(),
    };
    hide(desc, &mut value);
    let place = format!("at line {} column {}", error.line(), error.column());
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    match DynamicMessage::deserialize_with_options(desc.clone(), value, &options) {
        Ok(_) => format!("a value that is never sent back is not of its type {place}"),
        Err(error) => format!("{error} {place}"),
    }
}

/// Whether a message has a field, at any depth, that is never sent back.
fn holds_secret(desc: &MessageDescriptor, seen: &mut Vec<MessageDescriptor>) -> bool {
    if seen.contains(desc) {
        return false;
    }
    seen.push(desc.clone());
    desc.fields().any(|field| match field.kind() {
        Kind::Message(inner) => holds_secret(&inner, seen),
        _ => behavior(&field) == Behavior::InputOnly,
    })
}

/// Takes out what is never sent back, and what stands in the place of a message that would hold it.
fn hide(desc: &MessageDescriptor, value: &mut Value) {
    let Value::Object(object) = value else {
        *value = Value::Null;
        return;
    };
    for (key, value) in object {
        let Some(field) = fields::field(desc, key) else { continue };
        match field.kind() {
            Kind::Message(inner) if holds_secret(&inner, &mut Vec::new()) => {
                let items = match value {
                    Value::Array(items) => items.as_mut_slice(),
                    one => std::slice::from_mut(one),
                };
                items.iter_mut().for_each(|item| hide(&inner, item));
            }
            _ if behavior(&field) == Behavior::InputOnly => *value = Value::Null,
            _ => {}
        }
    }
}

/// Unknown fields are ignored, but an unknown value of a known enum is a mistake that would go unnoticed: the
/// parser takes it for a field that is not there.
fn check_enums(desc: &MessageDescriptor, value: &Value, path: &str) -> Result<(), String> {
    for (key, value) in value.as_object().into_iter().flatten() {
        let Some(field) = fields::field(desc, key).filter(|field| !field.is_map()) else { continue };
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for item in items {
            match field.kind() {
                Kind::Message(inner) => check_enums(&inner, item, &path)?,
                Kind::Enum(desc) => match item.as_str() {
                    Some(name) if desc.get_value_by_name(name).is_none() => {
                        return Err(format!("{path}: {name:?} is not a value of {}", desc.name()));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }
    Ok(())
}

/// Writes a reply: camelCase, enum names, 64-bit integers as strings, zero values too. With a mask, fields
/// of the resource (or of each listed resource) that it does not name are left out.
pub(crate) fn write(message: &DynamicMessage, mask: &[String]) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false);
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options)?;
    if mask.is_empty() || mask.iter().any(|path| path == "*") {
        return Ok(out);
    }
    let desc = message.descriptor();
    let listed = desc.get_field_by_name("next_page_token").and_then(|_| {
        desc.fields().find(|field| field.is_list() && matches!(field.kind(), Kind::Message(_)))
    });
    let mut top: BTreeMap<String, &RawValue> = serde_json::from_slice(&out)?;
    let Some(listed) = listed else {
        return serde_json::to_vec(&keep(top, &desc, mask));
    };
    let Kind::Message(item) = listed.kind() else { unreachable!("only messages were looked for") };
    let items: Vec<BTreeMap<String, &RawValue>> = match top.get(listed.json_name()) {
        Some(raw) => serde_json::from_str(raw.get())?,
        None => Vec::new(),
    };
    let items: Vec<_> = items.into_iter().map(|one| keep(one, &item, mask)).collect();
    let items = serde_json::value::to_raw_value(&items)?;
    top.insert(listed.json_name().to_owned(), &items);
    serde_json::to_vec(&top)
}

fn keep<'a>(
    all: BTreeMap<String, &'a RawValue>,
    desc: &MessageDescriptor,
    mask: &[String],
) -> BTreeMap<String, &'a RawValue> {
    let named = |key: &str| {
        let Some(field) = desc.get_field_by_json_name(key) else { return false };
        mask.iter().any(|path| path.split('.').next() == Some(field.name()))
    };
    all.into_iter().filter(|(key, _)| named(key)).collect()
}

/// Paths of the `read_mask` of a request, in snake case.
pub(crate) fn read_mask(request: &DynamicMessage) -> Vec<String> {
    let Some(field) = request.descriptor().get_field_by_name("read_mask") else { return Vec::new() };
    let value = request.get_field(&field);
    let paths = value.as_message().and_then(|mask| mask.get_field_by_name("paths"));
    let paths = paths.as_deref().and_then(|paths| paths.as_list()).unwrap_or_default();
    paths.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect()
}

/// The service that is transcoded.
pub(crate) fn service(pool: &DescriptorPool) -> prost_reflect::ServiceDescriptor {
    pool.get_service_by_name("gateway.Gateway").expect("the descriptors hold gateway.Gateway")
}
