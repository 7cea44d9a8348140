//! House rules that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{cargo, root};

/// Which workspace crate may use which, at run time and in tests.
const EDGES: [(&str, &[&str]); 12] = [
    ("proto", &[]),
    ("domain", &[]),
    ("run", &[]),
    ("remote", &["domain", "run"]),
    ("store", &["domain"]),
    ("data", &[]),
    ("kernels", &[]),
    ("model", &["kernels"]),
    ("train", &["data", "kernels", "model", "run"]),
    ("inference", &["data", "kernels", "model"]),
    ("server", &["data", "domain", "inference", "proto", "remote", "run", "store"]),
    ("client", &["proto"]),
];

/// Longest source file without its tests; longer ones want to be two.
const FILE_LINES_MAX: usize = 700;

/// Directories that hold no sources of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// Runs all checks and reports every finding at once.
pub fn run() -> Result<()> {
    let mut findings = Vec::new();
    check_edges(&mut findings)?;
    for file in tracked_files()? {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => check_source(&file, &mut findings)?,
            Some("md") => check_markdown(&file, &mut findings)?,
            _ => {}
        }
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    ensure!(findings.is_empty(), "{} findings", findings.len());
    println!("tidy: ok");
    Ok(())
}

fn check_edges(findings: &mut Vec<String>) -> Result<()> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    for package in metadata["packages"].as_array().context("metadata has packages")? {
        let Some(name) = package["name"].as_str().and_then(|name| name.strip_prefix("hearth-")) else {
            continue;
        };
        if name == "cli" {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
            findings.push(format!("crate {name} has no row in the table of edges (xtask/src/tidy.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("package has dependencies")? {
            if let Some(to) = dependency["name"].as_str().and_then(|name| name.strip_prefix("hearth-"))
                && !allowed.contains(&to)
            {
                findings.push(format!("crate {name} may not use crate {to}"));
            }
        }
    }
    Ok(())
}

fn check_source(file: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = read(file)?;
    let shown = file.display();
    if !text.starts_with("//!") {
        findings.push(format!("{shown} does not open with a //! text"));
    }
    if file.ends_with("src/lib.rs") {
        for heading in ["What it is for", "Data flow", "Neighbours", "Invariants"] {
            if !text.contains(&format!("//! # {heading}")) {
                findings.push(format!("{shown} lacks the heading `# {heading}`"));
            }
        }
    }
    let lines = text.lines().count();
    let is_test = file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs");
    if lines > FILE_LINES_MAX && !is_test {
        findings.push(format!("{shown} has {lines} lines, more than {FILE_LINES_MAX}"));
    }
    Ok(())
}

/// Paths in backquotes and in links must exist.
fn check_markdown(file: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = read(file)?;
    let base = root().join(file).parent().context("file has a parent")?.to_owned();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for path in paths_in(line) {
            if !root().join(&path).exists() && !base.join(&path).exists() {
                findings.push(format!("{}:{} names {path}, which does not exist", file.display(), index + 1));
            }
        }
    }
    Ok(())
}

/// Words in backquotes and link targets that look like paths of this repository.
fn paths_in(line: &str) -> Vec<String> {
    let top: BTreeSet<String> = fs::read_dir(root())
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    let quoted = line.split('`').skip(1).step_by(2);
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let looks_like_path = |word: &&str| {
        let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
        let first = word.split('/').next().unwrap_or_default();
        plain && word.contains('/') && top.contains(first) && first != "target"
    };
    let linked = linked.filter(|target| !target.contains("://") && !target.starts_with('#'));
    quoted
        .filter(looks_like_path)
        .chain(linked)
        .map(|path| path.split('#').next().unwrap_or(path).to_owned())
        .collect()
}

fn tracked_files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("file names are UTF-8")?;
    let skipped = |path: &&str| SKIPPED.iter().any(|skip| path.split('/').any(|part| part == *skip));
    Ok(text
        .lines()
        .filter(|path| !skipped(path))
        .map(PathBuf::from)
        .filter(|path| root().join(path).exists())
        .collect())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::paths_in;

    #[test]
    fn only_paths_of_this_repository_are_checked() {
        let check = |line: &str, expect: &[&str]| assert_eq!(paths_in(line), expect, "{line}");
        check("see `crates/run/src/lib.rs` and `a/b`", &["crates/run/src/lib.rs"]);
        check("[the tour](docs/tour.md#top), [site](https://example.com/x)", &["docs/tour.md"]);
        check("`POST /v1/accounts`, `--flag`, `target/python`", &[]);
    }
}
