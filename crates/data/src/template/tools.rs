//! Tools in templates: what a template is given of them, and how the model writes its calls.

use minijinja::value::Value;
use serde_json::{Map, Value as Json};

use crate::row::{Message, ToolCall};

/// How a model writes calls of tools. Told by the text of its chat template, which is neither compiled nor run for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolForm {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, once for each call: Hermes, Qwen 2.5 and 3, SmolLM3.
    Tags,
    /// `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`, once for each call: Qwen 3
    /// Coder. A value is a text, or the JSON of something else.
    Functions,
    /// The answer is `{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`: Llama 3.1 and later.
    Llama,
    /// `[TOOL_CALLS]` and a list of `{"name": …, "arguments": {…}}`: Mistral.
    Mistral,
    /// `[TOOL_CALLS]NAME[ARGS]{…}`, once for each call, perhaps with `[CALL_ID]` and an id before the arguments: Mistral
    /// since the end of 2024.
    MistralArgs,
    /// A form that is known by this mark, and not read: such models cannot be given tools.
    NotRead(&'static str),
    /// The template shows tools and does not say in which of these forms they are called: any is understood. Where
    /// a call must be made, the answer is `{"name": …, "arguments": {…}}`, or a list of such.
    Unknown,
}

impl ToolForm {
    /// The form of the template with this source; `None` if it shows no tools at all.
    pub fn of(source: &str) -> Option<Self> {
        if !mentions(source, "tools") {
            return None;
        }
        let has = |text: &str| source.contains(text);
        let not_read = || NOT_READ.into_iter().find(|mark| has(mark));
        Some(if has("[TOOL_CALLS]") {
            if has("[ARGS]") { Self::MistralArgs } else { Self::Mistral }
        } else if has("<function=") && has("<parameter=") && has("<tool_call>") {
            Self::Functions
        } else if let Some(mark) = not_read() {
            Self::NotRead(mark)
        } else if has("<tool_call>") {
            Self::Tags
        } else if has("\"parameters\": ") && has("tool_calls") {
            Self::Llama
        } else {
            Self::Unknown
        })
    }

    /// Texts that mark a call in this form. Some tokenizers have special tokens for them.
    pub fn markers(self) -> &'static [&'static str] {
        match self {
            Self::Tags | Self::Functions => &["<tool_call>", "</tool_call>"],
            Self::Llama => &["<|python_tag|>"],
            Self::Mistral => &["[TOOL_CALLS]"],
            Self::MistralArgs => &["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
            Self::NotRead(_) => &[],
            Self::Unknown => &["<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]"],
        }
    }

    /// Whether a model that calls in this form can be given tools.
    pub fn is_read(self) -> bool {
        !matches!(self, Self::NotRead(_))
    }
}

/// Marks of forms that are not read: Functionary's functions with JSON in them, GLM, Phi 4, DeepSeek, Firefunction.
const NOT_READ: [&str; 5] = ["<function=", "<arg_key>", "<|tool_call|>", "<｜tool▁sep｜>", "functools["];

/// Whether a template has this variable: a word in its tags, outside of comments and texts.
pub(super) fn mentions(source: &str, variable: &str) -> bool {
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        rest = &rest[start + 1..];
        let end = match rest.bytes().next() {
            Some(b'%') => "%}",
            Some(b'{') => "}}",
            Some(b'#') => {
                rest = rest.find("#}").map_or("", |end| &rest[end + 2..]);
                continue;
            }
            _ => continue,
        };
        rest = &rest[1..];
        let mut word = String::new();
        // The character before the word: what follows a point is a member.
        let (mut before, mut last) = (' ', ' ');
        loop {
            let Some(c) = rest.chars().next() else { return false };
            if c.is_alphanumeric() || c == '_' {
                if word.is_empty() {
                    before = last;
                }
                word.push(c);
            } else {
                if word == variable && before != '.' {
                    return true;
                }
                word.clear();
                if rest.starts_with(end) {
                    break;
                }
                if c == '"' || c == '\'' {
                    rest = after_text(&rest[1..], c);
                    last = c;
                    continue;
                }
            }
            last = c;
            rest = &rest[c.len_utf8()..];
        }
    }
    false
}

/// What follows a text in quotes whose first quote was taken.
fn after_text(rest: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        if c == quote && !escaped {
            return &rest[at + 1..];
        }
        escaped = c == '\\' && !escaped;
    }
    ""
}

/// A message as templates expect it: members that it has not are not there, and arguments are no text.
pub(super) fn message(message: &Message) -> Value {
    let mut members = vec![
        ("role", Value::from(message.role.as_str())),
        ("content", Value::from(message.content.as_str())),
    ];
    members.extend(message.reasoning_content.as_deref().map(|text| ("reasoning_content", Value::from(text))));
    if !message.tool_calls.is_empty() {
        members.push(("tool_calls", message.tool_calls.iter().map(tool_call).collect()));
    }
    for (name, text) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
        members.extend(text.as_deref().map(|text| (name, Value::from(text))));
    }
    Value::from_pairs(members)
}

fn tool_call(call: &ToolCall) -> Value {
    let function = Value::from_pairs([
        ("name", Value::from(call.name.as_str())),
        ("arguments", object(&call.arguments)),
    ]);
    let id = Some(("id", Value::from(call.id.as_str()))).filter(|_| !call.id.is_empty());
    let rest = [("type", Value::from("function")), ("function", function)];
    Value::from_pairs(id.into_iter().chain(rest))
}

/// JSON as a template's value. Members keep their order.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(whole)) => Value::from(whole),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(members) => object(members),
    }
}

fn object(members: &Map<String, Json>) -> Value {
    Value::from_pairs(members.iter().map(|(name, member)| (name.as_str(), value(member))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_word_in_a_tag() {
        let check = |source: &str, expect: bool| assert_eq!(mentions(source, "tools"), expect, "{source}");
        check("{% if tools %}", true);
        check("{%- if tools is not none -%}", true);
        check("{{tools}}", true);
        check("{{- tools | tojson(indent=4) }}", true);
        check("a { b {% for t in tools %}", true);
        check("{{ 'it\\'s' ~ tools }}", true);
        check("tools", false);
        check("tools {{ x }} tools", false);
        check("{# tools #}{{ x }}", false);
        check("{{ 'tools' }}{{ \"tools\" }}", false);
        check("{{ message.tools }}{{ xml_tools }}{{ tools_in_user_message }}", false);
        check("{{ '}}' ~ tools }}", true);
        check("{{ tools", false);
        check("{{ 'tools", false);
        check("{# tools", false);
    }

    #[test]
    fn the_form_is_in_the_text() {
        let check = |text: &str, expect: Option<ToolForm>| {
            assert_eq!(ToolForm::of(text), expect, "{text}");
        };
        check("{{ messages }} <tool_call>", None);
        check("{% if tools %}<tool_call>{% endif %}", Some(ToolForm::Tags));
        check("{% if tools %}<tool_call><function=f><parameter=a>{% endif %}", Some(ToolForm::Functions));
        check("{% if tools %}<function=f>{}</function>{% endif %}", Some(ToolForm::NotRead("<function=")));
        check("{% if tools %}<tool_call>f<arg_key>a{% endif %}", Some(ToolForm::NotRead("<arg_key>")));
        check("{% if tools %}{{ m.tool_calls }} \"parameters\": {% endif %}", Some(ToolForm::Llama));
        check("{% if tools %}[TOOL_CALLS]{% endif %}", Some(ToolForm::Mistral));
        check("{% if tools %}[TOOL_CALLS]f[ARGS]{% endif %}", Some(ToolForm::MistralArgs));
        check("{% if tools %}{% endif %}", Some(ToolForm::Unknown));
    }
}
