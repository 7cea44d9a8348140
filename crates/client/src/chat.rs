//! Chat completions, whole or streamed.

use std::io::{BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::RequestBuilder;
use ureq::typestate::WithBody;

use crate::{Client, ClientError};

/// Longest line of a stream.
const STREAM_LINE_MAX_BYTES: u64 = 1 << 20;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Text.
    pub content: String,
}

impl Message {
    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }
}

/// What to ask. Fields that are `None` are left to the server's defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatRequest {
    /// Full model name.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Most tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 is greedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Probability mass that sampling chooses from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Seed of sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Set by [`Client::chat_stream`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

impl ChatRequest {
    /// A request with the server's defaults.
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            model: model.into(),
            messages,
            max_tokens: None,
            temperature: None,
            top_p: None,
            seed: None,
            stream: false,
        }
    }
}

/// Tokens of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAnswer {
    /// Text of the answer.
    pub content: String,
    /// `stop` or `length`.
    pub finish_reason: String,
    /// Token counts.
    pub usage: Usage,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatPiece {
    /// Text to append.
    pub delta: String,
    /// Present in the last piece with text.
    pub finish_reason: Option<String>,
    /// Present when the server counts.
    pub usage: Option<Usage>,
}

impl Client {
    /// Asks and waits for the whole answer.
    pub fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, ClientError> {
        let request = ChatRequest { stream: false, ..request.clone() };
        let value =
            self.answer(self.chat_post().send_json(&request)).and_then(|response| self.json(response))?;
        let choice = &value["choices"][0];
        let content = choice["message"]["content"]
            .as_str()
            .ok_or_else(|| self.protocol("a chat answer without choices[0].message.content"))?;
        Ok(ChatAnswer {
            content: content.to_owned(),
            finish_reason: choice["finish_reason"].as_str().unwrap_or_default().to_owned(),
            usage: read_usage(&value).unwrap_or_default(),
        })
    }

    /// Asks and yields the answer piece by piece.
    pub fn chat_stream(&self, request: &ChatRequest) -> Result<ChatStream, ClientError> {
        let request = ChatRequest { stream: true, ..request.clone() };
        let response = self.answer(self.chat_post().send_json(&request))?;
        let reader: Box<dyn Read> = Box::new(response.into_body().into_reader());
        Ok(ChatStream { client: self.clone(), reader: BufReader::new(reader), done: false })
    }

    fn chat_post(&self) -> RequestBuilder<WithBody> {
        self.request(self.agent.post(self.url("/v1/chat/completions")))
    }
}

/// The pieces of one streamed answer, until `data: [DONE]`.
pub struct ChatStream {
    client: Client,
    reader: BufReader<Box<dyn Read>>,
    done: bool,
}

impl ChatStream {
    fn next_piece(&mut self) -> Result<Option<ChatPiece>, ClientError> {
        loop {
            let Some(data) = next_data(&mut self.reader).map_err(|error| self.client.broken(error))? else {
                return Err(self.client.protocol("the stream ended before [DONE]"));
            };
            if data == "[DONE]" {
                return Ok(None);
            }
            let value: Value = serde_json::from_str(&data)
                .map_err(|error| self.client.protocol(format!("a stream event is not JSON: {error}")))?;
            if value["error"].is_object() {
                return Err(ClientError::from_body(200, None, data.as_bytes()));
            }
            let choice = &value["choices"][0];
            let piece = ChatPiece {
                delta: choice["delta"]["content"].as_str().unwrap_or_default().to_owned(),
                finish_reason: choice["finish_reason"].as_str().map(str::to_owned),
                usage: read_usage(&value),
            };
            if piece != ChatPiece::default() {
                return Ok(Some(piece));
            }
        }
    }
}

impl Iterator for ChatStream {
    type Item = Result<ChatPiece, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let piece = self.next_piece().transpose();
        self.done = !matches!(piece, Some(Ok(_)));
        piece
    }
}

fn read_usage(value: &Value) -> Option<Usage> {
    value["usage"].is_object().then(|| serde_json::from_value(value["usage"].clone()).ok()).flatten()
}

/// The next `data:` field of a server-sent event stream; other fields, comments and blank lines are skipped.
pub(crate) fn next_data(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    loop {
        let mut line = String::new();
        let read = reader.by_ref().take(STREAM_LINE_MAX_BYTES).read_line(&mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == STREAM_LINE_MAX_BYTES && !line.ends_with('\n') {
            return Err(std::io::Error::other(format!("a line longer than {STREAM_LINE_MAX_BYTES} bytes")));
        }
        if let Some(data) = line.trim_end_matches(['\r', '\n']).strip_prefix("data:") {
            return Ok(Some(data.strip_prefix(' ').unwrap_or(data).to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stream: &'static str, expect: &[&str], error: Option<&str>) {
        let client = Client::new("http://127.0.0.1:1", None, None).unwrap();
        let reader: Box<dyn Read> = Box::new(stream.as_bytes());
        let mut pieces = Vec::new();
        let mut failure = None;
        for piece in (ChatStream { client, reader: BufReader::new(reader), done: false }) {
            match piece {
                Ok(piece) => pieces.push(piece.delta + piece.finish_reason.as_deref().unwrap_or_default()),
                Err(error) => failure = Some(error.to_string()),
            }
        }
        assert_eq!(pieces, expect);
        match (failure, error) {
            (Some(failure), Some(error)) => assert!(failure.contains(error), "{failure}"),
            (failure, error) => assert_eq!(failure.as_deref(), error),
        }
    }

    #[test]
    fn streams_end_once_and_say_when_they_broke() {
        check(
            ": hi\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n\
             data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
             data:{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\nrest",
            &["a", "stop"],
            None,
        );
        check(
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            &["a"],
            Some("ended before [DONE]"),
        );
        check(
            "data: {\"error\":{\"message\":\"too long\",\"type\":\"server_error\"}}\n\n",
            &[],
            Some("server_error: too long"),
        );
    }
}
