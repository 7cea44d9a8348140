//! `serving/`: tokenizer and chat template as they go with the adapter, and the proof that they give the prompts that are
//! trained.
//!
//! The adapter's directory gets these very files, so what is proven here, before the first step, is what is served. That
//! the ids of a serving prompt begin the sample that teaches its answer follows from how samples are made
//! ([`hearth_data::render`]); here it is looked at, for the first rows of each job.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_data::tokenizer::class_alone;
use hearth_data::{
    ChatTemplate, Conversation, Renderer, Row, RowContent, RowReader, Sample, source, template,
};
use hearth_run::{FACTS_FILE, Facts, JobSpec, RunDir};
use serde_json::Value;

use crate::checkpoint::write_synced;
use crate::digest;
use crate::error::{TrainError, io_error};
use crate::inputs::Inputs;
use crate::ledger::ENGINE;
use crate::output::{remove_if_there, sync_all};
use crate::samples::{Place, Samples};

/// Files of the base that go with the adapter unchanged, where they exist.
const COPIED_FILES: [&str; 3] = ["tokenizer.json", "special_tokens_map.json", "generation_config.json"];
pub(crate) const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";
const TEMPLATE_KEY: &str = "chat_template";
const CONFIG_FILE: &str = "config.json";
const CLASS_KEY: &str = "tokenizer_class";

/// The chat template that goes with the adapter, if there is one: that of the job, or one that makes the model think
/// only when it is told to, if no answer has thoughts and the prompts that were trained say so.
pub(crate) fn template(
    renderer: &Renderer,
    job: &JobSpec,
    train: &Samples,
    eval: &Samples,
) -> Result<Option<String>, TrainError> {
    let Some(own) = renderer.template() else { return Ok(None) };
    let given = own.source();
    let teaches_thoughts = train.teaches_thoughts || eval.teaches_thoughts;
    if !own.can_be_told_not_to_think() || teaches_thoughts {
        return Ok(Some(given.to_owned()));
    }
    let (mut turns, mut all) = (0, Fit { plain: true, without_thoughts: true });
    each_row(job, train, eval, |row, samples, is_whole| {
        for fit in fits_of(renderer, row, samples, is_whole) {
            turns += 1;
            all.plain &= fit.plain;
            all.without_thoughts &= fit.without_thoughts;
        }
        Ok(())
    })?;
    let must_be_told = turns > 0 && !all.plain && all.without_thoughts;
    Ok(Some(if must_be_told { template::without_thoughts(given) } else { given.to_owned() }))
}

/// Writes the directory and proves it. One that is there already and is the same stays, so that whoever reads it beside
/// a trainer that goes on finds it.
pub(crate) fn write(dir: &RunDir, inputs: &Inputs) -> Result<(), TrainError> {
    let to = dir.serving_path();
    let beside = to.with_extension("unfinished");
    remove_if_there(&beside)?;
    fs::create_dir(&beside).map_err(io_error("create", &beside))?;
    copy_tokenizer(&inputs.job.base_model_dir, &beside, inputs.template.as_deref())?;
    let facts = Facts {
        version: Facts::VERSION,
        engine: ENGINE.to_owned(),
        chat_template_sha256: inputs.ledger.header.template_sha256.clone(),
        base_sha256: inputs.identity.base_sha256.clone(),
        tokenizer_sha256: inputs.ledger.header.tokenizer_sha256.clone(),
        tokenizer_config_sha256: inputs.ledger.header.tokenizer_config_sha256.clone(),
        ledger_sha256: inputs.ledger.sha256().to_owned(),
        step: None,
    };
    let text = serde_json::to_vec_pretty(&facts).expect("facts are plain data");
    write_synced(&beside.join(FACTS_FILE), &text)?;
    prove(&beside, inputs)?;
    if to.exists() && digests(&to)? == digests(&beside)? {
        return remove_if_there(&beside);
    }
    remove_if_there(&to)?;
    sync_all(&beside)?;
    fs::rename(&beside, &to).map_err(io_error("rename", &beside))?;
    Ok(dir.sync()?)
}

/// Names and digests of the files of a directory.
fn digests(dir: &Path) -> Result<Vec<(PathBuf, String)>, TrainError> {
    let name = |path: &Path| path.strip_prefix(dir).unwrap_or(path).to_owned();
    files(dir)?.iter().map(|path| Ok((name(path), digest::file(path)?))).collect()
}

/// The files of the directory, sorted.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        files.push(entry.map_err(io_error("read", dir))?.path());
    }
    files.sort();
    Ok(files)
}

/// Opens the directory as a server opens that of an adapter, and compares the prompts that it gives for the first rows
/// with their samples.
///
/// # Errors
/// [`TrainError::Prompt`], with the line, if a sample does not begin with the prompt for its answer.
pub fn prove(dir: &Path, inputs: &Inputs) -> Result<(), TrainError> {
    let mut renderer = Renderer::open(dir, None).map_err(|source| TrainError::Tokenizer {
        whose: "the tokenizer and chat template that go with the adapter",
        source,
    })?;
    renderer.set_now_ms(inputs.now_ms);
    // Who wants thoughts of a model that learnt some asks for them, and who wants none says so.
    let may_tell = renderer.template().is_some_and(ChatTemplate::can_be_told_not_to_think);
    each_row(&inputs.job, &inputs.train, &inputs.eval, |row, samples, is_whole| {
        let fits = fits_of(&renderer, row, samples, is_whole);
        if !fits.is_empty() && fits.iter().all(|fit| fit.plain || may_tell && fit.without_thoughts) {
            return Ok(());
        }
        Err(TrainError::Prompt {
            message: format!(
                "the prompt that a server will give for an answer of line {} is not what the row's tokens begin with",
                row.line
            ),
        })
    })
}

/// Whether the prompts for an answer, told to think and told not to, end where its trained tokens begin.
#[derive(Clone, Copy, Debug)]
struct Fit {
    plain: bool,
    without_thoughts: bool,
}

/// For each trained answer of a row; if some of its samples are left out, for those that have one.
fn fits_of(renderer: &Renderer, row: &Row, samples: &[Sample], is_whole: bool) -> Vec<Fit> {
    // A prompt that cannot be made fits nothing.
    let begins = |prompt: Result<Vec<u32>, hearth_data::Error>| {
        prompt.is_ok_and(|prompt| samples.iter().any(|sample| begins_with(sample, &prompt)))
    };
    match &row.content {
        RowContent::Completion { prompt, .. } => {
            let plain = begins(renderer.completion_prompt(prompt));
            vec![Fit { plain, without_thoughts: plain }]
        }
        RowContent::Chat(Conversation { messages, tools }) => {
            let trained = (0..messages.len()).filter(|&index| messages[index].is_trained());
            let fit = |index: usize| Fit {
                plain: begins(renderer.prompt(&messages[..index], tools)),
                without_thoughts: begins(renderer.prompt_without_thoughts(&messages[..index], tools)),
            };
            trained.map(fit).filter(|fit| is_whole || fit.plain || fit.without_thoughts).collect()
        }
    }
}

/// Whether a sample begins with this prompt and teaches what follows it.
fn begins_with(sample: &Sample, prompt: &[u32]) -> bool {
    let end = prompt.len();
    // Nothing predicts the first token of a sample.
    let is_taught =
        |index: usize| sample.weights.get(index).is_some_and(|&weight| weight > 0.0) || index == 0;
    sample.tokens.starts_with(prompt) && is_taught(end) && (end == 0 || sample.weights[end - 1] == 0.0)
}

/// The rows of [`Samples::first`], with their samples, and whether these are all.
fn each_row(
    job: &JobSpec,
    train: &Samples,
    eval: &Samples,
    mut look: impl FnMut(&Row, &[Sample], bool) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let mut places = train.first.iter().copied().peekable();
    for (number, path) in job.train_files.iter().enumerate() {
        if places.peek().is_none_or(|place| place.file != number) {
            continue;
        }
        let input = source::open(path).map_err(io_error("open", path))?;
        for row in RowReader::new(input) {
            let row = row.map_err(|source| TrainError::Dataset { path: path.clone(), source })?;
            let is_this = |place: &Place| (place.file, place.line) == (number, row.line);
            if let Some(place) = places.next_if(is_this) {
                let samples = match train.of_row(number, row.line) {
                    [] => eval.of_row(number, row.line),
                    samples => samples,
                };
                look(&row, samples, place.is_whole)?;
            }
            if places.peek().is_none_or(|place| place.file != number) {
                break;
            }
        }
    }
    Ok(())
}

/// Copies the tokenizer. The template goes to both places where programs look for it, as it was trained
/// with, which need not be the base model's own.
fn copy_tokenizer(base: &Path, to: &Path, template: Option<&str>) -> Result<(), TrainError> {
    for name in COPIED_FILES {
        let from = base.join(name);
        if from.exists() {
            fs::copy(&from, to.join(name)).map_err(io_error("copy", &from))?;
        }
    }
    let path = base.join(TOKENIZER_CONFIG_FILE);
    let mut config = Value::Object(serde_json::Map::new());
    if path.exists() {
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        config = serde_json::from_slice(&text).map_err(|source| TrainError::Setting {
            message: format!("{TOKENIZER_CONFIG_FILE} of the base model is not JSON: {source}"),
        })?;
    }
    let model = fs::read(base.join(CONFIG_FILE)).map_err(io_error("read", &base.join(CONFIG_FILE)))?;
    let model: Value = serde_json::from_slice(&model).map_err(|source| TrainError::Setting {
        message: format!("{CONFIG_FILE} of the base model is not JSON: {source}"),
    })?;
    // The adapter has no config.json, by which some programs read a tokenizer.
    if let Some(class) = class_alone(&config, &model) {
        config[CLASS_KEY] = Value::from(class);
    }
    if let Some(template) = template {
        config[TEMPLATE_KEY] = Value::from(template);
        write_synced(&to.join(TEMPLATE_FILE), template.as_bytes())?;
    }
    let text = serde_json::to_vec_pretty(&config).expect("JSON values can be written");
    write_synced(&to.join(TOKENIZER_CONFIG_FILE), &text)
}
