//! From a row of the input to a chat request.

use hearth_data::request::Request;
use hearth_domain::{BatchInferenceJob, BatchParameters};
use serde_json::{Map, Value, json};

use crate::openai::OpenAiError;

/// Fields of a request that belong to the job.
const OF_THE_JOB: [&str; 2] = ["model", "stream"];

/// The request of a row: what the job says, what the row says instead, and the job's model.
///
/// # Errors
/// For a row that names another model, or wants its answer streamed.
pub(super) fn body(job: &BatchInferenceJob, row: Request) -> Result<Map<String, Value>, OpenAiError> {
    let model = job.model.to_string();
    let mut body = of_parameters(&job.parameters)?;
    for (name, value) in row.body {
        let is_of_the_job = OF_THE_JOB.contains(&name.as_str());
        let says_the_same = value.is_null() || value == json!(model) || value == json!(false);
        if is_of_the_job && !says_the_same {
            let message = format!("{name} is the same for all rows of a batch job; leave it out");
            return Err(OpenAiError::invalid(name, message));
        }
        body.insert(name, value);
    }
    body.insert("model".to_owned(), json!(model));
    body.insert("stream".to_owned(), json!(false));
    Ok(body)
}

/// The fields that all requests of a job have.
///
/// # Errors
/// If `extraBody` is not a JSON object.
pub(crate) fn of_parameters(parameters: &BatchParameters) -> Result<Map<String, Value>, OpenAiError> {
    let extra = match parameters.extra_body.trim() {
        "" => Map::new(),
        text => match serde_json::from_str(text) {
            Ok(Value::Object(extra)) => extra,
            Ok(_) => return Err(OpenAiError::invalid("extraBody", "extraBody must be a JSON object")),
            Err(error) => {
                let message = format!("extraBody is not valid JSON: {error}");
                return Err(OpenAiError::invalid("extraBody", message));
            }
        },
    };
    let mut body = extra;
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("max_tokens", parameters.max_tokens.map(Value::from));
    set("temperature", parameters.temperature.map(Value::from));
    set("top_p", parameters.top_p.map(Value::from));
    set("n", parameters.n.map(Value::from));
    set("top_k", parameters.top_k.map(Value::from));
    Ok(body)
}
