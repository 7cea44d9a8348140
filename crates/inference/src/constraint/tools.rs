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
    let marker = |name: &str| match vocabulary.special(name) {
        Some(id) => format!("<[{id}]>"),
        None => literal(name),
    };
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
        ToolForm::Llama => "body".to_owned(),
        ToolForm::Unknown if many => format!("body ({} body)*", literal("\n")),
        ToolForm::Unknown => "body".to_owned(),
    };
    Ok(TopLevelGrammar::from_lark(format!("start: {start}\nbody: %json {body}\n")))
}

/// The schema of one call. It will stand at the pointer `at`.
fn call(tools: &[Tool], arguments: &str, at: &str) -> Result<Value, String> {
    let mut calls = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let at = format!("{at}/anyOf/{index}/properties/{arguments}");
        let parameters = schema::checked(&tool.parameters, &at).map_err(|message| {
            format!("has a function {:?} whose schema of parameters {message}", tool.name)
        })?;
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

/// A text in a grammar.
fn literal(text: &str) -> String {
    let mut out = "/".to_owned();
    for c in text.chars() {
        out.push_str(&format!("\\x{{{:x}}}", c as u32));
    }
    out.push('/');
    out
}
