//! Setting fields of a message from texts: path variables and query parameters.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

/// Longest field path of a query parameter.
const FIELD_PATH_MAX: usize = 8;

/// A field by its name in the `.proto` or in JSON.
pub(crate) fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// The fields along a path; all but the last are single messages.
pub(crate) fn resolve(message: &MessageDescriptor, path: &[String]) -> Option<Vec<FieldDescriptor>> {
    if path.is_empty() || path.len() > FIELD_PATH_MAX {
        return None;
    }
    let mut fields = Vec::with_capacity(path.len());
    let mut at = message.clone();
    for (index, name) in path.iter().enumerate() {
        let found = field(&at, name)?;
        if index + 1 < path.len() {
            let Kind::Message(inner) = found.kind() else { return None };
            if found.is_list() || found.is_map() {
                return None;
            }
            at = inner;
        }
        fields.push(found);
    }
    Some(fields)
}

/// Sets the field at a path to what the text says; appends if it is repeated. A path that does not exist
/// changes nothing (unknown fields are ignored).
pub(crate) fn set(message: &mut DynamicMessage, path: &[String], text: &str) -> Result<(), String> {
    let Some(fields) = resolve(&message.descriptor(), path) else { return Ok(()) };
    let (last, parents) = fields.split_last().expect("a path has a field");
    let mut at = message;
    for parent in parents {
        at = at.get_field_mut(parent).as_message_mut().expect("resolve left only messages");
    }
    if last.is_map() {
        return Err("a map cannot be given in the query; put it in the body".to_owned());
    }
    let value = parse(&last.kind(), text)?;
    if last.is_list() {
        at.get_field_mut(last).as_list_mut().expect("the field is a list").push(value);
    } else {
        at.set_field(last, value);
    }
    Ok(())
}

fn parse(kind: &Kind, text: &str) -> Result<Value, String> {
    let number = |what: &str| format!("{text:?} is not {what}");
    Ok(match kind {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bool => match text {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => return Err(number("true or false")),
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32(text.parse().map_err(|_| number("a 32-bit integer"))?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Value::I64(text.parse().map_err(|_| number("a 64-bit integer"))?)
        }
        Kind::Uint32 | Kind::Fixed32 => Value::U32(text.parse().map_err(|_| number("a 32-bit integer"))?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(text.parse().map_err(|_| number("a 64-bit integer"))?),
        Kind::Float => Value::F32(text.parse().map_err(|_| number("a number"))?),
        Kind::Double => Value::F64(text.parse().map_err(|_| number("a number"))?),
        Kind::Enum(desc) => {
            let by_name = desc.get_value_by_name(text).map(|value| value.number());
            let found = by_name.or_else(|| text.parse().ok());
            Value::EnumNumber(found.ok_or_else(|| number(&format!("a value of {}", desc.name())))?)
        }
        Kind::Message(desc) if desc.full_name() == "google.protobuf.FieldMask" => field_mask(desc, text),
        Kind::Message(desc) => {
            let json = serde_json::Value::String(text.to_owned());
            let parsed = DynamicMessage::deserialize(desc.clone(), json);
            Value::Message(parsed.map_err(|error| format!("{text:?}: {error}"))?)
        }
        Kind::Bytes => return Err("bytes cannot be given in the query; put them in the body".to_owned()),
    })
}

/// `name,createTime` as a mask of `name` and `create_time`.
fn field_mask(desc: &MessageDescriptor, text: &str) -> Value {
    let mut message = DynamicMessage::new(desc.clone());
    let paths = text.split(',').map(str::trim).filter(|path| !path.is_empty());
    let paths = paths.map(|path| Value::String(snake_case(path))).collect();
    message.set_field_by_name("paths", Value::List(paths));
    Value::Message(message)
}

/// `createTime` as `create_time`; snake case stays.
pub(crate) fn snake_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
