//! `hearth chat`.

use std::io::{BufRead, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Result, bail};
use hearth_client::{ChatRequest, Client, Message};
use serde_json::json;

use crate::config::Server;
use crate::output;

/// Longest message that is read from standard input.
const INPUT_MAX_BYTES: u64 = 16 << 20;

/// Chat with a base model or a tuned model
///
/// Without --message: a conversation on a terminal, or one message from standard input.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth chat smollm2-135m-instruct --message 'What is a hearth?'")]
pub struct Args {
    /// Id or full name; an id is looked up in the account, then among the base models
    model: String,
    /// Ask this and exit
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// System message
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// 0 is greedy
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Probability mass that sampling chooses from
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Seed of sampling
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let system = self.system.iter().map(|text| Message { role: "system".into(), content: text.clone() });
        let mut request = ChatRequest::new(remote.find_model(&self.model)?, system.collect());
        request.max_tokens = self.max_tokens;
        request.temperature = self.temperature;
        request.top_p = self.top_p;
        request.seed = self.seed;
        let message = match self.message {
            Some(message) => message,
            None if std::io::stdin().is_terminal() => {
                return converse(&remote.client, request, json);
            }
            None => {
                let mut text = String::new();
                std::io::stdin().take(INPUT_MAX_BYTES).read_to_string(&mut text)?;
                text
            }
        };
        if message.trim().is_empty() {
            bail!("the message is empty");
        }
        request.messages.push(Message::user(message));
        ask(&remote.client, &request, json)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks once and prints the answer as it comes.
fn ask(client: &Client, request: &ChatRequest, json: bool) -> Result<String> {
    if json {
        let answer = client.chat(request)?;
        output::json(&json!({
            "model": request.model,
            "content": answer.content,
            "finish_reason": answer.finish_reason,
            "usage": answer.usage,
        }))?;
        return Ok(answer.content);
    }
    let mut answer = String::new();
    for piece in client.chat_stream(request)? {
        let piece = piece?;
        output::piece(&piece.delta)?;
        answer.push_str(&piece.delta);
    }
    output::line("")?;
    Ok(answer)
}

/// A conversation: one message a line, until end of input.
fn converse(client: &Client, mut request: ChatRequest, json: bool) -> Result<ExitCode> {
    eprintln!("{}: one message a line, Ctrl-D ends", request.model);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        eprint!("> ");
        let Some(line) = lines.next() else {
            eprintln!();
            return Ok(ExitCode::SUCCESS);
        };
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        request.messages.push(Message::user(line));
        let answer = ask(client, &request, json)?;
        request.messages.push(Message { role: "assistant".into(), content: answer });
    }
}
