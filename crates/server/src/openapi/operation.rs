//! RPCs as operations of the document.

use hearth_proto::behavior::{Behavior, behavior};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::comments::first_sentence;
use super::replies;
use super::schema::{Direction, Schemas, describe};
use crate::transcode::routes::{BodyTarget, Route};
use crate::transcode::template::{Segment, Template};

/// Ids of resources. The same rule as `hearth_domain`'s ids; a test compares them.
pub(super) const ID_PATTERN: &str = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$";
/// The same where the server makes an id if it is given none; an empty text is none.
const NEW_ID_PATTERN: &str = "^([a-z]([a-z0-9-]{0,61}[a-z0-9])?)?$";
/// Fields that all requests for one resource have.
const PLAIN_FIELDS: [&str; 2] = ["name", "read_mask"];
/// Fields of all lists.
const LIST_FIELDS: [&str; 7] =
    ["parent", "page_size", "page_token", "filter", "order_by", "read_mask", "show_internal"];

/// An operation and its place.
pub(super) struct Operation {
    pub(super) path: String,
    /// Lower-case HTTP method.
    pub(super) verb: String,
    pub(super) value: Value,
}

/// The operation of an RPC on one of its routes; `number` counts the routes of the RPC from 1.
pub(super) fn operation(
    schemas: &mut Schemas,
    route: &Route,
    method: &MethodDescriptor,
    body: &BodyTarget,
    number: usize,
) -> Operation {
    let comment = schemas.comments().of(&method.parent_service().parent_file(), method.path()).to_owned();
    let (path, mut parameters) = path(&route.template);
    let (mut suffix, mut summary) = (String::new(), first_sentence(&comment).to_owned());
    if number > 1 {
        suffix = number.to_string();
        summary.push_str(&owner(&route.template));
    }
    let captured: Vec<Vec<String>> = route.template.field_paths().map(<[String]>::to_vec).collect();
    if !matches!(body, BodyTarget::Message) {
        let in_body = match body {
            BodyTarget::Field(field) => Some(field.clone()),
            BodyTarget::None | BodyTarget::Message => None,
        };
        let input = method.input();
        let fields = input.fields().filter(|field| in_body.as_ref() != Some(field));
        query(schemas, fields, &mut Vec::new(), &captured, &mut parameters);
    }
    let new_id = NewId::of(route, method);
    if let Some(new_id) = &new_id
        && let Some(parameter) = parameters.iter_mut().find(|one| one["name"] == *new_id.json_name)
    {
        parameter["schema"]["pattern"] = NEW_ID_PATTERN.into();
        describe(parameter, &new_id.text);
    }
    let mut value = json!({
        "tags": ["Gateway"],
        "summary": summary,
        "description": comment,
        "operationId": format!("{}_{}{suffix}", method.parent_service().name(), method.name()),
        "parameters": parameters,
    });
    if let Some(body) = request_body(schemas, route, method, body, new_id.as_ref()) {
        value["requestBody"] = body;
    }
    let mut all = Map::new();
    let reply = schemas.message(&method.output(), Direction::Reply);
    all.insert("200".to_owned(), replies::ok("The answer.", &reply));
    for status in statuses(route, method, body) {
        all.insert(status.to_string(), replies::gateway_error(status));
    }
    value["responses"] = all.into();
    Operation { path, verb: route.verb.as_str().to_ascii_lowercase(), value }
}

/// Error statuses that an RPC can answer with.
fn statuses(route: &Route, method: &MethodDescriptor, body: &BodyTarget) -> Vec<u16> {
    let mut found = vec![400, 401, 403];
    let names: Vec<String> = method.input().fields().map(|field| field.name().to_owned()).collect();
    let has_body = !matches!(body, BodyTarget::None);
    if route.template.field_paths().next().is_some() {
        found.push(404);
    }
    if route.verb != http::Method::GET {
        found.push(409);
    }
    if has_body {
        found.push(413);
    }
    found.extend([429, 500]);
    let plain = |allowed: &[&str]| names.iter().all(|name| allowed.contains(&name.as_str()));
    if has_body || !(plain(&PLAIN_FIELDS) || plain(&LIST_FIELDS)) {
        found.push(501);
    }
    found.extend([503, 504]);
    replies::with_limits(&found)
}

/// The path with named parameters, and these.
pub(super) fn path(template: &Template) -> (String, Vec<Value>) {
    let mut path = String::new();
    let mut parameters = Vec::new();
    let mut before = "";
    for segment in template.segments() {
        path.push('/');
        let (name, pattern) = match segment {
            Segment::Literal(text) => {
                path.push_str(text);
                before = text;
                continue;
            }
            Segment::One => (format!("{}_id", singular(before)), ID_PATTERN),
            Segment::Rest => ("path".to_owned(), "^.+$"),
        };
        path.push_str(&format!("{{{name}}}"));
        let mut parameter = json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": format!("Id of the {}.", singular(before).replace('_', " ")),
            "schema": { "type": "string", "pattern": pattern },
        });
        if name == "account_id" {
            parameter["example"] = "default".into();
        }
        parameters.push(parameter);
    }
    if let Some(verb) = template.verb() {
        path.push_str(&format!(":{verb}"));
    }
    (path, parameters)
}

/// `dataset_id` as `datasetId`.
pub(super) fn json_name(snake: &str) -> String {
    let mut parts = snake.split('_');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at(part.len().min(1));
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}

/// ` (of a user)` for a path through `users/*`: tells routes of one RPC apart.
fn owner(template: &Template) -> String {
    let segments = template.segments();
    let last = segments.windows(2).rfind(|pair| pair[1] == Segment::One);
    match last.map(|pair| &pair[0]) {
        Some(Segment::Literal(collection)) => format!(" (of a {})", singular(collection).replace('_', " ")),
        _ => String::new(),
    }
}

/// `supervisedFineTuningJobs` as `supervised_fine_tuning_job`.
fn singular(collection: &str) -> String {
    let snake = crate::transcode::fields::snake_case(collection);
    match snake.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => snake.strip_suffix('s').unwrap_or(&snake).to_owned(),
    }
}

/// Query parameters of fields that neither path nor body has. Single messages become parameters with dots.
fn query(
    schemas: &mut Schemas,
    fields: impl Iterator<Item = FieldDescriptor>,
    above: &mut Vec<FieldDescriptor>,
    captured: &[Vec<String>],
    found: &mut Vec<Value>,
) {
    for field in fields {
        above.push(field.clone());
        let names: Vec<String> = above.iter().map(|field| field.name().to_owned()).collect();
        match field.kind() {
            _ if captured.contains(&names) || field.is_map() => {}
            Kind::Message(inner) if !field.is_list() && is_plain(&inner) => {
                query(schemas, inner.fields(), above, captured, found);
            }
            // Messages in lists cannot be written in a query.
            Kind::Message(inner) if field.is_list() && is_plain(&inner) => {}
            _ => found.push(parameter(schemas, &field, above)),
        }
        above.pop();
    }
}

fn is_plain(desc: &MessageDescriptor) -> bool {
    !desc.full_name().starts_with("google.protobuf.")
}

fn parameter(schemas: &mut Schemas, field: &FieldDescriptor, above: &[FieldDescriptor]) -> Value {
    // A query is text: an integer and its digits are the same there.
    let mut schema = schemas.field(field, Direction::Reply);
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let name: Vec<&str> = above.iter().map(FieldDescriptor::json_name).collect();
    let mut parameter = json!({ "name": name.join("."), "in": "query" });
    let own = description.as_ref().and_then(Value::as_str).unwrap_or_default();
    describe(&mut parameter, own);
    parameter["required"] = (behavior(field) == Behavior::Required).into();
    parameter["schema"] = schema;
    parameter
}

/// The field by which a client chooses the id of what it makes.
struct NewId {
    json_name: String,
    text: String,
}

impl NewId {
    fn of(route: &Route, method: &MethodDescriptor) -> Option<Self> {
        let Some(Segment::Literal(collection)) = route.template.segments().last() else { return None };
        let resource = singular(collection);
        let field = method.input().get_field_by_name(&format!("{resource}_id"))?;
        let text =
            format!("Id of the new {}: lower-case letters, digits and hyphens.", resource.replace('_', " "));
        method.name().starts_with("Create").then(|| Self { json_name: field.json_name().to_owned(), text })
    }
}

fn request_body(
    schemas: &mut Schemas,
    route: &Route,
    method: &MethodDescriptor,
    target: &BodyTarget,
    new_id: Option<&NewId>,
) -> Option<Value> {
    let (mut schema, is_required) = match target {
        BodyTarget::None => return None,
        BodyTarget::Field(field) => {
            let Kind::Message(inner) = field.kind() else { return None };
            // A change without a body changes nothing.
            (schemas.message(&inner, Direction::Request), route.verb != http::Method::PATCH)
        }
        BodyTarget::Message => {
            let in_path =
                |field: &FieldDescriptor| route.template.field_paths().any(|path| *path == [field.name()]);
            let fields: Vec<FieldDescriptor> =
                method.input().fields().filter(|field| !in_path(field)).collect();
            let mut schema = schemas.object(&fields, Direction::Request, true);
            let required = schema.get("required").and_then(Value::as_array);
            let must_be_given =
                |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
            // Where none need be given, an empty one is none.
            let pattern =
                new_id.map(|id| if must_be_given(&id.json_name) { ID_PATTERN } else { NEW_ID_PATTERN });
            if let (Some(new_id), Some(pattern)) = (new_id, pattern)
                && let Some(field) = schema["properties"].get_mut(&new_id.json_name)
            {
                field["pattern"] = pattern.into();
                describe(field, &new_id.text);
            }
            let is_required = schema.get("required").is_some();
            let name = format!("{}{}Body", method.parent_service().name(), method.name());
            schemas.add(&name, schema);
            (super::schema::reference(&name), is_required)
        }
    };
    if route.verb == http::Method::PATCH
        && let Some(schema) = schema.as_object_mut()
    {
        // What is left out stays as it is.
        schema.remove("required");
    }
    Some(json!({ "content": { "application/json": { "schema": schema } }, "required": is_required }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_their_parameters() {
        let check = |template: &str, expect: &str, names: &[&str]| {
            let (path, parameters) = path(&Template::parse(template).unwrap());
            assert_eq!(path, expect);
            let found: Vec<&str> = parameters.iter().filter_map(|one| one["name"].as_str()).collect();
            assert_eq!(found, names, "{template}");
        };
        check("/v1/accounts", "/v1/accounts", &[]);
        check(
            "/v1/{job.name=accounts/*/supervisedFineTuningJobs/*}:cancel",
            "/v1/accounts/{account_id}/supervisedFineTuningJobs/{supervised_fine_tuning_job_id}:cancel",
            &["account_id", "supervised_fine_tuning_job_id"],
        );
        check("/v1/{name=a/*/policies/**}", "/v1/a/{a_id}/policies/{path}", &["a_id", "path"]);
    }

    #[test]
    fn the_pattern_is_that_of_ids() {
        let pattern = regex::Regex::new(ID_PATTERN).unwrap();
        let of_new = regex::Regex::new(NEW_ID_PATTERN).unwrap();
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        let ids = ["a", "a1", "a-b", &longest, "", "A", "1a", "-a", "a-", "a_b", "ä", &too_long];
        for id in ids {
            assert_eq!(pattern.is_match(id), hearth_domain::JobId::new(id).is_ok(), "{id}");
            assert_eq!(of_new.is_match(id), id.is_empty() || pattern.is_match(id), "{id}");
        }
    }
}
