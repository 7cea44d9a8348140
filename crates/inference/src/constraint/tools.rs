//! Calls of tools as an answer's form.

use hearth_data::ToolForm;
use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

use super::{Vocabulary, schema};

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Schema of its arguments.
    pub parameters: Value,
}

/// The grammar of an answer that calls tools.
///
/// # Errors
/// What is not supported in the schema of a tool's arguments.
pub(super) fn grammar(
    form: ToolForm,
    tools: &[Tool],
    parallel: bool,
    vocabulary: &Vocabulary,
) -> Result<TopLevelGrammar, String> {
    if tools.is_empty() {
        return Err("must not be empty".to_owned());
    }
    match form {
        ToolForm::MistralArgs => return with_arguments_apart(tools, parallel, vocabulary),
        ToolForm::Functions => {
            return Err("cannot be required of this model, which writes its calls as <function=NAME>: set \
                        tool_choice to \"auto\""
                .to_owned());
        }
        ToolForm::NotRead(_) => return Err("need a chat template whose calls are read".to_owned()),
        ToolForm::Tags | ToolForm::Llama | ToolForm::Mistral | ToolForm::Unknown => {}
    }
    let arguments = if form == ToolForm::Llama { "parameters" } else { "arguments" };
    let many = parallel && form != ToolForm::Llama;
    // Mistral's calls are a list, also when there is one.
    let is_list = form == ToolForm::Mistral;
    let call = call(tools, arguments, if is_list { "/items" } else { "" })?;
    let body = match (is_list, many) {
        (false, _) => call,
        (true, true) => json!({"type": "array", "minItems": 1, "items": call}),
        (true, false) => json!({"type": "array", "minItems": 1, "maxItems": 1, "items": call}),
    };
    let body = schema::with_options(body);
    let marker = |name: &str| marker(name, vocabulary);
    let start = match form {
        ToolForm::Tags => {
            let call = format!(
                "{} {} body {} {}",
                marker("<tool_call>"),
                literal("\n"),
                literal("\n"),
                marker("</tool_call>")
            );
            if many { format!("call ({} call)*\ncall: {call}", literal("\n")) } else { call }
        }
        ToolForm::Mistral => format!("{} {}? body", marker("[TOOL_CALLS]"), literal(" ")),
        _ if many => format!("body ({} body)*", literal("\n")),
        _ => "body".to_owned(),
    };
    Ok(TopLevelGrammar::from_lark(format!("start: {start}\nbody: %json {body}\n")))
}

/// The schema of one call. It will stand at the pointer `at`.
fn call(tools: &[Tool], arguments: &str, at: &str) -> Result<Value, String> {
    let mut calls = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let parameters = parameters(tool, &format!("{at}/anyOf/{index}/properties/{arguments}"))?;
        let name = json!({"const": tool.name});
        calls.push(json!({
            "type": "object",
            "properties": {"name": name, arguments: parameters},
            "required": ["name", arguments],
            "additionalProperties": false,
        }));
    }
    Ok(json!({"anyOf": calls}))
}

/// The schema of a tool's arguments. It will stand at the pointer `at`.
fn parameters(tool: &Tool, at: &str) -> Result<Value, String> {
    schema::checked(&tool.parameters, at)
        .map_err(|message| format!("has a function {:?} whose schema of parameters {message}", tool.name))
}

/// Calls that are a marker, a name, and arguments behind another marker.
fn with_arguments_apart(
    tools: &[Tool],
    parallel: bool,
    vocabulary: &Vocabulary,
) -> Result<TopLevelGrammar, String> {
    let (mut calls, mut rules) = (Vec::with_capacity(tools.len()), String::new());
    for (index, tool) in tools.iter().enumerate() {
        let parameters = schema::with_options(parameters(tool, "")?);
        calls.push(format!("{} {} arguments{index}", literal(&tool.name), marker("[ARGS]", vocabulary)));
        rules.push_str(&format!("arguments{index}: %json {parameters}\n"));
    }
    let (open, calls) = (marker("[TOOL_CALLS]", vocabulary), calls.join(" | "));
    let start = if parallel { "call+" } else { "call" };
    Ok(TopLevelGrammar::from_lark(format!("start: {start}\ncall: {open} ({calls})\n{rules}")))
}

/// A mark of calls: a special token, if the tokenizer has one for it.
fn marker(name: &str, vocabulary: &Vocabulary) -> String {
    vocabulary.special(name).map_or_else(|| literal(name), |id| format!("<[{id}]>"))
}

/// A text in a grammar.
fn literal(text: &str) -> String {
    let mut out = "/".to_owned();
    for c in text.chars() {
        out.push_str(&format!("\\x{{{:x}}}", c as u32));
    }
    out.push('/');
    out
}
