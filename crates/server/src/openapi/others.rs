//! Operations that no RPC describes, written by hand: chat, files, and what is asked about the server itself.

use serde_json::{Map, Value, json};

use super::operation::{ID_PATTERN, Operation};
use super::replies::{gateway_error, json_content, ok, openai_error, reply, with_limits};
use super::schema::{Schemas, reference};

/// Where the inference paths are served; the first is the one to use.
const INFERENCE_PREFIXES: [&str; 2] = ["/v1", "/inference/v1"];

/// All of them.
pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let mut all = inference(schemas);
    all.push(upload(schemas));
    all.push(event_stream());
    all.extend(signed());
    all.extend(about_the_server());
    all
}

fn operation(verb: &str, path: &str, value: Value) -> Operation {
    Operation { path: path.to_owned(), verb: verb.to_owned(), value }
}

fn responses(ok: Value, error: fn(u16) -> Value, statuses: &[u16]) -> Value {
    let mut all = Map::new();
    all.insert("200".to_owned(), ok);
    all.extend(with_limits(statuses).into_iter().map(|status| (status.to_string(), error(status))));
    all.into()
}

fn path_parameter(name: &str, description: &str, pattern: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": description,
        "schema": { "type": "string", "pattern": pattern },
    })
}

fn account_parameter() -> Value {
    let mut parameter = path_parameter("account_id", "Id of the account.", ID_PATTERN);
    parameter["example"] = "default".into();
    parameter
}

/// Path, name of the schemas, operation id, summary, description.
const GENERATING: [(&str, &str, &str, &str, &str); 2] = [
    (
        "chat/completions",
        "ChatCompletion",
        "Inference_CreateChatCompletion",
        "Continues a conversation",
        "Continues a conversation with a base model or a tuned one.",
    ),
    (
        "completions",
        "Completion",
        "Inference_CreateCompletion",
        "Continues texts or tokens",
        "Continues texts or tokens as they are with a base model or a tuned one.",
    ),
];

fn inference(schemas: &mut Schemas) -> Vec<Operation> {
    super::chat::add_schemas(schemas);
    let mut all = Vec::new();
    for (index, prefix) in INFERENCE_PREFIXES.iter().enumerate() {
        let (suffix, under) = match index {
            0 => (String::new(), String::new()),
            _ => ((index + 1).to_string(), format!(" (under {prefix})")),
        };
        let errors = [400, 401, 403, 404, 413, 429, 500, 503];
        for (path, name, id, what, about) in GENERATING {
            let mut content = json_content(&reference(&format!("openai{name}")));
            content["text/event-stream"] = json!({ "schema": event(&format!("openai{name}Chunk")) });
            let answer = reply("The answer; with `stream`, as events.", Some(content), &[]);
            let request = reference(&format!("openai{name}Request"));
            all.push(operation(
                "post",
                &format!("{prefix}/{path}"),
                json!({
                    "tags": ["Inference"],
                    "summary": format!("{what}{under}"),
                    "description": format!(
                        "{about} A field that this server does not act on is refused by name, unless it holds its \
                         default."
                    ),
                    "operationId": format!("{id}{suffix}"),
                    "requestBody": { "content": json_content(&request), "required": true },
                    "responses": responses(answer, openai_error, &errors),
                }),
            ));
        }
        let models = ok("The models, bases first.", &reference("openaiModelList"));
        all.push(operation(
            "get",
            &format!("{prefix}/models"),
            json!({
                "tags": ["Inference"],
                "summary": format!("Lists the models that the key may use{under}"),
                "description": "Lists the bases that everybody may use and the models of the key's account.",
                "operationId": format!("Inference_ListModels{suffix}"),
                "responses": responses(models, openai_error, &[401, 403, 429, 500, 503]),
            }),
        ));
        let mut name = path_parameter("model", "Full name of the model.", ".+");
        name["example"] = "accounts/fireworks/models/smollm2-135m-instruct".into();
        all.push(operation(
            "get",
            &format!("{prefix}/models/{{model}}"),
            json!({
                "tags": ["Inference"],
                "summary": format!("Reads a model that the key may use{under}"),
                "description": "Reads a model by any of the names that requests may give.",
                "operationId": format!("Inference_GetModel{suffix}"),
                "parameters": [name],
                "responses": responses(
                    ok("The model.", &reference("openaiModel")),
                    openai_error,
                    &[401, 403, 404, 429, 500, 503],
                ),
            }),
        ));
    }
    all
}

/// One event of a stream. Documents of OpenAPI 3.1 describe no more of it than this.
fn event(chunk: &str) -> Value {
    let data = json!({ "anyOf": [reference(chunk), reference("openaiError")] });
    json!({
        "type": "object",
        "description": "One event.",
        "properties": {
            "data": {
                "description": "A part of the answer as JSON, an error that broke it off, or the end.",
                "anyOf": [
                    { "type": "string", "contentMediaType": "application/json", "contentSchema": data },
                    { "const": "[DONE]" },
                ],
            },
        },
        "required": ["data"],
    })
}

/// The events of a job as they happen.
fn event_stream() -> Operation {
    let stream = json!({ "text/event-stream": { "schema": {
        "type": "object",
        "description": "One event.",
        "properties": {
            "id": { "type": "string", "description": "Sequence number; not of `progress` events." },
            "event": { "type": "string", "description": "The type in lower case, or `progress`." },
            "data": {
                "description": "The event as the list shows it, as JSON; of `progress`, how far the job is.",
                "type": "string",
                "contentMediaType": "application/json",
            },
        },
        "required": ["event", "data"],
    } } });
    let mut all = responses(
        reply(
            "The events, from the first one or behind the last one that the client got.",
            Some(stream),
            &[],
        ),
        gateway_error,
        &[400, 401, 403, 404, 429, 500, 503],
    );
    all["204"] = reply("The job is at its end, and the client has all of its events.", None, &[]);
    operation(
        "get",
        "/v1/accounts/{account_id}/supervisedFineTuningJobs/{supervised_fine_tuning_job_id}/events:stream",
        json!({
            "tags": ["Gateway"],
            "summary": "Follows a job",
            "description": "Sends the events of a job as they happen, as server-sent events, and ends with the job.",
            "operationId": "Gateway_StreamSupervisedFineTuningJobEvents",
            "parameters": [
                account_parameter(),
                path_parameter("supervised_fine_tuning_job_id", "Id of the job.", ID_PATTERN),
                {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "description": "Sequence number of the last event that the client got.",
                    "schema": { "type": "string", "pattern": "^[0-9]{1,19}$" },
                },
            ],
            "responses": all,
        }),
    )
}

fn upload(schemas: &mut Schemas) -> Operation {
    schemas.add(
        "UploadedFile",
        json!({
            "type": "object",
            "description": "A file that was stored and checked.",
            "properties": {
                "id": { "type": "string", "description": "Id of the dataset." },
                "bytes": { "type": "integer", "format": "int64" },
                "created_at": { "type": "integer", "format": "int64", "description": "Seconds since 1970." },
                "filename": { "type": "string" },
                "object": { "const": "file" },
                "purpose": { "const": "fine-tune" },
            },
            "required": ["id", "bytes", "created_at", "filename", "object", "purpose"],
        }),
    );
    operation(
        "post",
        "/v1/accounts/{account_id}/datasets/{dataset_id}:upload",
        json!({
            "tags": ["Gateway"],
            "summary": "Uploads the one file of a dataset",
            "description": "Uploads the one file of a dataset, of 150 MiB at most, and checks its rows. The dataset \
                is READY when this returns; of a file with a bad row nothing is kept.",
            "operationId": "Gateway_UploadDatasetFile",
            "parameters": [
                account_parameter(),
                path_parameter("dataset_id", "Id of the dataset.", ID_PATTERN),
            ],
            "requestBody": {
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "file": {
                                    "type": "string",
                                    "contentMediaType": "application/octet-stream",
                                    "description": "One JSON object a line.",
                                },
                            },
                            "required": ["file"],
                        },
                    },
                },
                "required": true,
            },
            "responses": responses(
                ok("Stored and checked.", &reference("UploadedFile")),
                gateway_error,
                &[400, 401, 403, 404, 409, 413, 429, 500, 503, 504],
            ),
        }),
    )
}

/// Kind in the path, the id there, verb, operation id, summary.
const SIGNED: &[(&str, &str, &str, &str, &str)] = &[
    ("datasets", "dataset_id", "get", "Files_GetDatasetFile", "Reads a file of a dataset"),
    ("datasets", "dataset_id", "put", "Files_PutDatasetFile", "Stores a file of a dataset"),
    ("models", "model_id", "get", "Files_GetModelFile", "Reads a file of a model"),
    ("models", "model_id", "put", "Files_PutModelFile", "Stores a file of a model, or a piece of one"),
    (
        "models",
        "model_id",
        "post",
        "Files_BeginModelFile",
        "Begins the resumable upload of a file of a model",
    ),
    ("models", "model_id", "delete", "Files_DeleteModelUpload", "Gives a resumable upload up"),
    ("runs", "supervised_fine_tuning_job_id", "get", "Files_GetRunFile", "Reads metrics or log of a job"),
];

fn signed() -> Vec<Operation> {
    let one = |(kind, id, verb, operation_id, summary): &(&str, &str, &str, &str, &str)| {
        let query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "required": true, "description": description, "schema": schema });
        let mut value = json!({
            "tags": ["Files"],
            "summary": summary,
            "description": format!(
                "{summary}. The URL comes whole from the gateway, is good for an hour and needs no key."
            ),
            "operationId": operation_id,
            "security": [],
            "parameters": [
                account_parameter(),
                path_parameter(id, "Id of the resource.", ID_PATTERN),
                path_parameter("filename", "Name of the file.", if *kind == "models" { "^[^/]+(/[^/]+)?$" } else { "^[^/]+$" }),
                query("expires", "Milliseconds since 1970.", json!({ "type": "integer", "format": "int64" })),
                query("signature", "What the server signed.", json!({ "type": "string" })),
            ],
        });
        let binary = json!({ "application/octet-stream": { "schema": {} } });
        let errors = [400, 403, 404, 429, 500, 503];
        match *verb {
            "put" => {
                value["requestBody"] = json!({ "content": binary, "required": true });
                value["responses"] = responses(
                    reply("Stored.", None, &[]),
                    gateway_error,
                    &[400, 403, 404, 413, 429, 500, 503],
                );
                if *kind == "models" {
                    let more = "More bytes are to come; `range` says which are there.";
                    value["responses"]["308"] = reply(more, None, &["range"]);
                }
            }
            "post" | "delete" => {
                let (status, done) = match *verb {
                    "post" => ("201", reply("Begun: pieces are PUT to `location`.", None, &["location"])),
                    _ => ("204", reply("What came of the file is removed.", None, &[])),
                };
                let mut all = responses(Value::Null, gateway_error, &errors);
                all.as_object_mut().expect("responses are an object").remove("200");
                all[status] = done;
                value["responses"] = all;
            }
            _ => {
                let ok = reply("The bytes of the file.", Some(binary), &[]);
                value["responses"] = responses(ok, gateway_error, &errors);
            }
        }
        operation(verb, &format!("/signed/{kind}/{{account_id}}/{{{id}}}/{{filename}}"), value)
    };
    SIGNED.iter().map(one).collect()
}

fn about_the_server() -> Vec<Operation> {
    let verify = reply("The key is valid.", None, &["x-fireworks-account-id", "x-fireworks-developer-email"]);
    vec![
        operation(
            "get",
            "/verifyApiKey",
            json!({
                "tags": ["Server"],
                "summary": "Says whose key this is",
                "description": "Says in two headers whose key this is.",
                "operationId": "Server_VerifyApiKey",
                "responses": responses(verify, gateway_error, &[401, 429, 500, 503]),
            }),
        ),
        operation(
            "get",
            "/healthz",
            json!({
                "tags": ["Server"],
                "summary": "Says that the process lives",
                "description": "Says that the process lives, whatever else is wrong.",
                "operationId": "Server_GetHealth",
                "security": [],
                "responses": responses(ok("It lives.", &json!({ "type": "object" })), gateway_error, &[500]),
            }),
        ),
        operation(
            "get",
            "/readyz",
            json!({
                "tags": ["Server"],
                "summary": "Says whether requests are answered",
                "description": "Says whether requests are answered: the database and the files answer, and the server is \
                    not shutting down.",
                "operationId": "Server_GetReadiness",
                "security": [],
                "responses": responses(ok("They are.", &json!({ "type": "object" })), gateway_error, &[500, 503]),
            }),
        ),
        operation(
            "get",
            "/metrics",
            json!({
                "tags": ["Server"],
                "summary": "What the server counts",
                "description": "What the server counts, in Prometheus' text form. Without a key from the server's own \
                    machine only, else with the operator's.",
                "operationId": "Server_GetMetrics",
                "security": [{}, { "BearerAuth": [] }, { "ApiKeyAuth": [] }],
                "responses": responses(
                    reply("The numbers.", Some(json!({ "text/plain": { "schema": { "type": "string" } } })), &[]),
                    gateway_error,
                    &[401, 403, 429, 500, 503],
                ),
            }),
        ),
        operation(
            "get",
            "/openapi.json",
            json!({
                "tags": ["Server"],
                "summary": "This document",
                "description": "This document, made of the same descriptors as the server's routes.",
                "operationId": "Server_GetOpenApi",
                "security": [],
                "responses": responses(ok("The document.", &json!({ "type": "object" })), gateway_error, &[500]),
            }),
        ),
        operation(
            "get",
            "/docs",
            json!({
                "tags": ["Server"],
                "summary": "This document as a page",
                "description": "This document as a page that loads nothing else.",
                "operationId": "Server_GetDocs",
                "security": [],
                "responses": responses(
                    reply("The page.", Some(json!({ "text/html": { "schema": { "type": "string" } } })), &[]),
                    gateway_error,
                    &[500],
                ),
            }),
        ),
    ]
}
