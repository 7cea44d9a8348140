//! Bases: a Hugging Face directory with safetensors, or a GGUF file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hearth_data::Tokenizer;
use hearth_data::tokenizer::{GgufTokenizer, config_from_gguf, from_gguf};
use hearth_kernels::Cpu;
use hearth_model::gguf::Gguf;
use hearth_model::{Decoder, GGUF_FILE, INDEX_FILE, ModelConfig, SINGLE_FILE, convert, inspect_base};

use super::files::{
    Take, is_model_file, is_pickle, names, pickle_problem, settle_template, take_as, write_new,
};
use super::problem::{Problem, TensorFiles};
use super::{
    AssembleError, CONFIG_FILE, TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, Templates, io_error,
};
use crate::InferenceError;

/// How names of GGUF files end.
const GGUF_ENDING: &str = ".gguf";

/// What a base is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFacts {
    /// Number of weights.
    pub parameter_count: u64,
    /// Longest sequence, in tokens.
    pub context_length: u32,
    /// Architecture, as `config.json` names it.
    pub model_type: String,
    /// What its owner should know.
    pub warnings: Vec<String>,
}

/// Fills the empty directory `dir` with a base made of `from`, a GGUF file or a directory, and checks it: every file is
/// read, every number looked at, and the model loaded once. Blocking.
///
/// # Errors
/// [`AssembleError::Refused`] with everything that is wrong. What is in `dir` then is of no use.
pub fn base(
    from: &Path,
    take: Take,
    dir: &Path,
    backend: Arc<Cpu>,
    templates: Templates<'_>,
) -> Result<BaseFacts, AssembleError> {
    let mut problems = Vec::new();
    if from.is_dir() {
        take_directory(from, take, dir, &mut problems)?;
    } else {
        convert_gguf(from, take, dir, &mut problems)?;
    }
    if problems.is_empty() {
        problems.extend(settle_template(dir)?);
    }
    if !problems.is_empty() {
        return Err(AssembleError::Refused(problems));
    }
    check(dir, backend, templates)
}

/// Takes the model's files out of a directory. Without `config.json`, its one GGUF file is the model.
fn take_directory(
    from: &Path,
    take: Take,
    dir: &Path,
    problems: &mut Vec<Problem>,
) -> Result<(), AssembleError> {
    let names = names(from)?;
    let has = |name: &str| names.iter().any(|known| known == name);
    let ggufs: Vec<&String> =
        names.iter().filter(|name| !name.contains('/') && name.ends_with(GGUF_ENDING)).collect();
    let converted =
        if has(CONFIG_FILE) || ggufs.is_empty() || take == Take::Known { None } else { Some(ggufs[0]) };
    for name in &names {
        if take == Take::All && is_pickle(name) {
            problems.push(pickle_problem(name));
        } else if Some(name) != converted && (take == Take::All || is_model_file(name)) {
            take_as(take, &from.join(name), &dir.join(name))?;
        }
    }
    if let Some(name) = converted {
        if ggufs.len() > 1 {
            problems.push(Problem::of_all(format!(
                "there are {} GGUF files; bring one, or a directory with config.json and safetensors",
                ggufs.len()
            )));
            return Ok(());
        }
        return convert_gguf(&from.join(name), take, dir, problems);
    }
    for needed in [CONFIG_FILE, TOKENIZER_FILE] {
        if !has(needed) {
            problems.push(Problem::of_file(needed, "is missing"));
        }
    }
    if ![SINGLE_FILE, INDEX_FILE, GGUF_FILE].into_iter().any(has) {
        let what = format!("has none of {SINGLE_FILE}, {INDEX_FILE} and {GGUF_FILE}");
        problems.push(Problem::of_all(format!("the directory {what}")));
    }
    Ok(())
}

/// Writes what a GGUF file's metadata says as Hugging Face files, and takes the weights over.
fn convert_gguf(
    file: &Path,
    take: Take,
    dir: &Path,
    problems: &mut Vec<Problem>,
) -> Result<(), AssembleError> {
    let shown = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files = TensorFiles::only(&shown);
    let converted = Gguf::open(file).and_then(|gguf| convert::from_gguf(&gguf));
    let converted = match converted {
        Ok(converted) => converted,
        Err(error) => {
            problems.push(files.problem(&error));
            return Ok(());
        }
    };
    let meta = converted.tokenizer;
    let template = meta.chat_template.clone();
    let token_types: Result<Vec<i32>, _> = meta.token_types.into_iter().map(i32::try_from).collect();
    let Ok(token_types) = token_types else {
        problems.push(Problem::of_file(&shown, "a token type is out of range"));
        return Ok(());
    };
    let tokenizer = GgufTokenizer {
        model: meta.model,
        architecture: meta.architecture,
        pre: meta.pre.unwrap_or_default(),
        tokens: meta.tokens,
        token_types,
        scores: meta.scores,
        merges: meta.merges,
        bos_token_id: meta.bos_token_id,
        eos_token_id: meta.eos_token_id,
        padding_token_id: meta.pad_token_id,
        unknown_token_id: meta.unk_token_id,
        add_bos_token: meta.add_bos_token,
        add_space_prefix: meta.add_space_prefix,
        remove_extra_whitespaces: meta.remove_extra_whitespaces,
        precompiled_charsmap: meta.precompiled_charsmap,
        chat_template: meta.chat_template,
    };
    let texts = from_gguf(&tokenizer).and_then(|text| Ok((text, config_from_gguf(&tokenizer)?)));
    let (tokenizer, tokenizer_config) = match texts {
        Ok(texts) => texts,
        Err(error) => {
            problems.push(Problem::of_file(&shown, error.to_string()));
            return Ok(());
        }
    };
    write_new(&dir.join(CONFIG_FILE), format!("{:#}\n", converted.config).as_bytes())?;
    write_new(&dir.join(TOKENIZER_FILE), tokenizer.as_bytes())?;
    write_new(&dir.join(TOKENIZER_CONFIG_FILE), tokenizer_config.as_bytes())?;
    if let Some(template) = template {
        write_new(&dir.join(TEMPLATE_FILE), template.as_bytes())?;
    }
    take_as(take, file, &dir.join(GGUF_FILE))
}

/// Opens everything as a job and a chat would, so that what is damaged or not supported shows now.
fn check(dir: &Path, backend: Arc<Cpu>, templates: Templates<'_>) -> Result<BaseFacts, AssembleError> {
    let files = TensorFiles::of_base(dir);
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let tokenizer = Tokenizer::open(dir);
    let template_path = dir.join(TEMPLATE_FILE);
    match &tokenizer {
        Err(error) => problems.push(Problem::of_file(TOKENIZER_FILE, error.to_string())),
        Ok(tokenizer) if template_path.exists() => {
            let template = fs::read_to_string(&template_path).map_err(io_error("read", &template_path))?;
            problems.extend(templates.check(&template, tokenizer.special_tokens())?);
        }
        Ok(_) => warnings.push(
            "there is no chat template: chats and rows with messages need one, in chat_template.jinja or in \
             tokenizer_config.json"
                .to_owned(),
        ),
    }
    let config = match inspect_base(dir) {
        Ok(config) => config,
        Err(found) => {
            problems.extend(found.iter().map(|error| files.problem(error)));
            return Err(AssembleError::Refused(problems));
        }
    };
    if let Ok(tokenizer) = &tokenizer {
        problems.extend(vocabulary_problem(tokenizer, &config));
    }
    if !problems.is_empty() {
        return Err(AssembleError::Refused(problems));
    }
    if let Err(error) = Decoder::load(backend, dir) {
        return Err(AssembleError::Refused(vec![files.problem(&error)]));
    }
    warnings.extend(code_warnings(dir)?);
    Ok(BaseFacts {
        parameter_count: config.parameter_count(),
        context_length: u32::try_from(config.max_position_embeddings).unwrap_or(u32::MAX),
        model_type: config.model_type,
        warnings,
    })
}

/// A tokenizer must not give tokens that the model has no row for.
pub(super) fn vocabulary_problem(tokenizer: &Tokenizer, config: &ModelConfig) -> Option<Problem> {
    let (tokens, rows) = (tokenizer.vocab_size(), config.vocab_size);
    (tokens > rows).then(|| {
        let what = format!("has {tokens} tokens, the model's vocabulary only {rows}");
        Problem::of_file(TOKENIZER_FILE, what)
    })
}

/// Programs among the files are kept and never run.
fn code_warnings(dir: &Path) -> Result<Option<String>, AssembleError> {
    let programs: Vec<String> = names(dir)?.into_iter().filter(|name| name.ends_with(".py")).collect();
    if programs.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("{}: kept, and never run", programs.join(", "))))
}

/// Loads a base for the checks of an adapter over it.
pub(super) fn config_of(base_dir: &Path) -> Result<ModelConfig, AssembleError> {
    ModelConfig::read(base_dir).map_err(|source| {
        AssembleError::Check(InferenceError::LoadModel { dir: base_dir.to_owned(), source })
    })
}
