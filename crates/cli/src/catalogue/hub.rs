//! Files from the Hugging Face hub, or a mirror named by `HF_ENDPOINT`, over HTTPS.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_inference::assemble::is_model_file;
use serde_json::Value;
use ureq::Agent;

use super::source::is_relative;
use crate::config::hub_endpoint;

/// Time to open a connection, and until an answer begins.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest pause in the middle of a file.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts for one file.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; doubled for each further one.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Most files of one model.
const MAX_FILES: usize = 1000;
/// Largest file.
const FILE_MAX_BYTES: u64 = 256 << 30;
/// Longest list of files.
const LIST_MAX_BYTES: u64 = 16 << 20;

/// Downloads a file, or all files of a model, below `dir`; returns the file's or the directory's path.
pub fn download(repo: &str, revision: &str, file: Option<&str>, dir: &Path) -> Result<PathBuf> {
    let hub = Hub::new(repo, revision);
    if let Some(file) = file {
        let path = dir.join("file.gguf");
        hub.get_file(file, &path)?;
        return Ok(path);
    }
    let model = dir.join("model");
    std::fs::create_dir(&model)?;
    let names = hub.list()?;
    if !names.iter().any(|name| name == "config.json") {
        bail!("{repo} has no config.json: name one GGUF file as hf:{repo}/FILE.gguf if it has any");
    }
    for name in names {
        hub.get_file(&name, &model.join(&name))?;
    }
    Ok(model)
}

struct Hub<'a> {
    agent: Agent,
    endpoint: String,
    repo: &'a str,
    revision: &'a str,
}

impl<'a> Hub<'a> {
    fn new(repo: &'a str, revision: &'a str) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(ANSWER_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .build();
        Self { agent: config.into(), endpoint: hub_endpoint(), repo, revision }
    }

    /// Names of the model's files; others in the repository are not wanted.
    fn list(&self) -> Result<Vec<String>> {
        let url = format!("{}/api/models/{}/revision/{}", self.endpoint, self.repo, self.revision);
        let mut text = Vec::new();
        self.with_retries(&url, |body| {
            text.clear();
            body.take(LIST_MAX_BYTES).read_to_end(&mut text).map(drop)
        })?;
        let value: Value =
            serde_json::from_slice(&text).with_context(|| format!("{url} is not a list of files"))?;
        let names: Vec<String> = value["siblings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|sibling| sibling["rfilename"].as_str())
            .filter(|name| is_relative(name) && is_model_file(name))
            .map(str::to_owned)
            .collect();
        if names.len() > MAX_FILES {
            bail!("{} has {} model files, more than {MAX_FILES}", self.repo, names.len());
        }
        Ok(names)
    }

    fn get_file(&self, name: &str, path: &Path) -> Result<()> {
        eprintln!("getting {}/{name}", self.repo);
        let url = format!("{}/{}/resolve/{}/{name}", self.endpoint, self.repo, self.revision);
        self.with_retries(&url, |body| {
            let mut file = File::create(path)?;
            let copied = io::copy(&mut body.take(FILE_MAX_BYTES), &mut file)?;
            if copied == FILE_MAX_BYTES {
                return Err(io::Error::other(format!("the file has more than {FILE_MAX_BYTES} bytes")));
            }
            file.sync_all()
        })
    }

    /// Gets a URL, again if the network or the server failed for the moment. ureq checks that a body is as
    /// long as its header says.
    fn with_retries(&self, url: &str, mut read: impl FnMut(&mut dyn Read) -> io::Result<()>) -> Result<()> {
        let mut pause = RETRY_PAUSE;
        for attempt in 1.. {
            let result = match self.agent.get(url).call() {
                Ok(response) => {
                    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
                    read(&mut body).map_err(anyhow::Error::from)
                }
                Err(ureq::Error::StatusCode(status)) if status < 500 && status != 429 => {
                    bail!("{url} answered {status}");
                }
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(()) => return Ok(()),
                Err(error) if attempt >= ATTEMPTS => {
                    return Err(error).with_context(|| format!("cannot get {url}"));
                }
                Err(_) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }
}
