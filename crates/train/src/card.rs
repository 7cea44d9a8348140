//! The model card of an adapter. The same run gives the same text: no times, no names of machines.

use std::fmt::Write;

use hearth_model::Module;
use hearth_run::ledger::LEDGER_FILE;
use hearth_run::{Backend, LrSchedule, Precision};

use crate::checkpoint::{Patience, Progress};
use crate::inputs::Inputs;
use crate::ledger::Written;
use crate::schedule::decimal;

/// Data files that the card names; all stand in the ledger.
const FILES_MAX: usize = 20;

/// `README.md`: front matter as the Hugging Face hub reads it, settings, losses and digests.
/// `ledger` is that of the adapter.
pub(crate) fn text(
    inputs: &Inputs,
    ledger: &Written,
    progress: &Progress,
    adapted: &[Module],
    adapter_sha256: &str,
) -> String {
    let job = &inputs.job;
    // JSON strings are YAML strings.
    let base = serde_json::Value::from(job.base_model_name.as_str());
    let mut card = format!(
        "---\nbase_model: {base}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n---\n\n\
         # LoRA adapter for {}\n\n\
         Trained with Hearth {} by supervised fine-tuning. Load it over its base with PEFT:\n\n\
         ```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n\
         base = AutoModelForCausalLM.from_pretrained(\"PATH_OF_THE_BASE_MODEL\")\n\
         model = PeftModel.from_pretrained(base, \"PATH_OF_THIS_DIRECTORY\")\n```\n\n",
        job.base_model_name,
        env!("CARGO_PKG_VERSION"),
    );
    let batch = match job.batch_size_samples {
        0 => format!("{} tokens", job.batch_size_tokens),
        samples => format!("{samples} samples"),
    };
    let backend = match job.backend {
        Backend::Cpu => "cpu",
        Backend::Reference => "reference",
    };
    let precision = match job.precision {
        Precision::Bf16 => "bf16",
        Precision::F32 => "f32",
        Precision::Int8 => "int8",
    };
    let loss = |loss: Option<f64>| loss.map_or("none".to_owned(), |loss| format!("{loss:.6}"));
    let settings = [
        ("epochs", job.epochs.to_string()),
        ("steps", progress.step.to_string()),
        ("tokens processed", progress.total_tokens.to_string()),
        ("learning rate", decimal(job.learning_rate).to_string()),
        ("warm-up steps", job.learning_rate_warmup_steps.to_string()),
        ("learning rate after the warm-up", schedule(job.lr_schedule)),
        ("weight decay", decimal(job.weight_decay).to_string()),
        ("batch", batch),
        ("gradient accumulation steps", job.gradient_accumulation_steps.to_string()),
        ("longest sample", format!("{} tokens", job.max_context_length)),
        ("LoRA rank", job.lora_rank.to_string()),
        ("LoRA alpha", decimal(job.lora_alpha).to_string()),
        ("adapted layers", adapted.iter().map(|module| module.name()).collect::<Vec<_>>().join(", ")),
        ("seed", job.seed.to_string()),
        ("backend and precision", format!("{backend}, {precision}")),
        ("training samples", inputs.train.samples.len().to_string()),
        ("evaluation samples", inputs.eval.samples.len().to_string()),
        ("loss of the last step", loss(progress.train_loss)),
        ("last evaluation loss", loss(progress.eval_loss)),
    ];
    table(&mut card, "Setting", "Value", &settings);
    if let Some(patience) = &progress.patience {
        let Patience { best_step, best_loss, .. } = patience;
        writeln!(
            card,
            "\nThe adapter is that of step {best_step}, which has the lowest evaluation loss, {best_loss:.6}."
        )
        .expect("a string takes all text");
    }
    let counts = &ledger.header.counts;
    let too_long = format!("left out, longer than {} tokens", job.max_context_length);
    let rows = [
        ("read", counts.rows),
        ("trained on", counts.train),
        ("not reached: of later steps than that of the adapter", counts.not_reached),
        ("scored, of evaluation files", counts.eval),
        ("scored, set aside of the training files", counts.carved_out),
        (too_long.as_str(), counts.dropped_too_long),
        ("samples left out as too long, also of rows that are used", counts.samples_too_long),
    ];
    card.push('\n');
    table(&mut card, "Rows", "Count", &rows.map(|(what, count)| (what, count.to_string())));
    writeln!(card, "\nWhat became of each row stands in {LEDGER_FILE}.").expect("a string takes all text");
    let none = || "none".to_owned();
    let template = ledger.header.template_sha256.clone().unwrap_or_else(none);
    let digests = [
        ("adapter_model.safetensors", adapter_sha256.to_owned()),
        ("base model (config.json and weights)", inputs.identity.base_sha256.clone()),
        ("chat template", template),
        ("data files", inputs.identity.data_sha256.clone()),
        ("tokenizer.json", ledger.header.tokenizer_sha256.clone().unwrap_or_else(none)),
        ("tokenizer_config.json", ledger.header.tokenizer_config_sha256.clone().unwrap_or_else(none)),
        ("tokenised samples", inputs.identity.samples_sha256.clone()),
        ("lines of the ledger", ledger.sha256.clone()),
    ];
    card.push('\n');
    table(&mut card, "What", "SHA-256", &digests);
    for file in ledger.header.files.iter().take(FILES_MAX) {
        // Names of uploads are plain, those of a run by hand need not be.
        let name: String =
            file.own_name().chars().map(|c| if c == '|' || c.is_control() { '_' } else { c }).collect();
        writeln!(card, "| data file {name} | {} |", file.sha256).expect("a string takes all text");
    }
    if let Some(sha256) = &inputs.identity.warm_start_sha256 {
        let parent = ledger.header.warm_start_model.as_deref().unwrap_or("adapter");
        writeln!(card, "| {parent}, which the training went on from | {sha256} |")
            .expect("a string takes all text");
    }
    card
}

fn schedule(schedule: LrSchedule) -> String {
    match schedule {
        LrSchedule::Constant => "constant".to_owned(),
        LrSchedule::Linear => "linear to 0".to_owned(),
        LrSchedule::Cosine { min_ratio, decay_ratio } => {
            let (least, last) = (decimal(min_ratio), decimal(decay_ratio));
            format!("cosine to {least} of it, over the last {last} of the steps")
        }
    }
}

fn table(card: &mut String, left: &str, right: &str, rows: &[(&str, String)]) {
    let mut line = |a: &str, b: &str| writeln!(card, "| {a} | {b} |").expect("a string takes all text");
    line(left, right);
    line("---", "---");
    for (name, value) in rows {
        line(name, value);
    }
}
