//! Adapters in PEFT's form, over a base that is installed.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use hearth_data::Tokenizer;
use hearth_data::template::source_of;
use hearth_model::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, inspect_peft, read_peft_config};

use super::base::{config_of, vocabulary_problem};
use super::files::{Take, is_pickle, link_or_copy, names, pickle_problem, settle_template, take_as};
use super::problem::{Problem, TensorFiles};
use super::{AssembleError, TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, Templates, io_error};
use crate::{ModelRef, Service};

/// Lowest rank of an adapter that somebody brings.
pub const ADAPTER_RANK_MIN: u32 = 4;
/// Highest rank of an adapter that somebody brings.
pub const ADAPTER_RANK_MAX: u32 = 64;
/// Files of the base that complete an adapter without a tokenizer of its own, where they exist.
const TOKENIZER_FILES: [&str; 3] = [TOKENIZER_FILE, "special_tokens_map.json", "generation_config.json"];

/// What an adapter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFacts {
    /// Rank.
    pub r: u32,
    /// Adapted layers, in PEFT's names.
    pub target_modules: Vec<String>,
    /// Number of weights of the adapter alone.
    pub parameter_count: u64,
    /// What its owner should know.
    pub warnings: Vec<String>,
}

/// Fills the empty directory `dir` with the adapter in the directory `from`, and with the base's tokenizer and chat
/// template if it brings none; checks it against the base, and loads it once. Blocking.
///
/// # Errors
/// [`AssembleError::Refused`] with everything that is wrong. What is in `dir` then is of no use.
pub fn adapter(
    service: &Service,
    base_dir: &Path,
    from: &Path,
    dir: &Path,
) -> Result<AdapterFacts, AssembleError> {
    of_rank(ADAPTER_RANK_MIN..=ADAPTER_RANK_MAX, service, base_dir, from, dir)
}

/// What an adapter's configuration says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSettings {
    /// Rank.
    pub r: u32,
    /// It is scaled by `alpha / r`.
    pub alpha: f32,
    /// Adapted layers, in PEFT's names.
    pub target_modules: Vec<String>,
    /// Whether its tokenizer is the base's.
    pub has_tokenizer_of_base: bool,
}

/// The settings of an adapter that is installed. Blocking.
///
/// # Errors
/// [`AssembleError::Refused`] if it cannot be used over that base.
pub fn adapter_settings(base_dir: &Path, dir: &Path) -> Result<AdapterSettings, AssembleError> {
    let files = TensorFiles::only(ADAPTER_WEIGHTS_FILE);
    let config = read_peft_config(&config_of(base_dir)?, dir)
        .map_err(|error| AssembleError::Refused(vec![files.problem(&error)]))?;
    let read = |path: &Path| fs::read(path).map_err(io_error("read", path));
    let own = dir.join(TOKENIZER_FILE);
    Ok(AdapterSettings {
        r: u32::try_from(config.r).unwrap_or(u32::MAX),
        alpha: config.alpha,
        target_modules: config.target_modules.iter().map(|m| m.name().to_owned()).collect(),
        has_tokenizer_of_base: !own.exists() || read(&own)? == read(&base_dir.join(TOKENIZER_FILE))?,
    })
}

/// The same, for an adapter of one of these ranks.
pub(super) fn of_rank(
    ranks: RangeInclusive<u32>,
    service: &Service,
    base_dir: &Path,
    from: &Path,
    dir: &Path,
) -> Result<AdapterFacts, AssembleError> {
    let names = names(from)?;
    let mut problems = Vec::new();
    for name in &names {
        if is_pickle(name) {
            problems.push(pickle_problem(name));
        } else {
            take_as(Take::All, &from.join(name), &dir.join(name))?;
        }
    }
    let missing = |file: &&str| !names.iter().any(|name| name == file);
    let needed = [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE];
    problems
        .extend(needed.iter().filter(|file| missing(file)).map(|file| Problem::of_file(file, "is missing")));
    if !problems.is_empty() {
        return Err(AssembleError::Refused(problems));
    }
    let mut warnings = Vec::new();
    complete(base_dir, dir, &mut problems, &mut warnings)?;
    let base = config_of(base_dir)?;
    let files = TensorFiles::only(ADAPTER_WEIGHTS_FILE);
    let config = match inspect_peft(&base, dir) {
        Ok(config) => config,
        Err(found) => {
            problems.extend(found.iter().map(|error| files.problem(error)));
            return Err(AssembleError::Refused(problems));
        }
    };
    let r = u32::try_from(config.r).unwrap_or(u32::MAX);
    if !ranks.contains(&r) {
        let what = format!("r: {r} is not between {} and {}", ranks.start(), ranks.end());
        problems.push(Problem::of_file(ADAPTER_CONFIG_FILE, what));
    }
    match Tokenizer::open_over(dir, base_dir) {
        Err(error) => problems.push(Problem::of_file(TOKENIZER_FILE, error.to_string())),
        Ok(tokenizer) => {
            problems.extend(vocabulary_problem(&tokenizer, &base));
            problems.extend(check_template(service, base_dir, dir, &tokenizer)?);
        }
    }
    if !problems.is_empty() {
        return Err(AssembleError::Refused(problems));
    }
    let model = ModelRef { base_dir: base_dir.to_owned(), adapter_dir: Some(dir.to_owned()) };
    service.check(&model).map_err(AssembleError::Check)?;
    let per_block: usize = config.target_modules.iter().map(|&m| base.shape(m)).map(|(n, k)| n + k).sum();
    Ok(AdapterFacts {
        r,
        target_modules: config.target_modules.iter().map(|m| m.name().to_owned()).collect(),
        parameter_count: (per_block * config.r * base.num_hidden_layers) as u64,
        warnings,
    })
}

/// Adds the base's tokenizer, if the adapter has none, and its template, if it has none.
fn complete(
    base_dir: &Path,
    dir: &Path,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Result<(), AssembleError> {
    let own = dir.join(TOKENIZER_FILE);
    if own.exists() {
        let read = |path: &Path| fs::read(path).map_err(io_error("read", path));
        if read(&own)? != read(&base_dir.join(TOKENIZER_FILE))? {
            warnings.push(format!("{TOKENIZER_FILE} is not the base model's; it is used as it is"));
        }
    }
    let mut from_base: Vec<&str> = if own.exists() { Vec::new() } else { TOKENIZER_FILES.to_vec() };
    if !dir.join(TOKENIZER_CONFIG_FILE).exists() {
        from_base.push(TOKENIZER_CONFIG_FILE);
    }
    for name in from_base {
        add(base_dir, dir, name)?;
    }
    let found = settle_template(dir)?;
    if found.is_none() && !dir.join(TEMPLATE_FILE).exists() {
        add(base_dir, dir, TEMPLATE_FILE)?;
        problems.extend(settle_template(dir)?);
    }
    problems.extend(found);
    Ok(())
}

/// Adds a file of the base, if it has one of that name and the adapter has not.
fn add(base_dir: &Path, dir: &Path, name: &str) -> Result<(), AssembleError> {
    let (from, to) = (base_dir.join(name), dir.join(name));
    if from.exists() && !to.exists() { link_or_copy(&from, &to) } else { Ok(()) }
}

/// A template that is the base's own has been checked with the base.
fn check_template(
    service: &Service,
    base_dir: &Path,
    dir: &Path,
    tokenizer: &Tokenizer,
) -> Result<Option<Problem>, AssembleError> {
    let path = dir.join(TEMPLATE_FILE);
    let Ok(template) = fs::read_to_string(&path) else { return Ok(None) };
    if source_of(base_dir).is_ok_and(|base| base.as_deref() == Some(template.as_str())) {
        return Ok(None);
    }
    Templates::Apart(service).check(&template, tokenizer.special_tokens())
}
