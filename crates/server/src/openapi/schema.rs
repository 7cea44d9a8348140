//! JSON schemas of messages and enums, by the rules of proto3 JSON.
//!
//! A message is a component that is named like those of the hosted service: `gateway.Status` is `gatewayStatus`. A
//! client may send what no reply holds (`null`, a number as text, an enum's number), so a message that stands in replies
//! and in requests is two components, and that of requests has `Input` behind its name. Which fields a request must have
//! stands beside the reference and not in the component, because a change may lack them.

use std::collections::{BTreeMap, BTreeSet};

use hearth_proto::behavior::{Behavior, behavior};
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use super::support;

/// Whether a value comes from the client or from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the client.
    Request,
    /// From the server.
    Reply,
}

/// A 64-bit integer as text.
const INTEGER_PATTERN: &str = "^-?[0-9]+$";
/// The same without a sign.
const UNSIGNED_PATTERN: &str = "^[0-9]+$";
/// A number as text; those that JSON has no other form for too.
const NUMBER_PATTERN: &str = r"^(-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|NaN|-?Infinity)$";
/// `google.protobuf.Duration`.
const DURATION_PATTERN: &str = r"^-?[0-9]+(\.[0-9]{1,9})?s$";

/// All components that were referred to.
pub(super) struct Schemas {
    comments: Comments,
    /// Full names of the messages that stand in replies.
    replied: BTreeSet<String>,
    components: BTreeMap<String, Value>,
    /// Full name of what each component describes.
    owners: BTreeMap<String, String>,
}

impl Schemas {
    /// For the messages of a service.
    pub(super) fn new(pool: &DescriptorPool, service: &ServiceDescriptor) -> Self {
        let mut replied = BTreeSet::new();
        for method in service.methods() {
            reach(&method.output(), &mut replied);
        }
        Self { comments: Comments::new(pool), replied, components: BTreeMap::new(), owners: BTreeMap::new() }
    }

    /// The comments of the same descriptors.
    pub(super) fn comments(&self) -> &Comments {
        &self.comments
    }

    /// The components, by name.
    pub(super) fn into_components(self) -> Map<String, Value> {
        self.components.into_iter().collect()
    }

    /// Adds a component that no message describes.
    pub(super) fn add(&mut self, name: &str, schema: Value) {
        self.own(name, name);
        self.components.insert(name.to_owned(), schema);
    }

    fn own(&mut self, component: &str, owner: &str) {
        let before = self.owners.insert(component.to_owned(), owner.to_owned());
        assert!(
            before.as_deref().is_none_or(|before| before == owner),
            "{owner} and {before:?} are both {component}"
        );
    }

    /// A reference to a message, or the schema itself of one that JSON writes in a form of its own.
    pub(super) fn message(&mut self, desc: &MessageDescriptor, direction: Direction) -> Value {
        if let Some(schema) = well_known(desc.full_name()) {
            return schema;
        }
        let shared = self.replied.contains(desc.full_name());
        let mut name = component_name(desc.full_name());
        if direction == Direction::Request && shared && desc.fields().next().is_some() {
            name.push_str("Input");
        }
        if !self.components.contains_key(&name) {
            self.own(&name, desc.full_name());
            // Before its fields are looked at: messages may hold themselves.
            self.components.insert(name.clone(), Value::Null);
            let mut fields: Vec<FieldDescriptor> = desc.fields().collect();
            // As they stand in the file.
            fields.sort_by(|a, b| a.path().cmp(b.path()));
            let mut schema = self.object(&fields, direction, !shared);
            mark_not_supported(&mut schema, desc);
            describe(&mut schema, self.comments.of(&desc.parent_file(), desc.path()));
            self.components.insert(name.clone(), schema);
        }
        let mut reference = reference(&name);
        let required = required(desc.fields());
        if direction == Direction::Request && shared && !required.is_empty() {
            reference["required"] = required.into();
        }
        reference
    }

    /// An object of some fields of a message. `with_required` lists the required ones.
    pub(super) fn object(
        &mut self,
        fields: &[FieldDescriptor],
        direction: Direction,
        with_required: bool,
    ) -> Value {
        let mut properties = Map::new();
        for field in fields {
            properties.insert(field.json_name().to_owned(), self.field(field, direction));
        }
        let mut schema = json!({ "type": "object" });
        if !properties.is_empty() {
            schema["properties"] = properties.into();
        }
        let required = required(fields.iter().cloned());
        if with_required && direction == Direction::Request && !required.is_empty() {
            schema["required"] = required.into();
        }
        let choices: Vec<Value> = one_ofs(fields).iter().map(|names| at_most_one(names)).collect();
        match choices.as_slice() {
            [] => {}
            [one] => schema["anyOf"] = one["anyOf"].clone(),
            _ => schema["allOf"] = choices.into(),
        }
        schema
    }

    /// A field with its comment and what clients may do with it.
    pub(super) fn field(&mut self, field: &FieldDescriptor, direction: Direction) -> Value {
        let behavior = behavior(field);
        let mut schema = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { unreachable!("a map is a list of messages") };
            let value = self.kind(&entry.map_entry_value_field().kind(), direction);
            json!({ "type": "object", "additionalProperties": value })
        } else if field.is_list() {
            json!({ "type": "array", "items": self.kind(&field.kind(), direction) })
        } else {
            self.kind(&field.kind(), direction)
        };
        if direction == Direction::Request && behavior != Behavior::Required {
            schema = or_null(schema);
        }
        describe(&mut schema, self.comments.of_field(field));
        match behavior {
            Behavior::OutputOnly => schema["readOnly"] = true.into(),
            Behavior::InputOnly if direction == Direction::Request => schema["writeOnly"] = true.into(),
            // All fields are written, this one always empty.
            Behavior::InputOnly => schema["maxLength"] = 0.into(),
            Behavior::Required | Behavior::Optional => {}
        }
        schema
    }

    fn kind(&mut self, kind: &Kind, direction: Direction) -> Value {
        // In replies 64-bit integers are texts. In requests all numbers may be numbers or texts.
        let number = |kind: &str, format: &str, pattern: &str| match direction {
            Direction::Reply if format.ends_with("64") => {
                json!({ "type": "string", "format": format, "pattern": pattern })
            }
            Direction::Reply => json!({ "type": kind, "format": format }),
            Direction::Request => json!({ "type": [kind, "string"], "format": format, "pattern": pattern }),
        };
        let bounded = |mut schema: Value, least: i64, most: i64| {
            schema["minimum"] = least.into();
            schema["maximum"] = most.into();
            schema
        };
        match kind {
            Kind::Double => number("number", "double", NUMBER_PATTERN),
            Kind::Float => number("number", "float", NUMBER_PATTERN),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                bounded(number("integer", "int32", INTEGER_PATTERN), i32::MIN.into(), i32::MAX.into())
            }
            Kind::Uint32 | Kind::Fixed32 => {
                bounded(number("integer", "uint32", UNSIGNED_PATTERN), 0, u32::MAX.into())
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => number("integer", "int64", INTEGER_PATTERN),
            Kind::Uint64 | Kind::Fixed64 => number("integer", "uint64", UNSIGNED_PATTERN),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte", "contentEncoding": "base64" }),
            Kind::Message(desc) => self.message(desc, direction),
            Kind::Enum(desc) => {
                let named = self.enumeration(desc);
                match direction {
                    Direction::Reply => named,
                    Direction::Request => {
                        json!({ "anyOf": [named, { "type": "integer", "format": "int32" }] })
                    }
                }
            }
        }
    }

    fn enumeration(&mut self, desc: &EnumDescriptor) -> Value {
        let name = component_name(desc.full_name());
        if !self.components.contains_key(&name) {
            self.own(&name, desc.full_name());
            let values: Vec<String> = desc.values().map(|value| value.name().to_owned()).collect();
            let mut schema =
                json!({ "type": "string", "enum": values, "default": desc.default_value().name() });
            let mut texts = vec![self.comments.of(&desc.parent_file(), desc.path()).to_owned()];
            for value in desc.values() {
                let text = self.comments.of(&desc.parent_file(), value.path());
                if !text.is_empty() {
                    texts.push(format!("{}: {text}", value.name()));
                }
            }
            texts.retain(|text| !text.is_empty());
            describe(&mut schema, &texts.join("\n\n"));
            self.components.insert(name.clone(), schema);
        }
        reference(&name)
    }
}

/// The schema of a field that may be null, which means that it is not there.
fn or_null(mut schema: Value) -> Value {
    let nothing = json!({ "type": "null" });
    let Some(members) = schema.as_object_mut() else { return schema };
    if members.contains_key("$ref") {
        return json!({ "anyOf": [schema, nothing] });
    }
    if let Some(choices) = members.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.push(nothing);
    }
    match members.get_mut("type") {
        Some(Value::Array(kinds)) => kinds.push("null".into()),
        Some(kind) => *kind = json!([kind, "null"]),
        // One that null is right for.
        None => {}
    }
    schema
}

/// Says of fields that are refused that they are.
fn mark_not_supported(schema: &mut Value, desc: &MessageDescriptor) {
    let Some(supported) = support::supported(desc.full_name()) else { return };
    for (name, field) in schema["properties"].as_object_mut().into_iter().flatten() {
        if field["readOnly"] == true || supported.contains(&name.as_str()) {
            continue;
        }
        let own = field["description"].as_str().unwrap_or_default();
        field["description"] = format!("{own} {}", support::NOT_SUPPORTED).trim().into();
    }
}

/// `{"$ref": "#/components/schemas/NAME"}`.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Adds a description, unless there is nothing to say.
pub(super) fn describe(schema: &mut Value, text: &str) {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
}

/// `gateway.Dataset.State` as `DatasetState`: the last two parts of a name, as the hosted service has it.
fn component_name(full_name: &str) -> String {
    let parts: Vec<&str> = full_name.split('.').collect();
    parts[parts.len().saturating_sub(2)..].concat()
}

fn required(fields: impl Iterator<Item = FieldDescriptor>) -> Vec<String> {
    fields
        .filter(|field| behavior(field) == Behavior::Required)
        .map(|field| field.json_name().to_owned())
        .collect()
}

/// JSON names of the fields of each choice; `optional` fields are choices for the compiler only.
fn one_ofs(fields: &[FieldDescriptor]) -> Vec<Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for field in fields {
        if let Some(one_of) = field.containing_oneof().filter(|one_of| !one_of.is_synthetic()) {
            found.entry(one_of.name().to_owned()).or_default().push(field.json_name().to_owned());
        }
    }
    found.into_values().filter(|names| names.len() > 1).collect()
}

/// For each name an object that has none of the others.
fn at_most_one(names: &[String]) -> Value {
    let alone = |name: &String| {
        let others = names.iter().filter(|other| *other != name);
        let others: Map<String, Value> = others.map(|other| (other.clone(), false.into())).collect();
        json!({ "properties": others })
    };
    json!({ "anyOf": names.iter().map(alone).collect::<Vec<_>>() })
}

/// All messages within a message, itself too.
fn reach(desc: &MessageDescriptor, found: &mut BTreeSet<String>) {
    if !found.insert(desc.full_name().to_owned()) {
        return;
    }
    for field in desc.fields() {
        if let Kind::Message(inner) = field.kind() {
            reach(&inner, found);
        }
    }
}

/// Messages that JSON does not write as objects of their fields.
fn well_known(full_name: &str) -> Option<Value> {
    let name = full_name.strip_prefix("google.protobuf.")?;
    Some(match name {
        "Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "Duration" => json!({ "type": "string", "pattern": DURATION_PATTERN }),
        "FieldMask" => json!({ "type": "string" }),
        "Empty" => json!({ "type": "object", "additionalProperties": false }),
        "Struct" => json!({ "type": "object" }),
        "ListValue" => json!({ "type": "array", "items": {} }),
        "Value" => json!({}),
        "Any" => json!({
            "type": "object",
            "properties": { "@type": { "type": "string" } },
            "required": ["@type"],
        }),
        // A message of that package that is new here: without its rule the document would be wrong.
        other => panic!("google.protobuf.{other} has no JSON schema"),
    })
}

#[cfg(test)]
mod tests;
