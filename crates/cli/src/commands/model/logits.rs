//! `hearth model logits`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use hearth_kernels::{Cpu, CpuOptions, Precision};
use hearth_model::{Decoder, Lora, Packed, Workspace};
use serde_json::json;

use crate::catalogue::installed_dir;
use crate::config::DataDir;
use crate::output;

/// Most tokens: every one costs a row of vocabulary size in memory and in the output.
const MAX_TOKENS: usize = 4096;
/// Logits of one row that are shown without --json.
const SHOWN_TOKENS: usize = 5;

/// Compute the logits of a sequence in f32, to compare with other programs
///
/// Needs no server. With --json: {"logits": [[...], ...]}, one row of vocabulary size per token.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth model logits smollm2-135m-instruct --tokens 1,9690,198")]
pub struct Args {
    /// Installed model: id, full name, or a model directory
    model: String,
    /// Adapter directory
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Token ids
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        if self.tokens.len() > MAX_TOKENS {
            bail!("{} tokens are more than {MAX_TOKENS}", self.tokens.len());
        }
        let model_dir = installed_dir(&self.data_dir.path()?, &self.model)?;
        let cpu = Cpu::new(CpuOptions { precision: Precision::F32, ..CpuOptions::default() })?;
        let decoder = Decoder::load(Arc::new(cpu), &model_dir)?;
        let lora = self.adapter.map(|dir| Lora::load_peft(&decoder, &dir)).transpose()?;
        let mut packed = Packed::default();
        packed.push(&self.tokens, &vec![0.0; self.tokens.len()]);
        let rows: Vec<u32> = (0..self.tokens.len() as u32).collect();
        let logits = decoder.logits(lora.as_ref(), &packed, &rows, &mut Workspace::new(&decoder))?;
        let rows: Vec<&[f32]> = logits.chunks(decoder.config().vocab_size).collect();
        if json {
            output::json(&json!({ "logits": rows }))?;
            return Ok(ExitCode::SUCCESS);
        }
        for (position, row) in rows.iter().enumerate() {
            let mut best: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
            best.sort_by(|a, b| b.1.total_cmp(&a.1));
            let shown: Vec<String> =
                best.iter().take(SHOWN_TOKENS).map(|(id, logit)| format!("{id}: {logit:.4}")).collect();
            output::line(&format!("{position}  {}", shown.join("  ")))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
