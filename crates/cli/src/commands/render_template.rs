//! `hearth render-template`: what the server starts to render a chat template that it does not trust.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use hearth_data::template::process::{MAX_REQUEST_BYTES, RenderRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Address space of the process: many times the longest request and reply.
const MEMORY_MAX_BYTES: u64 = 1 << 30;
/// Processor time of the process. The template engine's own limit takes about a second.
const CPU_MAX_SECONDS: u64 = 5;

/// Render a conversation with a chat template (the server starts this)
///
/// Reads a request as JSON from standard input and writes the reply as JSON to standard output. The template may need
/// more memory or time than the process allows itself; then the process dies without a reply.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth render-template < request.json")]
pub struct Args {}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        limit(Resource::As, MEMORY_MAX_BYTES)?;
        limit(Resource::Cpu, CPU_MAX_SECONDS)?;
        // A dump would hold the conversation.
        limit(Resource::Core, 0)?;
        let mut request = Vec::new();
        io::stdin().lock().take(MAX_REQUEST_BYTES as u64 + 1).read_to_end(&mut request)?;
        ensure!(request.len() <= MAX_REQUEST_BYTES, "the request is longer than {MAX_REQUEST_BYTES} bytes");
        let request: RenderRequest = serde_json::from_slice(&request).context("this is no request")?;
        let reply = serde_json::to_vec(&request.render())?;
        io::stdout().lock().write_all(&reply)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Lowers a limit of this process for good, to `most` or what it may be at most already.
pub(super) fn limit(resource: Resource, most: u64) -> Result<()> {
    let most = Some(getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most)));
    setrlimit(resource, Rlimit { current: most, maximum: most }).context("this process cannot be limited")
}
