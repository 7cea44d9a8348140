//! The ledger of a run: what became of every row, and what the run was made of.
//!
//! `ledger.jsonl.zst` holds lines of JSON, packed by zstd. The first line is a [`Header`]; an [`Entry`] for each row follows,
//! in the order of the files. That of a run tells what is planned: it is written whole before the first step, and again by
//! each trainer that goes on, with the same bytes. What goes with an adapter is made of it by [`write_of_step`]: rows that
//! the first epoch had not come to by then are [`Usage::NotReached`]. The digest of a ledger is that of its unpacked lines:
//! `zstd -dc ledger.jsonl.zst | sha256sum` gives it.
//!
//! No contents of rows stand in it. Digests of rows and samples have 128 bits: the first half of a SHA-256.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::dir::{io_error, sync_dir};
use crate::{DataOrigin, RunError, is_default};

/// Version of the format.
pub const VERSION: u32 = 1;
/// Name of the file, in a run directory and beside an adapter.
pub const LEDGER_FILE: &str = "ledger.jsonl.zst";
/// Longest first line that is read, in bytes: it names each data file.
const HEADER_MAX_BYTES: usize = 16 << 20;
/// Longest other line that is read, in bytes.
const ENTRY_MAX_BYTES: usize = 4 << 10;
/// Most rows of a ledger: those of two datasets, of which each file may hold as many as a dataset.
const ROWS_MAX: u64 = 1 << 32;
/// How hard it is packed. Half of it are digests, which cannot be packed at all.
const ZSTD_LEVEL: i32 = 3;
/// Largest window that unpacking takes, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;
const BUFFER_BYTES: usize = 256 << 10;

/// 128 bits of a SHA-256; written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowDigest(pub [u8; 16]);

impl RowDigest {
    /// Digits of its text.
    pub const DIGITS: usize = 32;

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// Of what was hashed.
    pub fn finish(hasher: Sha256) -> Self {
        let whole = hasher.finalize();
        Self(whole[..16].try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why a text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the digest of a row has {} hexadecimal digits", RowDigest::DIGITS)]
pub struct NoDigest;

impl FromStr for RowDigest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NoDigest)?;
        Ok(Self(bytes))
    }
}

impl Serialize for RowDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the files of a run are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Their rows are trained on.
    Train,
    /// Their rows are scored.
    Eval,
}

/// One file of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Its name in the run directory.
    pub name: String,
    /// SHA-256 of its bytes as they lie there, packed or not.
    pub sha256: String,
    /// What it is for.
    pub part: Part,
    /// Where it came from, if the run was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<DataOrigin>,
}

impl DataFile {
    /// What its owner calls it.
    pub fn own_name(&self) -> &str {
        match &self.origin {
            Some(DataOrigin { file: Some(file), .. }) => file,
            _ => &self.name,
        }
    }
}

/// How many rows went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Rows read: those below together.
    pub rows: u64,
    /// Trained on.
    pub train: u64,
    /// Planned to be trained on, but the adapter is of a step before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_reached: u64,
    /// Scored; from evaluation files.
    pub eval: u64,
    /// Scored; set aside of the training files.
    pub carved_out: u64,
    /// Left out because all their samples are longer than the limit.
    pub dropped_too_long: u64,
    /// Samples that are left out as too long, also of rows of which others are used.
    pub samples_too_long: u64,
    /// Samples that are trained on.
    pub train_samples: u64,
    /// Their tokens.
    pub train_tokens: u64,
    /// Of these, tokens with a loss weight.
    pub trained_tokens: u64,
}

impl Counts {
    /// Counts one row more.
    pub fn add(&mut self, entry: &Entry) {
        self.rows += 1;
        self.samples_too_long += u64::from(entry.too_long);
        match entry.usage {
            Usage::Train => {
                self.train += 1;
                self.train_samples += u64::from(entry.samples);
                self.train_tokens += u64::from(entry.tokens);
                self.trained_tokens += u64::from(entry.trained_tokens);
            }
            Usage::NotReached => self.not_reached += 1,
            Usage::Eval => self.eval += 1,
            Usage::CarvedOut => self.carved_out += 1,
            Usage::Dropped => self.dropped_too_long += 1,
        }
    }
}

/// The first line: what the run was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Name and version of the program that trained.
    pub engine: String,
    /// The data files, in the order in which they are read.
    pub files: Vec<DataFile>,
    /// SHA-256 of the base's configuration and weights, as in a checkpoint.
    pub base_sha256: String,
    /// SHA-256 of the chat template that goes with the adapter, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_sha256: Option<String>,
    /// SHA-256 of the base's `tokenizer.json`, if it has one; a tokenizer of GGUF metadata is part of `base_sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_sha256: Option<String>,
    /// SHA-256 of the base's `tokenizer_config.json`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_config_sha256: Option<String>,
    /// SHA-256 of the ids and weights of all samples, as in a checkpoint.
    pub samples_sha256: String,
    /// SHA-256 of the adapter that the run went on from, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start_sha256: Option<String>,
    /// Name of the model that this adapter is of, if the run was told. Its own rows stand in its own ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start_model: Option<String>,
    /// SHA-256 of the lines of that ledger, as that model says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start_ledger_sha256: Option<String>,
    /// Optimiser steps behind the adapter that this goes with; none in the ledger of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Longest sample, in tokens.
    pub max_context_length: u32,
    /// Seed of the run.
    pub seed: u64,
    /// What follows, counted.
    pub counts: Counts,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    /// Trained on; in the ledger of a run: to be trained on.
    Train,
    /// To be trained on at a step that the adapter does not have behind it.
    NotReached,
    /// Scored; it stands in an evaluation file.
    Eval,
    /// Scored; it was set aside of a training file.
    CarvedOut,
    /// Left out.
    Dropped,
}

impl Usage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Train, Self::NotReached, Self::Eval, Self::CarvedOut, Self::Dropped];

    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::NotReached => "not_reached",
            Self::Eval => "eval",
            Self::CarvedOut => "carved_out",
            Self::Dropped => "dropped",
        }
    }
}

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// All its samples are longer than the limit.
    TooLong,
}

impl Reason {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Number of its file, from 0.
    pub file: u32,
    /// Its line there, from 1.
    pub line: u64,
    /// Of its bytes, without white space around them.
    pub row: RowDigest,
    /// What became of it.
    #[serde(rename = "use")]
    pub usage: Usage,
    /// Why it is left out; given exactly for rows that are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Reason>,
    /// The optimiser step, from 1, that trains on it first; absent in rows that are not trained on, and in ledgers of
    /// earlier builds. A row of several samples counts from the first of them on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Samples that are made of it and used.
    pub samples: u32,
    /// Samples that are left out as too long.
    #[serde(default, skip_serializing_if = "is_default")]
    pub too_long: u32,
    /// Tokens of its samples.
    pub tokens: u32,
    /// Of these, tokens with a loss weight.
    pub trained_tokens: u32,
    /// Of the ids and loss weights of its samples; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<RowDigest>,
}

impl Entry {
    /// As it is in the ledger of an adapter with so many steps behind it.
    fn at_step(self, step: u64) -> Self {
        let is_later = self.step.is_some_and(|first| first > step);
        match self.usage {
            Usage::Train if is_later => Self { usage: Usage::NotReached, ..self },
            _ => self,
        }
    }
}

/// Writes a ledger, synced and renamed into place, and returns its SHA-256. The counts of the header must be those of the
/// entries.
pub fn write(path: &Path, header: &Header, entries: &[Entry]) -> Result<String, RunError> {
    write_all(path, header, entries.iter().copied().map(Ok))
}

/// Writes the ledger that goes with the adapter of a step, made of that of its run, and returns its header and its SHA-256.
///
/// # Errors
/// Those of reading `run` and of writing `to`.
pub fn write_of_step(run: &Path, to: &Path, step: u64) -> Result<(Header, String), RunError> {
    let planned = LedgerReader::open(run)?;
    let mut header = Header { step: Some(step), counts: Counts::default(), ..planned.header().clone() };
    for entry in planned {
        header.counts.add(&entry?.at_step(step));
    }
    let entries = LedgerReader::open(run)?.map(|entry| entry.map(|entry| entry.at_step(step)));
    let sha256 = write_all(to, &header, entries)?;
    Ok((header, sha256))
}

fn write_all(
    path: &Path,
    header: &Header,
    entries: impl Iterator<Item = Result<Entry, RunError>>,
) -> Result<String, RunError> {
    let beside = path.with_extension("tmp");
    let failed = || io_error("write", &beside);
    let file = File::create(&beside).map_err(io_error("create", &beside))?;
    let mut writer = Writer::new(&file, header).map_err(failed())?;
    for entry in entries {
        writer.line(&entry?).map_err(failed())?;
    }
    let sha256 = writer.finish().map_err(failed())?;
    file.sync_all().map_err(failed())?;
    std::fs::rename(&beside, path).map_err(io_error("rename", &beside))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(sha256)
}

/// Packs lines.
struct Writer<'a> {
    packed: BufWriter<Hashing<zstd::Encoder<'static, BufWriter<&'a File>>>>,
}

impl<'a> Writer<'a> {
    fn new(file: &'a File, header: &Header) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(BufWriter::new(file), ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        let hashing = Hashing { hasher: Sha256::new(), to: encoder };
        let mut writer = Self { packed: BufWriter::with_capacity(BUFFER_BYTES, hashing) };
        writer.line(header)?;
        Ok(writer)
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.packed, line)?;
        self.packed.write_all(b"\n")
    }

    /// Gives the SHA-256 of the lines.
    fn finish(self) -> io::Result<String> {
        let Hashing { hasher, to } = self.packed.into_inner().map_err(io::IntoInnerError::into_error)?;
        to.finish()?.flush()?;
        Ok(hex::encode(hasher.finalize()))
    }
}

/// Passes bytes on and hashes them.
struct Hashing<W> {
    hasher: Sha256,
    to: W,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Reads a ledger with bounded memory: the entries one after the other.
pub struct LedgerReader {
    path: PathBuf,
    input: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    header: Header,
    line: Vec<u8>,
    read: u64,
    ended: bool,
}

impl LedgerReader {
    /// Opens the ledger in this file and reads its header.
    ///
    /// # Errors
    /// [`RunError::Io`] if the file cannot be opened, and [`RunError::Ledger`] if it does not begin as a ledger does.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let file = File::open(path).map_err(io_error("open", path))?;
        let mut unpacked = zstd::Decoder::new(file).map_err(io_error("read", path))?;
        unpacked.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(io_error("read", path))?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, unpacked);
        let mut line = Vec::new();
        let damaged = |message: String| RunError::Ledger { path: path.to_owned(), message };
        if !next_line(&mut input, &mut line, HEADER_MAX_BYTES).map_err(&damaged)? {
            return Err(damaged("it is empty".to_owned()));
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let no_header = |_| damaged("its first line is no header".to_owned());
        let found = serde_json::from_slice::<Version>(&line).map_err(no_header)?.version;
        if found != VERSION {
            return Err(damaged(format!("it has version {found}; this program knows version {VERSION}")));
        }
        let header: Header = serde_json::from_slice(&line).map_err(no_header)?;
        if header.counts.rows > ROWS_MAX {
            return Err(damaged(format!("it tells of more than {ROWS_MAX} rows")));
        }
        Ok(Self { path: path.to_owned(), input, header, line, read: 0, ended: false })
    }

    /// What the run was made of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The entries of one row, wherever it stands. Lines without it are not taken apart, which is what makes looking
    /// through many ledgers quick.
    pub fn find(mut self, row: &RowDigest) -> Result<Vec<Entry>, RunError> {
        let text = row.to_string();
        let finder = memchr::memmem::Finder::new(text.as_bytes());
        let mut found = Vec::new();
        while self.next_line()? {
            if finder.find(&self.line).is_some() {
                let entry = self.entry()?;
                // The digits may be those of its samples.
                found.extend(Some(entry).filter(|entry| entry.row == *row));
                if found.len() == FOUND_MAX {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Reads a line; false behind the last one, of which there must be as many as the header says.
    fn next_line(&mut self) -> Result<bool, RunError> {
        let damaged = |message: String| RunError::Ledger { path: self.path.clone(), message };
        if !next_line(&mut self.input, &mut self.line, ENTRY_MAX_BYTES).map_err(&damaged)? {
            return match self.read == self.header.counts.rows {
                true => Ok(false),
                false => {
                    Err(damaged(format!("it ends after {} of {} rows", self.read, self.header.counts.rows)))
                }
            };
        }
        self.read += 1;
        if self.read > self.header.counts.rows {
            return Err(damaged(format!("it has more than {} rows", self.header.counts.rows)));
        }
        Ok(true)
    }

    fn entry(&self) -> Result<Entry, RunError> {
        serde_json::from_slice(&self.line).map_err(|_| RunError::Ledger {
            path: self.path.clone(),
            message: format!("line {} is no row", self.read + 1),
        })
    }
}

/// Most places of one row in a ledger that are told.
pub const FOUND_MAX: usize = 100;

impl Iterator for LedgerReader {
    type Item = Result<Entry, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_line().and_then(|more| if more { self.entry().map(Some) } else { Ok(None) });
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// Reads a line without its break; false at the end. The error says what is wrong.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>, max_bytes: usize) -> Result<bool, String> {
    line.clear();
    input
        .take(max_bytes as u64)
        .read_until(b'\n', line)
        .map_err(|error| format!("it cannot be unpacked: {error}"))?;
    match line.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) if line.len() + 1 == max_bytes => Err(format!("a line is longer than {max_bytes} bytes")),
        Some(_) => Err("it ends within a line".to_owned()),
    }
}

#[cfg(test)]
mod tests;
