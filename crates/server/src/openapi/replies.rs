//! Replies that many operations share: errors in the gateway's form and in OpenAI's.

use serde_json::{Map, Value, json};

use super::schema::{Schemas, reference};

/// Component of an error of the gateway.
const GATEWAY_ERROR: &str = "rpcStatus";
/// Component of an error of the inference paths.
const OPENAI_ERROR: &str = "openaiError";

/// Every error status, what it means, and the headers that only it has.
const ERRORS: &[(u16, &str, &[&str])] = &[
    (
        400,
        "INVALID_ARGUMENT or FAILED_PRECONDITION: the request, or the state of what it names, is wrong.",
        &[],
    ),
    (401, "UNAUTHENTICATED: no key, or one that is not valid (any more).", &["www-authenticate"]),
    (403, "PERMISSION_DENIED: the key does not open this.", &[]),
    (404, "NOT_FOUND: there is no such resource.", &[]),
    (408, "DEADLINE_EXCEEDED: the body did not come.", &[]),
    (
        409,
        "ALREADY_EXISTS or ABORTED: the id is taken, or another call changed the resource.",
        &["x-should-retry"],
    ),
    (413, "INVALID_ARGUMENT: the body is larger than this call takes.", &[]),
    (414, "INVALID_ARGUMENT: the URL is too long.", &[]),
    (429, "RESOURCE_EXHAUSTED: a limit is reached; try again later.", &["retry-after"]),
    (431, "INVALID_ARGUMENT: the header fields are too large.", &[]),
    (500, "INTERNAL: a defect; the server's log has the cause under the request's id.", &[]),
    (501, "UNIMPLEMENTED: this server does not do what a field asks for.", &["x-should-retry"]),
    (503, "UNAVAILABLE: not now; try again in a moment.", &[]),
    (504, "DEADLINE_EXCEEDED: it took too long.", &[]),
];

/// `statuses` with those that every request can get before it is looked at.
pub(super) fn with_limits(statuses: &[u16]) -> Vec<u16> {
    let mut all = statuses.to_vec();
    all.extend([414, 431]);
    if statuses.contains(&413) {
        // What has a body that can be too large has one that can fail to come.
        all.push(408);
    }
    all.sort_unstable();
    all
}

/// Headers of replies.
fn header(name: &str) -> Value {
    let text = match name {
        "x-request-id" => "Names this request in the server's log.",
        "x-should-retry" => "`false` where repeating the call cannot help.",
        "retry-after" => "Seconds after which the call may be repeated.",
        "www-authenticate" => "`Bearer`.",
        "x-fireworks-account-id" => "Account of the key.",
        "x-fireworks-developer-email" => "Address of the key's owner; may be empty.",
        "location" => "Where to go on.",
        "range" => "Which bytes are there.",
        other => panic!("header {other} has no text"),
    };
    json!({ "description": text, "schema": { "type": "string" } })
}

/// A reply with `x-request-id` and other headers.
pub(super) fn reply(description: &str, content: Option<Value>, headers: &[&str]) -> Value {
    let named = std::iter::once(&"x-request-id").chain(headers);
    let headers: Map<String, Value> = named
        .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect();
    let mut reply = json!({ "description": description, "headers": headers });
    if let Some(content) = content {
        reply["content"] = content;
    }
    reply
}

/// JSON of a schema.
pub(super) fn json_content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// 200 with JSON.
pub(super) fn ok(description: &str, schema: &Value) -> Value {
    reply(description, Some(json_content(schema)), &[])
}

/// An error in the gateway's form.
pub(super) fn gateway_error(status: u16) -> Value {
    json!({ "$ref": format!("#/components/responses/Error{status}") })
}

/// An error in OpenAI's form.
pub(super) fn openai_error(status: u16) -> Value {
    json!({ "$ref": format!("#/components/responses/OpenAiError{status}") })
}

/// `components.responses`.
pub(super) fn responses() -> Value {
    let mut all = Map::new();
    for (status, text, headers) in ERRORS {
        let error =
            |schema: &str, headers: &[&str]| reply(text, Some(json_content(&reference(schema))), headers);
        all.insert(format!("Error{status}"), error(GATEWAY_ERROR, headers));
        all.insert(format!("OpenAiError{status}"), error(OPENAI_ERROR, &[]));
    }
    all.into()
}

/// `components.headers`.
pub(super) fn headers() -> Value {
    let names = [
        "x-request-id",
        "x-should-retry",
        "retry-after",
        "www-authenticate",
        "x-fireworks-account-id",
        "x-fireworks-developer-email",
        "location",
        "range",
    ];
    names.iter().map(|name| ((*name).to_owned(), header(name))).collect::<Map<_, _>>().into()
}

/// The schemas of errors.
pub(super) fn add_schemas(schemas: &mut Schemas) {
    schemas.add(
        GATEWAY_ERROR,
        json!({
            "type": "object",
            "description": "What went wrong.",
            "properties": {
                "code": { "type": "integer", "format": "int32", "description": "Number of a google.rpc.Code." },
                "message": { "type": "string", "description": "What is wrong, where, and what to do." },
                "details": {
                    "type": "array",
                    "description": "A google.rpc.BadRequest with `fieldViolations` where single fields or rows are at fault.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "@type": { "type": "string" },
                            "fieldViolations": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "field": { "type": "string", "description": "Path of the field, or `file:line` of a row." },
                                        "description": { "type": "string" },
                                    },
                                    "required": ["field", "description"],
                                },
                            },
                        },
                        "required": ["@type"],
                    },
                },
            },
            "required": ["code", "message", "details"],
        }),
    );
    let nullable = json!({ "type": ["string", "null"] });
    schemas.add(
        OPENAI_ERROR,
        json!({
            "type": "object",
            "description": "What went wrong, in the form that OpenAI's clients read.",
            "properties": {
                "error": {
                    "type": "object",
                    "properties": {
                        "object": { "const": "error" },
                        "type": { "type": "string", "description": "Class of the error." },
                        "message": { "type": "string" },
                        "param": nullable,
                        "code": nullable,
                        "request_id": nullable,
                    },
                    "required": ["object", "type", "message", "param", "code", "request_id"],
                },
            },
            "required": ["error"],
        }),
    );
}
