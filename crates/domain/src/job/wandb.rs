//! Where a job's metrics are logged besides: a run of Weights & Biases.

use serde::{Deserialize, Serialize};

use super::JobRequest;
use super::check::Checker;
use crate::code::Code;

/// Longest name of a project, an entity or a run, in characters.
const NAME_MAX_CHARS: usize = 128;

/// What a client asks for. The key itself is not here: it is kept elsewhere, encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WandbRequest {
    /// Whether the client said so. Older clients send the other fields alone and mean it.
    pub enabled: bool,
    /// Whether a key came with it.
    pub has_api_key: bool,
    /// Project.
    pub project: String,
    /// Team or user; by default the key's own.
    pub entity: String,
    /// Id of the run; by default a random one.
    pub run_id: String,
}

/// The run of Weights & Biases that a job writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WandbSettings {
    /// Project.
    pub project: String,
    /// Team or user; empty until the service has told it.
    pub entity: String,
    /// Id of the run; empty until one is chosen.
    pub run_id: String,
    /// Page of the run; empty until the service has made it.
    pub url: String,
}

pub(super) fn check(check: &mut Checker, request: &JobRequest) -> Option<WandbSettings> {
    let WandbRequest { enabled, has_api_key, project, entity, run_id } = &request.wandb;
    let given = *has_api_key || [project, entity, run_id].iter().any(|text| !text.is_empty());
    if !enabled && !given {
        return None;
    }
    if !has_api_key {
        check.add(Code::InvalidArgument, "wandbConfig.apiKey", "is required to log to Weights & Biases");
    }
    if project.is_empty() {
        check.add(Code::InvalidArgument, "wandbConfig.project", "is required to log to Weights & Biases");
    }
    for (field, text) in
        [("wandbConfig.project", project), ("wandbConfig.entity", entity), ("wandbConfig.runId", run_id)]
    {
        if text.chars().count() > NAME_MAX_CHARS {
            check.add(Code::InvalidArgument, field, format!("is longer than {NAME_MAX_CHARS} characters"));
        }
        if text.chars().any(|c| c.is_control() || "/\\#?%:".contains(c))
            || matches!(text.as_str(), "." | "..")
        {
            check.add(Code::InvalidArgument, field, "has a character that Weights & Biases does not allow");
        }
    }
    let (project, entity, run_id) = (project.clone(), entity.clone(), run_id.clone());
    Some(WandbSettings { project, entity, run_id, url: String::new() })
}
