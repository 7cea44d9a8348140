//! `filter` and `orderBy` of lists (AIP-160, AIP-132), over the fields of the listed resource.
//!
//! Names are those of the `.proto` files or of JSON. What the operators mean:
//! - texts: `=`, `!=` with `*` for any text; `:` is true for a text that has the value in it; `<` and its kin compare
//!   by code points;
//! - numbers, times and durations: all but `:`; times are written as RFC 3339 says, in quotes if they have a `(`, and
//!   durations in seconds with an `s`;
//! - enums: `=`, `!=` and `:` with the name of a value; booleans likewise with `true` and `false`;
//! - lists of texts: `:` is true if one of them is the value, in which `*` stands for any text.
//!
//! What a filter names has to exist: a wrong field or value is INVALID_ARGUMENT and never an empty list.

mod parse;

use std::cmp::Ordering;
use std::str::FromStr;

use hearth_store::{Column, Comparator, Condition, Form, Listed, Order, Value};
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::Timestamp;

use crate::error::ServerError;
use parse::{Node, Restriction, parse};

/// Most fields of an order.
const ORDER_FIELDS_MAX: usize = 8;
/// Values of an enum that a message names.
const SHOWN_VALUES: usize = 12;
/// Full name of the type of times.
const TIMESTAMP: &str = "google.protobuf.Timestamp";
/// Full name of the type of durations.
const DURATION: &str = "google.protobuf.Duration";
/// Fields, by the ends of their names, that no row has: they are made for each reply.
const MADE_FOR_REPLY: [&str; 3] = ["_signed_url", "deployed_model_refs", "supports_serverless"];

/// A resource that lists show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource {
    /// Where its rows are.
    pub(super) listed: Listed,
    /// Name of its message in `gateway`.
    pub(super) type_name: &'static str,
}

impl Resource {
    pub(super) const ACCOUNT: Self = Self { listed: Listed::Account, type_name: "Account" };
    pub(super) const USER: Self = Self { listed: Listed::User, type_name: "User" };
    pub(super) const API_KEY: Self = Self { listed: Listed::ApiKey, type_name: "ApiKey" };
    pub(super) const BATCH_INFERENCE_JOB: Self =
        Self { listed: Listed::BatchInferenceJob, type_name: "BatchInferenceJob" };
    pub(super) const DATASET: Self = Self { listed: Listed::Dataset, type_name: "Dataset" };
    pub(super) const JOB: Self = Self { listed: Listed::Job, type_name: "SupervisedFineTuningJob" };
    pub(super) const DEPLOYMENT: Self = Self { listed: Listed::Deployment, type_name: "Deployment" };
    pub(super) const DEPLOYED_MODEL: Self =
        Self { listed: Listed::DeployedModel, type_name: "DeployedModel" };
    pub(super) const QUOTA: Self = Self { listed: Listed::Quota, type_name: "Quota" };
    pub(super) const SECRET: Self = Self { listed: Listed::Secret, type_name: "Secret" };
    pub(super) const WEBHOOK: Self = Self { listed: Listed::Webhook, type_name: "Webhook" };
    pub(super) const MODEL: Self = Self { listed: Listed::Model, type_name: "Model" };

    fn descriptor(self) -> MessageDescriptor {
        hearth_proto::descriptor_pool()
            .get_message_by_name(&format!("gateway.{}", self.type_name))
            .expect("a resource is a message of the gateway")
    }

    /// A field by its path, with the path in the names of the `.proto` files.
    fn field<S: AsRef<str>>(self, path: &[S]) -> Result<(FieldDescriptor, String), String> {
        let shown = || path.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(".");
        let mut message = self.descriptor();
        let mut names = Vec::new();
        for (i, segment) in path.iter().map(AsRef::as_ref).enumerate() {
            let by_name = message.get_field_by_name(segment);
            let Some(field) = by_name.or_else(|| message.get_field_by_json_name(segment)) else {
                return Err(format!("{} has no field {:?}", self.type_name, shown()));
            };
            names.push(field.name().to_owned());
            if i + 1 == path.len() {
                if MADE_FOR_REPLY.iter().any(|end| field.name().ends_with(end)) {
                    return Err(format!("{:?} is made for each reply and cannot be asked for", shown()));
                }
                return Ok((field, names.join(".")));
            }
            message = match field.kind() {
                Kind::Message(inner) if !field.is_list() && !field.is_map() && !is_one_value(&inner) => inner,
                _ => return Err(format!("{:?} of {:?} has no fields", segment, shown())),
            };
        }
        Err("names no field".to_owned())
    }
}

fn is_time(message: &MessageDescriptor) -> bool {
    message.full_name() == TIMESTAMP
}

fn is_duration(message: &MessageDescriptor) -> bool {
    message.full_name() == DURATION
}

/// Whether a message stands for one value, and not for several fields.
fn is_one_value(message: &MessageDescriptor) -> bool {
    is_time(message) || is_duration(message)
}

/// Reads a filter over a resource. An empty one lets everything through.
pub(super) fn filter(resource: Resource, text: &str) -> Result<Condition, ServerError> {
    let wrong = |message| ServerError::field("filter", message);
    match parse(text).map_err(wrong)? {
        None => Ok(Condition::Always(true)),
        Some(node) => condition(resource, node).map_err(wrong),
    }
}

/// Reads an order: fields divided by commas, each with ` desc` for largest first.
pub(super) fn order(resource: Resource, text: &str) -> Result<Vec<Order>, ServerError> {
    let wrong = |message: String| ServerError::field("orderBy", message);
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > ORDER_FIELDS_MAX {
        return Err(wrong(format!("has more than {ORDER_FIELDS_MAX} fields")));
    }
    let mut order = Vec::new();
    for part in parts {
        let words: Vec<&str> = part.split_whitespace().collect();
        let (name, descending) = match words[..] {
            [name] | [name, "asc"] => (name, false),
            [name, "desc"] => (name, true),
            _ => return Err(wrong(format!("{part:?} is not a field, or a field with \" desc\""))),
        };
        let (field, path) = resource.field(&name.split('.').collect::<Vec<_>>()).map_err(wrong)?;
        let sortable = match field.kind() {
            Kind::Message(inner) => is_one_value(&inner),
            _ => true,
        };
        if field.is_list() || field.is_map() || !sortable {
            return Err(wrong(format!("{name:?} cannot be sorted by: it is not one value")));
        }
        if path == "name" {
            // All names of a list begin alike.
            order.push(Order::Id { descending });
        } else if let Some(column) = resource.listed.column(&path) {
            order.push(Order::By { column, descending });
        }
        // Else the field is the same in every row and sorts nothing.
    }
    Ok(order)
}

fn condition(resource: Resource, node: Node) -> Result<Condition, String> {
    let all =
        |nodes: Vec<Node>| nodes.into_iter().map(|node| condition(resource, node)).collect::<Result<_, _>>();
    Ok(match node {
        Node::And(nodes) => Condition::All(all(nodes)?),
        Node::Or(nodes) => Condition::Any(all(nodes)?),
        Node::Not(node) => Condition::Not(Box::new(condition(resource, *node)?)),
        Node::Restriction(restriction) => restricted(resource, &restriction)?,
    })
}

fn restricted(resource: Resource, restriction: &Restriction) -> Result<Condition, String> {
    let name = restriction.path.join(".");
    // A key of a map may stand where a field does; no row of this server has one.
    if let Some(key) = map_key(resource, &restriction.path)? {
        return match restriction.comparator {
            None | Some(Comparator::Equal) => Ok(Condition::Always(false)),
            Some(Comparator::NotEqual) => Ok(Condition::Always(true)),
            Some(other) => {
                Err(format!("{name} takes = != or :, not {}; {key:?} is a key of a map", other.symbol()))
            }
        };
    }
    let (field, path) = resource.field(&restriction.path)?;
    let column = resource.listed.column(&path);
    if field.is_list() || field.is_map() {
        return match (restriction.comparator, column) {
            (None, Some(column)) if column.form == Form::Texts => {
                Ok(Condition::Has(column, restriction.argument.clone()))
            }
            (None, _) => Ok(Condition::Always(false)),
            (Some(other), _) => {
                Err(format!("{name} holds several values and takes :, not {}", other.symbol()))
            }
        };
    }
    match field.kind() {
        Kind::String => text(&name, column, restriction),
        Kind::Bool => {
            let value = bool::from_str(&restriction.argument)
                .map_err(|_| format!("{name} takes true or false, not {:?}", restriction.argument))?;
            same(&name, column, restriction, Value::Int(value.into()), Value::Int(0))
        }
        Kind::Enum(values) => enumeration(&name, &values, column, restriction),
        Kind::Message(message) if is_time(&message) => time(&name, column, restriction),
        Kind::Message(message) if is_duration(&message) => duration(&name, column, restriction),
        Kind::Message(_) => Err(format!("{name} has fields of its own; name one of them")),
        Kind::Bytes => Err(format!("{name} cannot be filtered by")),
        Kind::Float | Kind::Double => {
            let value = f64::from_str(&restriction.argument).ok().filter(|value| value.is_finite());
            let value =
                value.ok_or_else(|| format!("{name} takes a number, not {:?}", restriction.argument))?;
            ordered(
                &name,
                column,
                restriction,
                Value::Real(value),
                value.partial_cmp(&0.0).map(Ordering::reverse),
            )
        }
        _ => {
            let value = i64::from_str(&restriction.argument)
                .map_err(|_| format!("{name} takes a whole number, not {:?}", restriction.argument))?;
            ordered(&name, column, restriction, Value::Int(value), Some(0.cmp(&value)))
        }
    }
}

/// The key, if the path ends in one of a map.
fn map_key(resource: Resource, path: &[String]) -> Result<Option<&str>, String> {
    let Some((key, before)) = path.split_last().filter(|(_, before)| !before.is_empty()) else {
        return Ok(None);
    };
    Ok(resource.field(before).ok().filter(|(field, _)| field.is_map()).map(|_| key.as_str()))
}

fn text(name: &str, column: Option<Column>, restriction: &Restriction) -> Result<Condition, String> {
    let argument = restriction.argument.as_str();
    let Some(comparator) = restriction.comparator else {
        return Ok(match (column, argument) {
            // "Has any": is there a text at all?
            (Some(column), "*") => {
                Condition::Compare(column, Comparator::NotEqual, Value::Text(String::new()))
            }
            (Some(column), argument) => Condition::Contains(column, argument.to_owned()),
            (None, argument) => Condition::Always(argument.is_empty()),
        });
    };
    if !argument.contains('*') {
        let value = Value::Text(argument.to_owned());
        return ordered(name, column, restriction, value, Some("".cmp(argument)));
    }
    let like = match column {
        Some(column) => Condition::Like(column, argument.to_owned()),
        None => Condition::Always(argument.bytes().all(|b| b == b'*')),
    };
    match comparator {
        Comparator::Equal => Ok(like),
        Comparator::NotEqual => Ok(Condition::Not(Box::new(like))),
        other => Err(format!("{name} {} takes no *", other.symbol())),
    }
}

fn enumeration(
    name: &str,
    values: &EnumDescriptor,
    column: Option<Column>,
    restriction: &Restriction,
) -> Result<Condition, String> {
    let argument = restriction.argument.as_str();
    if values.get_value_by_name(argument).is_none() {
        let known: Vec<_> = values.values().take(SHOWN_VALUES).map(|value| value.name().to_owned()).collect();
        let more = if values.values().len() > SHOWN_VALUES { " and others" } else { "" };
        return Err(format!("{name} has no value {argument:?}; it has {}{more}", known.join(", ")));
    }
    let stored = match column.map(|column| column.form) {
        // A value with another beginning is none of those that are stored.
        Some(Form::UpperName(beginning)) => argument.strip_prefix(beginning).unwrap_or_default().to_owned(),
        Some(Form::LowerName) => argument.to_lowercase(),
        _ => argument.to_owned(),
    };
    let default = values.default_value().name().to_owned();
    same(name, column, restriction, Value::Text(stored), Value::Text(default))
}

fn time(name: &str, column: Option<Column>, restriction: &Restriction) -> Result<Condition, String> {
    let wrong =
        || format!("{name} takes a time like \"2026-01-31T12:00:00Z\", not {:?}", restriction.argument);
    let time = Timestamp::from_str(&restriction.argument).map_err(|_| wrong())?;
    let Some(comparator) = restriction.comparator else { return Err(format!("{name} takes no :")) };
    let Some(column) = column else {
        // No row has this time.
        return Ok(Condition::Always(comparator == Comparator::NotEqual));
    };
    // Rows have whole milliseconds.
    let floor = super::time::milliseconds(&time);
    let is_whole = time.nanos % 1_000_000 == 0;
    let value = match comparator {
        Comparator::Equal | Comparator::NotEqual if !is_whole => {
            return Ok(Condition::Always(comparator == Comparator::NotEqual));
        }
        Comparator::Less | Comparator::GreaterEqual if !is_whole => floor.saturating_add(1),
        _ => floor,
    };
    Ok(Condition::Compare(column, comparator, Value::Int(value)))
}

fn duration(name: &str, column: Option<Column>, restriction: &Restriction) -> Result<Condition, String> {
    let wrong =
        || format!("{name} takes a duration in seconds like \"300s\", not {:?}", restriction.argument);
    let seconds = restriction.argument.strip_suffix('s').and_then(|text| f64::from_str(text).ok());
    let ms = seconds.filter(|seconds| seconds.is_finite()).ok_or_else(wrong)? * 1000.0;
    ordered(name, column, restriction, Value::Real(ms), ms.partial_cmp(&0.0).map(Ordering::reverse))
}

/// `=`, `!=`, and `:` as another word for `=`.
fn same(
    name: &str,
    column: Option<Column>,
    restriction: &Restriction,
    value: Value,
    default: Value,
) -> Result<Condition, String> {
    let comparator = restriction.comparator.unwrap_or(Comparator::Equal);
    if !matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
        return Err(format!("{name} takes = != or :, not {}", comparator.symbol()));
    }
    Ok(match column {
        Some(column) => Condition::Compare(column, comparator, value),
        None => Condition::Always((value == default) == (comparator == Comparator::Equal)),
    })
}

/// Any comparator but `:`. `default` is how the field's default stands to the value, for fields that all rows have it in.
fn ordered(
    name: &str,
    column: Option<Column>,
    restriction: &Restriction,
    value: Value,
    default: Option<Ordering>,
) -> Result<Condition, String> {
    let Some(comparator) = restriction.comparator else { return Err(format!("{name} takes no :; use =")) };
    if let Some(column) = column {
        return Ok(Condition::Compare(column, comparator, value));
    }
    let holds = default.is_some_and(|default| match comparator {
        Comparator::Equal => default.is_eq(),
        Comparator::NotEqual => default.is_ne(),
        Comparator::Less => default.is_lt(),
        Comparator::LessEqual => default.is_le(),
        Comparator::Greater => default.is_gt(),
        Comparator::GreaterEqual => default.is_ge(),
    });
    Ok(Condition::Always(holds))
}
