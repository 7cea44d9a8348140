//! Finds calls of tools in an answer's text, however the text is cut into pieces.
//!
//! What is no call stays text: a call that is cut off or that is no JSON is given out as it was written.

mod functions;

use hearth_data::ToolForm;
use hearth_inference::Tool;
use serde_json::{Value, json};

/// Bytes of random ids; those of Mistral's templates must have nine characters.
const ID_BYTES: usize = 12;
const MISTRAL_ID_CHARS: usize = 9;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const LIST: &str = "[TOOL_CALLS]";
const CALL_ID: &str = "[CALL_ID]";
const ARGS: &str = "[ARGS]";
const PYTHON: &str = "<|python_tag|>";

/// A call that the model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Which of the answer's calls.
    pub(super) index: usize,
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text of an object.
    pub(super) arguments: String,
}

impl Call {
    /// As a member of a message's `tool_calls`.
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        })
    }

    /// As two changes of a streamed message: who is called, and with what.
    pub(super) fn deltas(&self) -> [Value; 2] {
        let mut first = self.json();
        first["index"] = self.index.into();
        first["function"]["arguments"] = "".into();
        [first, json!({"index": self.index, "function": {"arguments": self.arguments}})]
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
}

/// Looks for calls in one answer.
#[derive(Clone, Debug)]
pub(super) struct CallFinder {
    form: ToolForm,
    tools: Vec<Tool>,
    /// Most calls; further ones are left out.
    most: usize,
    found: usize,
    held: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space came.
    Start,
    Text,
    /// After [`OPEN`], which is held.
    Tag,
    /// All that comes is held until the end: JSON, perhaps after a marker.
    Rest {
        marked: bool,
    },
}

impl CallFinder {
    /// For a model that calls in this form, and is shown these tools.
    pub(super) fn new(form: ToolForm, tools: &[Tool], parallel: bool) -> Self {
        Self {
            form,
            tools: tools.to_vec(),
            most: if parallel { usize::MAX } else { 1 },
            found: 0,
            held: String::new(),
            state: State::Start,
        }
    }

    /// Whether there was a call.
    pub(super) fn found_any(&self) -> bool {
        self.found > 0
    }

    /// Adds a piece of the answer.
    pub(super) fn push(&mut self, piece: &str) -> Found {
        self.held.push_str(piece);
        let mut found = Found::default();
        while self.step(&mut found) {}
        found
    }

    /// The rest of the answer.
    pub(super) fn finish(&mut self) -> Found {
        let mut found = Found::default();
        let held = std::mem::take(&mut self.held);
        let calls = match self.state {
            State::Start | State::Text => None,
            // Some models leave the closing tag out when a call is the last thing they say.
            State::Tag if self.form == ToolForm::Functions => {
                match functions::read(&format!("{}{CLOSE}", &held[OPEN.len()..]), &self.tools) {
                    functions::Read::Call(call, rest) if rest.trim().is_empty() => Some(vec![call]),
                    _ => None,
                }
            }
            State::Tag => parse(&held[OPEN.len()..]),
            State::Rest { .. } if self.form == ToolForm::MistralArgs => parse_args(&held),
            State::Rest { marked } => {
                let json = [LIST, PYTHON].iter().fold(held.trim_start(), |text, marker| {
                    text.strip_prefix(marker).unwrap_or(text).trim_start()
                });
                // Without a mark it may be an answer in JSON that is no call.
                let is_tool = |name: &String| self.tools.iter().any(|tool| tool.name == *name);
                parse(json).filter(|calls| marked || calls.iter().all(|(name, _)| is_tool(name)))
            }
        };
        match calls {
            Some(calls) => self.add(&mut found, calls),
            None => self.text(&mut found, &held),
        }
        found
    }

    /// Goes on by what is held. False if that takes more text.
    fn step(&mut self, found: &mut Found) -> bool {
        match self.state {
            State::Start => {
                let begun = self.held.trim_start();
                let is_bare = match (self.form, begun.chars().next()) {
                    (_, None) => return false,
                    (ToolForm::Llama | ToolForm::Unknown, Some('{')) => true,
                    // A list, or the marker of one.
                    (ToolForm::Unknown, Some('[')) if LIST.starts_with(begun) => return false,
                    (ToolForm::Unknown, Some('[')) => !begun.starts_with(LIST),
                    _ => false,
                };
                self.state = if is_bare { State::Rest { marked: false } } else { State::Text };
                true
            }
            State::Text => {
                let begins = |marker: &&&str| ![CLOSE, CALL_ID, ARGS].contains(*marker);
                let markers = self.form.markers().iter().filter(begins);
                let next = markers.filter_map(|marker| Some((self.held.find(marker)?, *marker))).min();
                let Some((at, marker)) = next else {
                    let keep = self.kept_len();
                    let text: String = self.held.drain(..self.held.len() - keep).collect();
                    self.text(found, &text);
                    return false;
                };
                let text: String = self.held.drain(..at).collect();
                // The white space before a call belongs to it.
                self.text(found, text.trim_end());
                self.state = if marker == OPEN { State::Tag } else { State::Rest { marked: true } };
                true
            }
            State::Tag => {
                let Some(close) = self.held.find(CLOSE) else { return false };
                let call = match self.read_tag() {
                    functions::Read::More => return false,
                    functions::Read::Call(call, rest) => Some((call, self.held.len() - rest.len())),
                    functions::Read::Broken => None,
                };
                self.state = State::Text;
                match call {
                    Some((call, end)) => {
                        self.held.drain(..end);
                        self.add(found, vec![call]);
                    }
                    None => {
                        let text: String = self.held.drain(..close + CLOSE.len()).collect();
                        self.text(found, &text);
                    }
                }
                true
            }
            State::Rest { .. } => false,
        }
    }

    /// What stands behind the opening tag that is held, with its closing tag.
    fn read_tag(&self) -> functions::Read<'_> {
        use functions::Read;
        let body = &self.held[OPEN.len()..];
        if self.form == ToolForm::Functions {
            return functions::read(body, &self.tools);
        }
        let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                let after = body[values.byte_offset()..].trim_start();
                match after.strip_prefix(CLOSE) {
                    Some(rest) => call(&value).map_or(Read::Broken, |call| Read::Call(call, rest)),
                    // The closing tag is on its way.
                    None if CLOSE.starts_with(after) => Read::More,
                    None => Read::Broken,
                }
            }
            // A text in the arguments has the closing tag in it.
            Some(Err(error)) if error.is_eof() => Read::More,
            Some(Err(_)) | None => Read::Broken,
        }
    }

    /// How much of the end of the held text may be the white space before a call, or begin a marker.
    fn kept_len(&self) -> usize {
        let markers = self.form.markers();
        let begins = |at: &usize| {
            let rest = self.held[*at..].trim_start();
            rest.is_empty() || markers.iter().any(|marker| marker.starts_with(rest))
        };
        let from = (0..=self.held.len()).filter(|at| self.held.is_char_boundary(*at)).find(begins);
        self.held.len() - from.unwrap_or(self.held.len())
    }

    /// Gives text out. White space between calls is no text.
    fn text(&mut self, found: &mut Found, text: &str) {
        if text.is_empty() || (text.trim().is_empty() && self.found > 0) {
            return;
        }
        found.text.push_str(text);
    }

    fn add(&mut self, found: &mut Found, calls: Vec<(String, String)>) {
        for (name, arguments) in calls {
            if self.found == self.most {
                return;
            }
            let id = hex::encode(rand::random::<[u8; ID_BYTES]>());
            let id = match self.form {
                ToolForm::Mistral => id[..MISTRAL_ID_CHARS].to_owned(),
                _ => format!("call_{id}"),
            };
            found.calls.push(Call { index: self.found, id, name, arguments });
            self.found += 1;
        }
    }
}

/// The calls of a text of nothing but calls: one after the other, in lists, or divided by `;`.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let mut calls = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next()?.ok()? {
            Value::Array(list) => {
                for value in &list {
                    calls.push(call(value)?);
                }
            }
            value => calls.push(call(&value)?),
        }
        rest = rest[values.byte_offset()..].trim_start_matches(|c: char| c.is_whitespace() || c == ';');
    }
    if calls.is_empty() { None } else { Some(calls) }
}

/// The calls of a text of nothing but calls, each a marker, a name and arguments. Models of this form that know the
/// older one too may write a list.
fn parse_args(text: &str) -> Option<Vec<(String, String)>> {
    let mut calls = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        rest = rest.strip_prefix(LIST)?.trim_start();
        if calls.is_empty() && rest.starts_with('[') {
            return parse(rest);
        }
        let (name, arguments) = rest.split_once(ARGS)?;
        let name = name.split_once(CALL_ID).map_or(name, |(name, _)| name).trim();
        let mut values = serde_json::Deserializer::from_str(arguments).into_iter::<Value>();
        let Value::Object(members) = values.next()?.ok()? else { return None };
        if name.is_empty() {
            return None;
        }
        calls.push((name.to_owned(), Value::Object(members).to_string()));
        rest = arguments[values.byte_offset()..].trim_start();
    }
    if calls.is_empty() { None } else { Some(calls) }
}

/// Name, and JSON text of the arguments. They may be called parameters, and be a text themselves.
fn call(value: &Value) -> Option<(String, String)> {
    let members = value.as_object()?;
    let name = members.get("name")?.as_str()?.to_owned();
    let arguments = match members.get("arguments").or_else(|| members.get("parameters")) {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::Object(arguments)) => Value::Object(arguments.clone()).to_string(),
        Some(Value::String(text)) => {
            let arguments: Value = serde_json::from_str(text).ok()?;
            arguments.is_object().then(|| arguments.to_string())?
        }
        Some(_) => return None,
    };
    Some((name, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and calls, `name(arguments)`, in one line. The answer comes whole, and cut at every place.
    #[track_caller]
    fn check(form: ToolForm, answer: &str, expect: &str) {
        check_with(form, true, answer, expect);
    }

    #[track_caller]
    fn check_with(form: ToolForm, parallel: bool, answer: &str, expect: &str) {
        let parameters = json!({"type": "object", "properties": {
            "text": {"type": "string"}, "count": {"type": "integer"}, "maybe": {"type": ["string", "null"]},
            "list": {"type": "array"}, "yes": {"type": "boolean"}, "any": {}, "one": {"enum": ["1", 2]}}});
        let tools = ["f", "g"].map(|name| Tool { name: name.to_owned(), parameters: parameters.clone() });
        let outline = |pieces: &[&str]| {
            let mut finder = CallFinder::new(form, &tools, parallel);
            let (mut text, mut calls) = (String::new(), Vec::new());
            for piece in pieces {
                let found = finder.push(piece);
                text.push_str(&found.text);
                calls.extend(found.calls);
            }
            let found = finder.finish();
            text.push_str(&found.text);
            calls.extend(found.calls);
            assert_eq!(finder.found_any(), !calls.is_empty());
            for (index, call) in calls.iter().enumerate() {
                assert_eq!(call.index, index);
                text.push_str(&format!("|{}({})", call.name, call.arguments));
            }
            text
        };
        assert_eq!(outline(&[answer]), expect, "{form:?} {answer}");
        for cut in (0..answer.len()).filter(|cut| answer.is_char_boundary(*cut)) {
            assert_eq!(outline(&[&answer[..cut], &answer[cut..]]), expect, "{form:?} {answer} at {cut}");
        }
        let characters: Vec<&str> = answer.split("").collect();
        assert_eq!(outline(&characters), expect, "{form:?} {answer} by character");
    }

    #[test]
    fn tags() {
        use ToolForm::Tags;
        check(Tags, "Hello.\n", "Hello.\n");
        check(
            Tags,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
            "|f({\"a\":1})",
        );
        check(
            Tags,
            "Let me see.\n<tool_call>{\"name\": \"f\", \"arguments\": {\"b\": \"</tool_call> ü\", \"a\": 1.0}}</tool_call>\n\
             <tool_call>\n{\"arguments\": {}, \"name\": \"other\"}\n</tool_call>\n",
            "Let me see.|f({\"b\":\"</tool_call> ü\",\"a\":1.0})|other({})",
        );
        check(Tags, "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 2}\"}", "|f({\"a\":2})");
        // No calls: JSON that breaks off, is none, or has no name; a tag alone; a tag that breaks off.
        for text in [
            "<tool_call>{\"name\": \"f\", \"arg",
            "<tool_call>f(1)</tool_call> so",
            "<tool_call>{\"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
            "<tool_call>{\"name\": \"f\"} and </tool_call>",
            "a <tool",
            "a < b",
            "{\"name\": \"f\", \"arguments\": {}}",
        ] {
            check(Tags, text, text);
        }
        let two = "<tool_call>{\"name\": \"f\"}</tool_call><tool_call>{\"name\": \"g\"}</tool_call>";
        check_with(Tags, true, two, "|f({})|g({})");
        check_with(Tags, false, two, "|f({})");
    }

    #[test]
    fn llama() {
        use ToolForm::Llama;
        check(Llama, "{\"name\": \"f\", \"parameters\": {\"a\": null}}", "|f({\"a\":null})");
        check(Llama, "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "|f({})");
        check(Llama, "\n{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\"}\n", "|f({})|g({})");
        for text in
            ["{\"name\": \"h\", \"parameters\": {}}", "{\"a\": 1}", "{", "Yes {\"name\": \"f\"}", " \n"]
        {
            check(Llama, text, text);
        }
    }

    #[test]
    fn mistral() {
        use ToolForm::Mistral;
        check(
            Mistral,
            "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"h\", \"arguments\": {}}]",
            "|f({\"a\":1})|h({})",
        );
        check(Mistral, "So: [TOOL_CALLS][{\"name\": \"f\"}]", "So:|f({})");
        for text in ["[TOOL_CALLS] f", "[1, 2]", "[TOOL"] {
            check(Mistral, text, text);
        }
        let mut finder = CallFinder::new(Mistral, &[], true);
        finder.push("[TOOL_CALLS][{\"name\": \"f\"}]");
        assert_eq!(finder.finish().calls[0].id.len(), 9);
    }

    #[test]
    fn mistral_with_arguments_apart() {
        use ToolForm::MistralArgs;
        check(MistralArgs, "[TOOL_CALLS]f[ARGS]{\"a\": 1}", "|f({\"a\":1})");
        check(
            MistralArgs,
            "So: [TOOL_CALLS]f[CALL_ID]abc123DEF[ARGS]{\"a\": \"[ARGS]\"}[TOOL_CALLS] h [ARGS] {}",
            "So:|f({\"a\":\"[ARGS]\"})|h({})",
        );
        check(MistralArgs, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}]", "|f({})");
        check_with(MistralArgs, false, "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[ARGS]{}", "|f({})");
        for text in [
            "[TOOL_CALLS]f",
            "[TOOL_CALLS]f[ARGS]",
            "[TOOL_CALLS]f[ARGS]{\"a\": ",
            "[TOOL_CALLS]f[ARGS][1]",
            "[TOOL_CALLS][ARGS]{}",
            "[TOOL_CALLS]f[ARGS]{} so",
            "f[ARGS]{}",
        ] {
            check(MistralArgs, text, text);
        }
    }

    #[test]
    fn functions_with_parameters() {
        use ToolForm::Functions;
        let call = |name: &str, parameters: &[(&str, &str)]| {
            let each = |(key, value): &(&str, &str)| format!("<parameter={key}>\n{value}\n</parameter>\n");
            let all: String = parameters.iter().map(each).collect();
            format!("<tool_call>\n<function={name}>\n{all}</function>\n</tool_call>")
        };
        let two = format!("Well.\n\n{}\n{}", call("f", &[("text", "a\n b"), ("count", "3")]), call("h", &[]));
        check(Functions, &two, "Well.|f({\"text\":\"a\\n b\",\"count\":3})|h({})");
        check_with(Functions, false, &two, "Well.|f({\"text\":\"a\\n b\",\"count\":3})");
        // What a text may hold; and what is a text.
        let typed = [
            ("text", "1", "\"1\""),
            (
                "text",
                "<tool_call></tool_call></parameter></function>",
                "\"<tool_call></tool_call></parameter></function>\"",
            ),
            ("text", "", "\"\""),
            ("maybe", "null", "null"),
            ("maybe", "None", "null"),
            ("maybe", "nothing", "\"nothing\""),
            ("list", "[1, {\"a\": \"b\"}]", "[1,{\"a\":\"b\"}]"),
            ("yes", "True", "true"),
            ("yes", "false", "false"),
            // No value of that type: the caller sees what the model wrote.
            ("count", "three", "\"three\""),
            ("any", "7", "\"7\""),
            ("any", "{\"a\": 7}", "{\"a\":7}"),
            ("one", "1", "\"1\""),
            ("other", "7", "\"7\""),
        ];
        for (key, value, expect) in typed {
            check(Functions, &call("f", &[(key, value)]), &format!("|f({{\"{key}\":{expect}}})"));
        }
        // The closing tag may be missing at the end; white space need not be there.
        check(
            Functions,
            "<tool_call><function=f><parameter=count>1</parameter></function>",
            "|f({\"count\":1})",
        );
        for text in [
            "<tool_call>{\"name\": \"f\"}</tool_call>",
            "<tool_call><function=f></tool_call>",
            "<tool_call><function=></function></tool_call>",
            "<tool_call><function=f><parameter=a>1",
            "<tool_call><function=f>x</function></tool_call>",
            "<function=f></function>",
        ] {
            check(Functions, text, text);
        }
    }

    #[test]
    fn unknown_forms_may_be_any() {
        use ToolForm::Unknown;
        check(Unknown, "{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"g\"}", "|f({})|g({})");
        check(Unknown, "[{\"name\": \"f\", \"parameters\": {}}]", "|f({})");
        check(Unknown, "<tool_call>{\"name\": \"h\"}</tool_call>", "|h({})");
        check(Unknown, "[TOOL_CALLS][{\"name\": \"h\"}]", "|h({})");
        for text in ["[1]", "{\"name\": \"h\"}", "Hello", "[TOOL"] {
            check(Unknown, text, text);
        }
    }

    #[test]
    fn a_call_is_streamed_in_two_changes() {
        let call = Call { index: 1, id: "i".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
        let function = json!({"name": "f", "arguments": ""});
        let first = json!({"id": "i", "type": "function", "function": function, "index": 1});
        assert_eq!(call.deltas(), [first, json!({"index": 1, "function": {"arguments": "{}"}})]);
    }
}
