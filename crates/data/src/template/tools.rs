//! Tools in templates: what a template is given of them, and how the model writes its calls.

use minijinja::value::Value;
use serde_json::{Map, Value as Json, json};

use super::json;
use crate::row::{Message, Role, ToolCall};

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

/// How a template takes calls of tools. Most take arguments as an object and a content that is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallForm {
    /// Arguments are the text of their JSON: the template joins them with text of its own.
    arguments_as_text: bool,
    /// The content of a message that only calls tools is `None`: beside any other the template leaves out the calls.
    no_content: bool,
}

/// Most first. Older templates of DeepSeek are of the last form.
const CALL_FORMS: [CallForm; 4] = [
    CallForm { arguments_as_text: false, no_content: false },
    CallForm { arguments_as_text: true, no_content: false },
    CallForm { arguments_as_text: false, no_content: true },
    CallForm { arguments_as_text: true, no_content: true },
];

impl CallForm {
    /// The first form in which `render` shows a call with its arguments, the first of all if it never does. `render` is
    /// given a small conversation with a call and its answer, and a tool.
    pub(super) fn probe(render: impl Fn(&[Value], &Value) -> Option<String>) -> Self {
        let call = ToolCall {
            // Some templates want ids of nine letters and digits.
            id: "abcdefghi".to_owned(),
            name: "probe_function".to_owned(),
            arguments: Map::from_iter([("probe_argument".to_owned(), Json::from(1))]),
        };
        let answer = Message { tool_call_id: Some(call.id.clone()), ..Message::new(Role::Tool, "b") };
        let calling = Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") };
        let messages = [Message::new(Role::User, "a"), calling, answer, Message::new(Role::Assistant, "c")];
        let tools = value(&json!([{"type": "function", "function": {
            "name": "probe_tool", "description": "d", "parameters": {"type": "object", "properties": {"p": {"type": "integer"}}},
        }}]));
        let shows_call = |form: &CallForm| {
            let messages: Vec<Value> = messages.iter().map(|message| form.message(message)).collect();
            render(&messages, &tools)
                .is_some_and(|text| text.contains("probe_function") && text.contains("probe_argument"))
        };
        CALL_FORMS.into_iter().find(shows_call).unwrap_or_default()
    }

    /// A message as templates expect it: members that it has not are not there.
    pub(super) fn message(self, message: &Message) -> Value {
        let reasoning = message.reasoning_content.as_deref().map(Value::from);
        // transformers gives the reasoning under an older name too, which comes first.
        let mut members: Vec<_> = reasoning.clone().map(|text| ("thinking", text)).into_iter().collect();
        let calls_only = message.content.is_empty() && !message.tool_calls.is_empty();
        let content = if self.no_content && calls_only {
            Value::from(())
        } else {
            Value::from(message.content.as_str())
        };
        members.extend([("role", Value::from(message.role.as_str())), ("content", content)]);
        members.extend(reasoning.map(|text| ("reasoning_content", text)));
        if !message.tool_calls.is_empty() {
            members
                .push(("tool_calls", message.tool_calls.iter().map(|call| self.tool_call(call)).collect()));
        }
        for (name, text) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
            members.extend(text.as_deref().map(|text| (name, Value::from(text))));
        }
        Value::from_pairs(members)
    }

    fn tool_call(self, call: &ToolCall) -> Value {
        let arguments = object(&call.arguments);
        let arguments = match self.arguments_as_text {
            true => json::dumps(&arguments, &json::Style::default())
                .map_or_else(|_| arguments.clone(), Value::from),
            false => arguments,
        };
        let function =
            Value::from_pairs([("name", Value::from(call.name.as_str())), ("arguments", arguments)]);
        let id = Some(("id", Value::from(call.id.as_str()))).filter(|_| !call.id.is_empty());
        let rest = [("type", Value::from("function")), ("function", function)];
        Value::from_pairs(id.into_iter().chain(rest))
    }
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
