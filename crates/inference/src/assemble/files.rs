//! Taking files over: what belongs to a model, and how it gets into the new directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hearth_model::{GGUF_FILE, INDEX_FILE, SINGLE_FILE};
use serde_json::Value;

use super::problem::Problem;
use super::{AssembleError, TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, io_error};

/// Files beside the weights that belong to every model.
const SMALL_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    TOKENIZER_CONFIG_FILE,
    "special_tokens_map.json",
    TEMPLATE_FILE,
];
/// Endings of files that hold pickled objects.
const PICKLES: [&str; 7] = [".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"];

/// Which files of a directory come along, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Copies of those that belong to a model: the owner of the directory may go on writing to the others and to them.
    Known,
    /// All, down to one level of folders, by a second name: they will never be written to again.
    All,
}

/// Whether a file at the top of a Hugging Face repository belongs to the model.
pub fn is_model_file(name: &str) -> bool {
    SMALL_FILES.contains(&name)
        || name == INDEX_FILE
        || name == SINGLE_FILE
        || name == GGUF_FILE
        || (!name.contains('/') && name.starts_with("model") && name.ends_with(".safetensors"))
}

/// Whether a file holds pickled objects by its name: reading one runs what its author wrote.
pub fn is_pickle(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PICKLES.iter().any(|ending| name.ends_with(ending))
}

/// Why a pickle is not taken.
pub(super) fn pickle_problem(name: &str) -> Problem {
    Problem::of_file(
        name,
        "is a pickle, and reading one can run any code; bring safetensors instead, or leave it out",
    )
}

/// Names of the files below `dir`, folders one level deep, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, AssembleError> {
    let mut names = Vec::new();
    for (name, path) in entries(dir)? {
        if path.is_dir() {
            for (inner, path) in entries(&path)? {
                if path.is_file() {
                    names.push(format!("{name}/{inner}"));
                }
            }
        } else {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, AssembleError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let path = entry.map_err(io_error("read", dir))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            found.push((name.to_owned(), path));
        }
    }
    Ok(found)
}

/// Takes one file over under another name.
pub(super) fn take_as(take: Take, from: &Path, to: &Path) -> Result<(), AssembleError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(io_error("create", parent))?;
    }
    match take {
        Take::All => link_or_copy(from, to),
        Take::Known => copy(from, to),
    }
}

/// A second name for the same file where the file system allows it; model files are never written to.
pub(super) fn link_or_copy(from: &Path, to: &Path) -> Result<(), AssembleError> {
    if fs::hard_link(from, to).is_ok() { Ok(()) } else { copy(from, to) }
}

fn copy(from: &Path, to: &Path) -> Result<(), AssembleError> {
    fs::copy(from, to).map(drop).map_err(io_error("copy", from))
}

/// Writes a file anew. One of that name may share its bytes with a file elsewhere, which stays as it is.
pub(super) fn write_new(path: &Path, text: &[u8]) -> Result<(), AssembleError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error("replace", path)(error)),
        _ => {}
    }
    fs::write(path, text).map_err(io_error("write", path))
}

/// Puts the chat template into both places where programs look for it.
pub(super) fn settle_template(dir: &Path) -> Result<Option<Problem>, AssembleError> {
    let config_path = dir.join(TOKENIZER_CONFIG_FILE);
    let mut config: Value = match fs::read(&config_path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(config @ Value::Object(_)) => config,
            Ok(_) => return Ok(Some(Problem::of_file(TOKENIZER_CONFIG_FILE, "is not a JSON object"))),
            Err(error) => {
                let what = format!("is not valid JSON: {error}");
                return Ok(Some(Problem::of_file(TOKENIZER_CONFIG_FILE, what)));
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Value::Object(serde_json::Map::new()),
        Err(error) => return Err(io_error("read", &config_path)(error)),
    };
    let template_path = dir.join(TEMPLATE_FILE);
    if template_path.exists() {
        let Ok(template) = fs::read_to_string(&template_path) else {
            return Ok(Some(Problem::of_file(TEMPLATE_FILE, "is not UTF-8 text")));
        };
        if config["chat_template"] != template {
            config["chat_template"] = Value::from(template);
            write_new(&config_path, format!("{config:#}\n").as_bytes())?;
        }
    } else if let Some(template) = config["chat_template"].as_str() {
        write_new(&template_path, template.as_bytes())?;
    }
    Ok(None)
}
