//! One operation of the page.

use serde_json::Value;

use super::fields::{self, Side};
use super::html::Html;
use super::{Shown, object, resolve, text};

/// Path, description, parameters, body, replies and an example.
pub(super) fn write(html: &mut Html, document: &Value, one: &Shown<'_>) {
    let value = one.value;
    let (summary, description) = (text(value, "summary"), text(value, "description"));
    html.raw("<article id=\"")
        .text(text(value, "operationId"))
        .raw("\">\n<h3>")
        .inline(summary)
        .raw("</h3>\n");
    html.raw("<p class=\"path\"><span class=\"verb ").text(one.verb).raw("\">");
    html.text(&one.verb.to_ascii_uppercase()).raw("</span> ").code(one.path).raw("</p>\n");
    if description.trim_end_matches('.') != summary {
        html.paragraphs(description);
    }
    parameters(html, &value["parameters"]);
    body(html, document, &value["requestBody"]);
    replies(html, document, &value["responses"]);
    html.raw("<h4>Example</h4>\n<pre><code>")
        .text(&example(document, one))
        .raw("</code></pre>\n</article>\n");
}

fn parameters(html: &mut Html, parameters: &Value) {
    let Some(list) = parameters.as_array().filter(|list| !list.is_empty()) else { return };
    html.raw("<h4>Parameters</h4>\n<table>\n<thead><tr><th>Name</th><th>Type</th><th>Meaning</th></tr></thead>\n<tbody>\n");
    for one in list {
        html.raw("<tr><td>").code(text(one, "name")).raw(" <small>").text(text(one, "in")).raw("</small>");
        if one["required"] == true && one["in"] != "path" {
            html.raw(" <span class=\"mark\">required</span>");
        }
        html.raw("</td><td>");
        fields::kind(html, &one["schema"]);
        html.raw("</td><td>").inline(text(one, "description")).raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n");
}

fn body(html: &mut Html, document: &Value, body: &Value) {
    for (content_type, content) in object(&body["content"]) {
        let schema = &content["schema"];
        html.raw("<h4>Body <small>").text(content_type);
        html.raw(if body["required"] == true { "" } else { ", may be left out" }).raw("</small></h4>\n");
        content_fields(html, document, schema, Side::Request);
    }
}

/// A table that is folded: the headline names the schema.
fn content_fields(html: &mut Html, document: &Value, schema: &Value, side: Side) {
    let target = resolve(document, schema);
    if !target["properties"].is_object() {
        return;
    }
    html.raw("<details><summary>Fields of ");
    fields::kind(html, schema);
    html.raw("</summary>\n");
    fields::write(html, document, schema, side);
    html.raw("</details>\n");
}

fn replies(html: &mut Html, document: &Value, responses: &Value) {
    html.raw("<h4>Replies</h4>\n");
    let mut errors = Vec::new();
    for (status, response) in object(responses) {
        let response = resolve(document, response);
        if !status.starts_with('2') {
            errors.push((status, response));
            continue;
        }
        html.raw("<p><strong>").text(status).raw("</strong> ").inline(text(response, "description"));
        let content: Vec<(&String, &Value)> = object(&response["content"]).collect();
        for (index, (content_type, content)) in content.iter().enumerate() {
            html.raw(if index > 0 { ", or " } else { " As " }).code(content_type).raw(": ");
            fields::kind(html, &content["schema"]);
        }
        html.raw("</p>\n");
        for (_, content) in content {
            content_fields(html, document, &content["schema"], Side::Reply);
        }
    }
    if errors.is_empty() {
        return;
    }
    html.raw("<details class=\"errors\"><summary>Errors ");
    for (status, _) in &errors {
        html.code(status).raw(" ");
    }
    html.raw("</summary>\n<table>\n<tbody>\n");
    for (status, response) in errors {
        html.raw("<tr><td>").code(status).raw("</td><td>").inline(text(response, "description"));
        html.raw("</td></tr>\n");
    }
    html.raw("</tbody>\n</table>\n</details>\n");
}

/// A command line that makes the call.
fn example(document: &Value, one: &Shown<'_>) -> String {
    let mut query = Vec::new();
    let mut path = one.path.to_owned();
    for parameter in one.value["parameters"].as_array().into_iter().flatten() {
        let name = text(parameter, "name");
        let value = parameter["example"].as_str().map_or_else(|| name.to_ascii_uppercase(), str::to_owned);
        if parameter["in"] == "path" {
            path = path.replace(&format!("{{{name}}}"), &value);
        } else if parameter["required"] == true || parameter.get("example").is_some() {
            query.push(format!("{name}={value}"));
        }
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let has_body = one.value["requestBody"].is_object();
    let method = match one.verb {
        "get" => String::new(),
        "post" if has_body => String::new(),
        verb => format!("-X {} ", verb.to_ascii_uppercase()),
    };
    let mut lines = vec![format!("curl {method}\"$HEARTH{path}{query}\"")];
    if one.value["security"].as_array().is_none_or(|security| !security.is_empty()) {
        lines.push("-H \"Authorization: Bearer $KEY\"".to_owned());
    }
    for (content_type, content) in object(&one.value["requestBody"]["content"]) {
        match content_type.as_str() {
            "application/json" => {
                lines.push("-H \"Content-Type: application/json\"".to_owned());
                let body =
                    content.get("example").cloned().unwrap_or_else(|| sample(document, &content["schema"]));
                lines.push(format!("-d '{body}'"));
            }
            "multipart/form-data" => lines.push("-F file=@rows.jsonl".to_owned()),
            _ => lines.push("--data-binary @rows.jsonl".to_owned()),
        }
    }
    lines.join(" \\\n  ")
}

/// A body with the fields that it must have.
fn sample(document: &Value, schema: &Value) -> Value {
    let target = resolve(document, schema);
    let required = [schema, target].into_iter().filter_map(|from| from["required"].as_array()).flatten();
    let mut body = serde_json::Map::new();
    for name in required.filter_map(Value::as_str) {
        let field = &target["properties"][name];
        body.insert(name.to_owned(), value(document, name, field));
    }
    body.into()
}

fn value(document: &Value, name: &str, field: &Value) -> Value {
    let target = resolve(document, field);
    if target["properties"].is_null() && target["anyOf"][0].is_object() {
        return value(document, name, &target["anyOf"][0]);
    }
    let kind = target["type"].as_str().or_else(|| target["type"][0].as_str()).unwrap_or_default();
    match kind {
        _ if target["enum"].is_array() => target["enum"][0].clone(),
        "integer" | "number" => 1.into(),
        "boolean" => true.into(),
        "array" => Value::Array(vec![value(document, name, &target["items"])]),
        "object" if target["properties"].is_object() => sample(document, field),
        "object" => serde_json::json!({}),
        _ => crate::transcode::fields::snake_case(name).to_ascii_uppercase().into(),
    }
}
