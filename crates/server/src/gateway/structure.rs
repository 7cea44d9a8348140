//! JSON as messages hold it.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// The same value as a message; numbers become those of `f64`.
pub(super) fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(*truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(value).collect() }),
        Json::Object(members) => Kind::StructValue(Struct {
            fields: members.iter().map(|(name, member)| (name.clone(), value(member))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}
