//! Conversations of chat rows.

use super::{Conversation, MAX_MESSAGES, Message, Reading, Role, Spelling, ToolCall, refused, shown};
use crate::finding::Code;
use crate::json::{self, Json, Place};

/// Keys of a message that only the assistant has.
const ASSISTANT_KEYS: [&str; 5] =
    ["tool_calls", "function_call", "reasoning_content", "reasoning", "thinking"];

impl Reading {
    pub(super) fn conversation(&mut self, row: &Json<'_>) -> Option<Conversation> {
        let root = Place::ROOT;
        let mut messages: Vec<Message> = Vec::new();
        let key = match (row.given("messages"), row.given("conversations")) {
            (None, _) => "conversations",
            (Some(_), None) => "messages",
            (Some(_), Some(_)) => {
                let what = "a row has either messages or conversations, not both";
                self.push(&root, Code::ConflictingFields, what, "keep one of them");
                return None;
            }
        };
        self.places.messages = key;
        if key == "conversations" {
            self.spelt(Spelling::ShareGpt);
            if row.get("system").is_some_and(|system| !system.says_nothing())
                && let Some(text) = self.optional_text(&root, row, "system")
            {
                self.spelt(Spelling::SystemBeside);
                self.places.has_system_beside = true;
                messages.push(Message::new(Role::System, text));
            }
        }
        let tools = self.tools(row);
        let place = root.key(key);
        let list = match row.get(key)? {
            Json::Array(list) => list,
            other => {
                self.wrong_type(&place, key, "a list", other);
                return None;
            }
        };
        if list.is_empty() {
            self.push(&place, Code::EmptyList, format!("{key} is empty"), "add a question and an answer");
            return None;
        }
        if list.len() > MAX_MESSAGES {
            let message = format!("a row has at most {MAX_MESSAGES} messages, this one has {}", list.len());
            self.push(&place, Code::TooManyMessages, message, "divide it into several rows");
            return None;
        }
        messages.reserve(list.len());
        let mut is_whole = true;
        for (index, value) in list.iter().enumerate() {
            match self.message(&place.index(index), index, value) {
                Some(message) => messages.push(message),
                None => is_whole = false,
            }
        }
        // What follows from a message that cannot be read is not told too.
        if !is_whole {
            return None;
        }
        self.answers_follow_calls(&place, &messages[messages.len() - list.len()..]);
        if !messages.iter().any(Message::is_trained) {
            let (message, fix) = match messages.iter().any(|message| message.role == Role::Assistant) {
                true => {
                    ("all messages of the assistant have weight 0", "remove the row, or one of the weights")
                }
                false => ("no message is from the assistant, so there is nothing to learn", "add the answer"),
            };
            self.push(&place, Code::NothingToTrain, message, fix);
            return None;
        }
        Some(Conversation { messages, tools: tools? })
    }

    fn message(&mut self, place: &Place<'_>, index: usize, value: &Json<'_>) -> Option<Message> {
        if !matches!(value, Json::Object(_)) {
            self.wrong_type(place, "a message", "a JSON object", value);
            return None;
        }
        self.refuse_keys(place, value, refused::MESSAGE_KEYS);
        let (role_key, content_key) = match (value.given("role"), value.given("from")) {
            (None, Some(_)) => {
                self.spelt(Spelling::ShareGpt);
                ("from", if value.given("value").is_some() { "value" } else { "content" })
            }
            _ => ("role", "content"),
        };
        let name = self.optional_text(place, value, "name");
        let role = self.role(place, value.given(role_key), role_key);
        let is_call = role_key == "from" && value.get("from").and_then(Json::as_str) == Some("function_call");
        let mut tool_calls = self.tool_calls(place, index, value);
        let content = if is_call {
            if tool_calls.as_ref().is_some_and(|calls| !calls.is_empty()) {
                let what = "a function_call has its call in its text, and another beside it";
                self.push(place, Code::ConflictingFields, what, "keep one of them");
            }
            self.places.calls.push((index, content_key));
            tool_calls = self.calls_in_text(place, content_key, value);
            tool_calls.as_ref().map(|_| String::new())
        } else {
            let may_lack = tool_calls.as_ref().is_none_or(|calls| !calls.is_empty());
            self.content(place, value.get(content_key), content_key, may_lack)
        };
        let reasoning_content = self.reasoning(place, value);
        let tool_call_id = self.optional_text(place, value, "tool_call_id");
        let trained = self.message_weight(place, value.get("weight"));
        let role = role?;
        if role == Role::System && (index > 0 || self.places.has_system_beside) {
            self.push(
                &place.key(role_key),
                Code::MisplacedSystem,
                "a system message may only be the first message",
                "move it to the beginning, or join it with the message behind it",
            );
        }
        if role != Role::Assistant {
            for key in ASSISTANT_KEYS {
                if value.get(key).is_some_and(|value| !value.says_nothing()) {
                    let message = format!("only the assistant has the field {key}");
                    self.push(
                        &place.key(key),
                        Code::UnsupportedField,
                        message,
                        "remove it, or correct the role",
                    );
                }
            }
        }
        Some(Message {
            role,
            content: content?,
            reasoning_content,
            trained,
            tool_calls: tool_calls?,
            tool_call_id,
            name,
        })
    }

    fn message_weight(&mut self, place: &Place<'_>, weight: Option<&Json<'_>>) -> bool {
        match weight {
            None | Some(Json::Null) => true,
            Some(weight) if weight.as_f64() == Some(1.0) => true,
            Some(weight) if weight.as_f64() == Some(0.0) => false,
            Some(_) => {
                let fix = "write 1, or 0 for an answer that is not learnt; the weight of the whole row may be another number";
                self.push(
                    &place.key("weight"),
                    Code::BadWeight,
                    "the weight of a message must be 0 or 1",
                    fix,
                );
                true
            }
        }
    }

    /// A text that may be missing or null. `None` too after it was told that it is none.
    fn optional_text(&mut self, place: &Place<'_>, object: &Json<'_>, key: &str) -> Option<String> {
        match object.get(key)? {
            Json::Null => None,
            Json::String(text) => Some(text.to_string()),
            other => {
                self.wrong_type(&place.key(key), key, "a string", other);
                None
            }
        }
    }

    fn reasoning(&mut self, place: &Place<'_>, message: &Json<'_>) -> Option<String> {
        let mut found = self.optional_text(place, message, "reasoning_content");
        for key in ["reasoning", "thinking"] {
            if let Some(text) = self.optional_text(place, message, key) {
                if found.as_ref().is_some_and(|other| *other != text) {
                    let what = format!("{key} and reasoning_content are two texts");
                    self.push(&place.key(key), Code::ConflictingFields, what, "keep reasoning_content");
                }
                self.spelt(Spelling::Reasoning);
                found = Some(text);
            }
        }
        found
    }

    fn role(&mut self, place: &Place<'_>, value: Option<&Json<'_>>, key: &str) -> Option<Role> {
        let name = match value {
            Some(Json::String(name)) => name,
            Some(other) => {
                self.wrong_type(&place.key(key), key, "a string", other);
                return None;
            }
            None => {
                self.missing(place, "a message", "role");
                return None;
            }
        };
        if let Some(role) = Role::parse(name) {
            return Some(role);
        }
        let other = match &**name {
            "developer" => Some((Role::System, Spelling::Roles)),
            "function" => Some((Role::Tool, Spelling::Roles)),
            "human" => Some((Role::User, Spelling::ShareGpt)),
            "gpt" | "chatgpt" | "bing" | "bard" | "model" | "function_call" => {
                Some((Role::Assistant, Spelling::ShareGpt))
            }
            "observation" | "function_response" => Some((Role::Tool, Spelling::ShareGpt)),
            _ => None,
        };
        match other {
            // ShareGPT's names belong to ShareGPT's keys.
            Some((role, spelling)) if key == "from" || spelling == Spelling::Roles => {
                self.spelt(spelling);
                Some(role)
            }
            _ => {
                let message = format!("unknown role{}", shown(name));
                let fix = "use system, user, assistant or tool";
                self.push(&place.key(key), Code::UnknownRole, message, fix);
                None
            }
        }
    }

    /// `may_lack`: a message that calls tools needs no text.
    fn content(
        &mut self,
        place: &Place<'_>,
        value: Option<&Json<'_>>,
        key: &str,
        may_lack: bool,
    ) -> Option<String> {
        let content = place.key(key);
        let parts = match value {
            Some(Json::String(text)) => return Some(text.to_string()),
            Some(Json::Array(parts)) => parts,
            None | Some(Json::Null) if may_lack => return Some(String::new()),
            Some(other) => {
                self.wrong_type(&content, key, "a string or a list of text parts", other);
                return None;
            }
            None => {
                self.missing(place, "a message", key);
                return None;
            }
        };
        let mut text = Some(String::new());
        for (index, part) in parts.iter().enumerate() {
            match (self.part(&content.index(index), part), &mut text) {
                (Some(part), Some(text)) => text.push_str(part),
                _ => text = None,
            }
        }
        text
    }

    fn part<'a>(&mut self, place: &Place<'_>, part: &'a Json<'_>) -> Option<&'a str> {
        let name = match part.given("type") {
            Some(Json::String(name)) => name,
            Some(other) => {
                self.wrong_type(&place.key("type"), "the type of a content part", "a string", other);
                return None;
            }
            None => {
                self.missing(place, "a content part", "type");
                return None;
            }
        };
        match (&**name, part.given("text")) {
            ("text", Some(Json::String(text))) => Some(text),
            ("text", Some(other)) => {
                self.wrong_type(&place.key("text"), "the text of a part", "a string", other);
                None
            }
            ("text", None) => {
                self.missing(place, "a text part", "text");
                None
            }
            (name, _) => {
                let what = match name {
                    "image_url" | "image" => {
                        "images are not supported: this server trains on text".to_owned()
                    }
                    _ => format!("content parts of type{} are not supported", shown(name)),
                };
                let fix = "use parts of type text, or leave the row out";
                self.push(&place.key("type"), Code::UnsupportedContent, what, fix);
                None
            }
        }
    }

    /// A tool answers a call that stands before it; one without an id answers in the order of the calls.
    fn answers_follow_calls(&mut self, place: &Place<'_>, messages: &[Message]) {
        let mut calls: Vec<&ToolCall> = Vec::new();
        let mut is_open = false;
        for (index, message) in messages.iter().enumerate() {
            match message.role {
                Role::Assistant => {
                    is_open = !message.tool_calls.is_empty();
                    calls.extend(&message.tool_calls);
                }
                Role::Tool => {
                    let place = place.index(index);
                    if !is_open {
                        let what = "a tool answers, but no call stands directly before it";
                        let fix = "add the assistant's message with tool_calls, or remove the answer";
                        self.push(&place, Code::MisplacedTool, what, fix);
                    } else if let Some(id) = &message.tool_call_id
                        && calls.iter().all(|call| call.id != *id && !call.id.is_empty())
                    {
                        let what = "tool_call_id is the id of no call before it";
                        let fix = "write the id of the call that this answers";
                        self.push(&place.key("tool_call_id"), Code::UnknownToolCall, what, fix);
                    }
                }
                Role::System | Role::User => is_open = false,
            }
        }
    }

    /// What ShareGPT writes as the text of a `function_call`: one call, or a list of them.
    fn calls_in_text(&mut self, message: &Place<'_>, key: &str, value: &Json<'_>) -> Option<Vec<ToolCall>> {
        let place = &message.key(key);
        match value.given(key) {
            Some(Json::String(text)) => match json::parse(self.line, text) {
                Ok(calls) => self.in_text(place, |reading| reading.calls(&Place::ROOT, &calls)),
                Err(found) => {
                    let what = format!("the text of a function_call is no usable JSON: {}", found[0].message);
                    let fix = "write {\"name\": …, \"arguments\": {…}}";
                    self.push(place, Code::BadToolCall, what, fix);
                    None
                }
            },
            Some(calls @ (Json::Object(_) | Json::Array(_))) => self.calls(place, calls),
            Some(other) => {
                self.wrong_type(place, key, "a string that holds JSON", other);
                None
            }
            None => {
                self.missing(message, "a function_call", key);
                None
            }
        }
    }

    fn calls(&mut self, place: &Place<'_>, calls: &Json<'_>) -> Option<Vec<ToolCall>> {
        match calls {
            Json::Object(_) => self.tool_call(place, calls).map(|call| vec![call]),
            Json::Array(list) if !list.is_empty() => self.call_list(place, list),
            Json::Array(_) => {
                let what = "a function_call calls nothing: its list is empty";
                self.push(place, Code::BadToolCall, what, "write a call, or remove the message");
                None
            }
            other => {
                let what = format!(
                    "a function_call must be an object with name and arguments, this is {}",
                    other.kind()
                );
                let fix = "write {\"name\": …, \"arguments\": {…}}";
                self.push(place, Code::BadToolCall, what, fix);
                None
            }
        }
    }
}
