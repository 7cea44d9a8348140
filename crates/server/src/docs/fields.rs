//! Schemas as tables of fields.

use serde_json::Value;

use super::html::Html;
use super::{object, resolve, text};

/// Whose fields are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Those that a client may send.
    Request,
    /// Those that the server sends.
    Reply,
    /// All.
    Both,
}

/// Most values of an enum that stand where it is described; the others can be unfolded.
const VALUES_SHOWN: usize = 12;

/// The anchor of a component.
pub(super) fn schema_anchor(name: &str) -> String {
    format!("schema-{name}")
}

/// The name of the component that a `$ref` leads to.
fn component(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

/// The fields of an object, or what else the schema says.
pub(super) fn write(html: &mut Html, document: &Value, schema: &Value, side: Side) {
    let target = resolve(document, schema);
    if target["enum"].is_array() {
        values(html, target);
        return;
    }
    let shown = |field: &Value| match side {
        Side::Request => field["readOnly"] != true,
        Side::Reply => field["writeOnly"] != true,
        Side::Both => true,
    };
    let fields: Vec<(&String, &Value)> =
        object(&target["properties"]).filter(|(_, field)| shown(field)).collect();
    if fields.is_empty() {
        html.raw("<p>").raw("No fields.").raw("</p>\n");
        return;
    }
    html.raw("<table>\n<thead><tr><th>Field</th><th>Type</th><th>Meaning</th></tr></thead>\n<tbody>\n");
    for (name, field) in fields {
        let is_required = [schema, target].iter().any(|from| {
            from["required"].as_array().is_some_and(|all| all.contains(&Value::from(name.as_str())))
        });
        html.raw("<tr><td>").code(name);
        if is_required && side != Side::Reply {
            html.raw(" <span class=\"mark\">required</span>");
        }
        html.raw("</td><td>");
        kind(html, field);
        html.raw("</td><td>");
        if side == Side::Both && field["readOnly"] == true {
            html.raw("<span class=\"mark\">read only</span> ");
        }
        if field["writeOnly"] == true {
            html.raw("<span class=\"mark\">never sent back</span> ");
        }
        html.inline(text(field, "description")).raw("</td></tr>\n");
        if component(field).is_none() && field["properties"].is_object() {
            html.raw("<tr class=\"inner\"><td colspan=\"3\">");
            write(html, document, field, side);
            html.raw("</td></tr>\n");
        }
    }
    html.raw("</tbody>\n</table>\n");
}

fn values(html: &mut Html, schema: &Value) {
    let values: Vec<&str> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let some = |html: &mut Html, values: &[&str]| {
        for value in values {
            html.code(value).raw(" ");
        }
    };
    let (first, rest) = values.split_at(values.len().min(VALUES_SHOWN));
    html.raw("<p>One of ");
    some(html, first);
    html.raw("</p>\n");
    if !rest.is_empty() {
        html.raw("<details><summary>").number(rest.len()).raw(" more</summary><p>");
        some(html, rest);
        html.raw("</p></details>\n");
    }
}

/// The type in a few words.
pub(super) fn kind(html: &mut Html, schema: &Value) {
    if let Some(name) = component(schema) {
        html.link(&schema_anchor(name), name);
        return;
    }
    if let Some(choices) = schema["anyOf"].as_array().filter(|_| schema["properties"].is_null()) {
        for (index, choice) in choices.iter().enumerate() {
            if index > 0 {
                html.raw(" or ");
            }
            kind(html, choice);
        }
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if let Some(value) = schema.get("const") {
        html.code(&value.to_string());
        return;
    }
    if let Some(values) = schema["enum"].as_array() {
        for (index, value) in values.iter().enumerate() {
            html.raw(if index > 0 { " or " } else { "" }).code(&value.to_string());
        }
        return;
    }
    for (index, one) in types.iter().enumerate() {
        if index > 0 {
            html.raw(" or ");
        }
        match *one {
            "array" => {
                html.raw("list of ");
                kind(html, &schema["items"]);
            }
            "object" if schema["additionalProperties"].is_object() => {
                html.raw("map of text to ");
                kind(html, &schema["additionalProperties"]);
            }
            other => {
                html.text(other);
            }
        }
    }
    if types.is_empty() {
        html.raw("anything");
    }
    let format = text(schema, "format");
    if !format.is_empty() {
        html.raw(" <small>").text(format).raw("</small>");
    }
}
