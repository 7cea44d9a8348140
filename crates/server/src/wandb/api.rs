//! The protocol of Weights & Biases: GraphQL calls that look for a run and make it, and the file stream that its rows go
//! into.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::limits::{WANDB_MESSAGE_MAX_CHARS, WANDB_TIMEOUT};
use crate::outgoing::{Answer, Outgoing, Reach};

/// What a part of a path keeps.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Host of the public service's API; its pages are elsewhere.
const PUBLIC_API: &str = "https://api.wandb.ai";
/// Where these are.
const PUBLIC_PAGES: &str = "https://wandb.ai";

/// Asks whether there is a run, as the official client does before it goes on with one.
const RUN_RESUME_STATUS: &str = "query RunResumeStatus($project: String, $entity: String, $name: String!) { \
    model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { historyLineCount } } }";

/// Makes a run, or finds it, and sets what is known of it.
const UPSERT_BUCKET: &str = "mutation UpsertBucket($name: String, $project: String, $entity: String, \
    $displayName: String, $config: JSONString, $host: String, $jobType: String, $state: String) { \
    upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName, \
    config: $config, host: $host, jobType: $jobType, state: $state}) { \
    bucket { id name displayName project { name entity { name } } } } }";

/// Why something was not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It never will be.
    Final(String),
    /// The service does not know the key.
    WrongKey(String),
    /// The service does not want it, or what stands before the service: names may be wrong, and it may pass.
    Refused(String),
    /// It does not answer, or not now.
    Away(String),
}

/// The run, as the service names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) entity: String,
    pub(super) project: String,
    pub(super) run: String,
}

/// What is sent of a run at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    /// Rows of the history with the number of the first.
    pub(super) history: Option<(u64, Vec<String>)>,
    /// Rows of the system's figures with the number of the first.
    pub(super) figures: Option<(u64, Vec<String>)>,
    /// The newest of each metric.
    pub(super) summary: Option<String>,
    /// The last chunk, with the exit code.
    pub(super) exit_code: Option<i32>,
}

/// Speaks to one service.
#[derive(Clone, Debug)]
pub(super) struct Api {
    outgoing: Outgoing,
    base_url: String,
}

impl Api {
    /// `base_url` is the operator's word, without a slash at its end.
    pub(super) fn new(base_url: &str) -> Self {
        let outgoing = Outgoing::new(Reach::Everywhere, WANDB_TIMEOUT);
        Self { outgoing, base_url: base_url.trim_end_matches('/').to_owned() }
    }

    /// The page of a run.
    pub(super) fn page(&self, place: &Place) -> String {
        let base = if self.base_url == PUBLIC_API { PUBLIC_PAGES } else { &self.base_url };
        let Place { entity, project, run } = place;
        let part = |text| utf8_percent_encode(text, IN_PATH);
        format!("{base}/{}/{}/runs/{}", part(entity), part(project), part(run))
    }

    /// Rows that the history of a run has already; 0 if there is no such run.
    pub(super) async fn rows(&self, key: &SecretString, wanted: &Place) -> Result<u64, Trouble> {
        let entity = (!wanted.entity.is_empty()).then_some(&wanted.entity);
        let variables = json!({ "project": wanted.project, "entity": entity, "name": wanted.run });
        let data = self.ask(key, "RunResumeStatus", RUN_RESUME_STATUS, &variables).await?;
        Ok(data["model"]["bucket"]["historyLineCount"].as_u64().unwrap_or(0))
    }

    /// Makes the run, or finds it. `config` holds the job's settings.
    pub(super) async fn begin(
        &self,
        key: &SecretString,
        wanted: &Place,
        display_name: &str,
        config: &Value,
    ) -> Result<Place, Trouble> {
        let entity = (!wanted.entity.is_empty()).then_some(&wanted.entity);
        let variables = json!({
            "name": wanted.run,
            "project": wanted.project,
            "entity": entity,
            "displayName": display_name,
            "config": config.to_string(),
            "host": null,
            "jobType": "supervised-fine-tuning",
            "state": null,
        });
        let data = self.ask(key, "UpsertBucket", UPSERT_BUCKET, &variables).await?;
        let bucket = &data["upsertBucket"]["bucket"];
        let text = |value: &Value, otherwise: &str| value.as_str().unwrap_or(otherwise).to_owned();
        if !bucket.is_object() {
            return Err(Trouble::Away("its answer names no run".to_owned()));
        }
        Ok(Place {
            entity: text(&bucket["project"]["entity"]["name"], &wanted.entity),
            project: text(&bucket["project"]["name"], &wanted.project),
            run: text(&bucket["name"], &wanted.run),
        })
    }

    /// Sends a piece of the run; an empty one only says that the run lives.
    pub(super) async fn send(&self, key: &SecretString, place: &Place, chunk: &Chunk) -> Result<(), Trouble> {
        let Place { entity, project, run } = place;
        let part = |text| utf8_percent_encode(text, IN_PATH);
        let path = format!("/files/{}/{}/{}/file_stream", part(entity), part(project), part(run));
        self.post(key, &path, &body(chunk)).await.map(drop)
    }

    /// A GraphQL call. Returns its data.
    async fn ask(
        &self,
        key: &SecretString,
        name: &str,
        query: &str,
        variables: &Value,
    ) -> Result<Value, Trouble> {
        let body = json!({ "query": query, "operationName": name, "variables": variables });
        let answer = self.post(key, "/graphql", &body).await?;
        let mut reply: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| Trouble::Away("it answered with something that is not JSON".to_owned()))?;
        if let Some(message) = reply["errors"][0]["message"].as_str() {
            return Err(Trouble::Refused(shown(message, key)));
        }
        Ok(reply["data"].take())
    }

    async fn post(&self, key: &SecretString, path: &str, body: &Value) -> Result<Answer, Trouble> {
        let basic = STANDARD.encode(format!("api:{}", key.expose_secret()));
        let request = http::Request::post(format!("{}{path}", self.base_url))
            .header(header::AUTHORIZATION, format!("Basic {basic}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("hearth/", env!("CARGO_PKG_VERSION")))
            .body(body.to_string().into_bytes())
            .map_err(|_| Trouble::Final("the key cannot be sent in a header".to_owned()))?;
        let answer = self.outgoing.send(request).await;
        let answer = answer.map_err(|message| Trouble::Away(shown(&message, key)))?;
        match answer.status {
            200..=299 => Ok(answer),
            401 => Err(Trouble::WrongKey(format!("it refuses the key (HTTP 401): {}", said(&answer, key)))),
            status @ (408 | 429 | 500..) => Err(Trouble::Away(format!("it answered with HTTP {status}"))),
            status => Err(Trouble::Refused(format!("HTTP {status}: {}", said(&answer, key)))),
        }
    }
}

/// The form of a piece in the file stream.
fn body(chunk: &Chunk) -> Value {
    let mut files = Map::new();
    let rows = |(first, rows): &(u64, Vec<String>)| json!({ "offset": first, "content": rows });
    if let Some(figures) = &chunk.figures {
        files.insert("wandb-events.jsonl".to_owned(), rows(figures));
    }
    if let Some(history) = &chunk.history {
        files.insert("wandb-history.jsonl".to_owned(), rows(history));
    }
    if let Some(summary) = &chunk.summary {
        files.insert("wandb-summary.json".to_owned(), json!({ "offset": 0, "content": [summary] }));
    }
    let mut body = Map::new();
    if !files.is_empty() {
        body.insert("files".to_owned(), files.into());
    }
    if let Some(code) = chunk.exit_code {
        body.insert("complete".to_owned(), true.into());
        body.insert("exitcode".to_owned(), code.into());
    }
    body.into()
}

/// What an answer says of itself.
fn said(answer: &Answer, key: &SecretString) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let message = serde_json::from_str::<Value>(&text).ok().and_then(|reply| {
        let said = [&reply["error"], &reply["errors"][0]["message"], &reply["message"]];
        said.into_iter().find_map(|value| value.as_str().map(str::to_owned))
    });
    shown(message.as_deref().unwrap_or(&text), key)
}

/// A stranger's words for a user: short, on one line, and never with the key.
fn shown(text: &str, key: &SecretString) -> String {
    let text = text.replace(key.expose_secret(), "[key]");
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().chars().take(WANDB_MESSAGE_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_runs() {
        let place = |project: &str| Place { entity: "t".into(), project: project.into(), run: "r".into() };
        let check = |base: &str, project: &str, expect: &str| {
            assert_eq!(Api::new(base).page(&place(project)), expect);
        };
        check("https://api.wandb.ai", "p", "https://wandb.ai/t/p/runs/r");
        check("http://w.example:8080/", "a b", "http://w.example:8080/t/a%20b/runs/r");
    }

    #[test]
    fn pieces_hold_what_there_is() {
        assert_eq!(body(&Chunk::default()), json!({}));
        let chunk = Chunk {
            history: Some((3, vec!["{}".to_owned()])),
            summary: Some("{}".to_owned()),
            exit_code: Some(1),
            ..Chunk::default()
        };
        let expect = json!({
            "files": {
                "wandb-history.jsonl": { "offset": 3, "content": ["{}"] },
                "wandb-summary.json": { "offset": 0, "content": ["{}"] },
            },
            "complete": true,
            "exitcode": 1,
        });
        assert_eq!(body(&chunk), expect);
    }

    #[test]
    fn what_the_service_says_is_short_and_without_the_key() {
        let key = SecretString::from("k3y");
        let answer = |body: &str| Answer { status: 400, body: body.as_bytes().to_vec() };
        assert_eq!(said(&answer(r#"{"error": "no\nk3y here"}"#), &key), "no [key] here");
        assert_eq!(said(&answer(&"x".repeat(9999)), &key).len(), WANDB_MESSAGE_MAX_CHARS);
    }
}
