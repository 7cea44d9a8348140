//! Which chat template rows are rendered with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hearth_data::Renderer;
use hearth_data::template::history::{ThinkingHistory, with_history};
use hearth_data::template::source_of;

/// Longest template file, in bytes.
const TEMPLATE_MAX_BYTES: u64 = 1 << 20;

/// As a job's fields `jinjaTemplate` and `thinkingTraceHistoryMode`.
#[derive(clap::Args, Debug)]
pub struct Rendering {
    /// Chat template (Jinja) in place of the model's own
    #[arg(long, value_name = "FILE", requires = "model")]
    template: Option<PathBuf>,
    /// What becomes of the thoughts of earlier answers [default: what the template does]
    #[arg(long, value_name = "MODE", requires = "model")]
    thinking_trace_history_mode: Option<Mode>,
}

/// As in the API.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Mode {
    /// Those before the last question are left out
    Interleaved,
    /// All stay
    Preserved,
}

impl Rendering {
    /// The renderer of a job that trains the model in `dir` with these settings.
    pub fn renderer(&self, dir: &Path) -> Result<Renderer> {
        let mut template = self.template.as_ref().map(read_template).transpose()?;
        if let Some(mode) = self.thinking_trace_history_mode {
            let history = match mode {
                Mode::Interleaved => ThinkingHistory::Interleaved,
                Mode::Preserved => ThinkingHistory::Preserved,
            };
            let Some(source) = template.or(source_of(dir)?) else {
                bail!("the model has no chat template, which --thinking-trace-history-mode needs");
            };
            template = Some(with_history(&source, history));
        }
        Ok(Renderer::open(dir, template.as_deref())?)
    }
}

fn read_template(path: &PathBuf) -> Result<String> {
    let cannot_read = || format!("cannot read {}", path.display());
    if fs::metadata(path).with_context(cannot_read)?.len() > TEMPLATE_MAX_BYTES {
        bail!("{} is longer than {TEMPLATE_MAX_BYTES} bytes", path.display());
    }
    fs::read_to_string(path).with_context(cannot_read)
}
