//! Datasets: what is known about them and their files.

use serde::{Deserialize, Serialize};

use crate::code::Status;
use crate::id::{AccountId, DatasetId, DatasetRef};
use crate::location::Location;

/// Where a dataset stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetState {
    /// Files may be uploaded; nothing may use it.
    Uploading,
    /// All files are there and were checked.
    Ready,
}

/// Form of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetFormat {
    /// Not known yet, or neither of the others.
    #[default]
    Unspecified,
    /// `messages`.
    Chat,
    /// `prompt` and `completion`.
    Completion,
    /// Rows for reinforcement learning.
    Rl,
}

/// Where the rows came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DatasetSource {
    /// A user sent the files.
    #[default]
    UserUploaded,
    /// They are those of another dataset.
    Transformed {
        /// Which.
        dataset: DatasetRef,
        /// The format of that dataset.
        format: DatasetFormat,
    },
    /// They are some of those of another dataset.
    Splitted {
        /// Which.
        dataset: DatasetRef,
    },
}

/// One file of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetFile {
    /// Name, without directories.
    pub name: String,
    /// Size: announced before the upload, true after it.
    pub size_bytes: u64,
    /// Size that every upload must have; 0 lets it have any.
    #[serde(default)]
    pub announced_bytes: u64,
    /// Lower-case hex digest; `None` until the file is there.
    pub sha256: Option<String>,
}

impl DatasetFile {
    /// How the names of files with rows end: as they are, or packed by gzip or zstd.
    pub const EXTENSIONS: [&str; 3] = [".jsonl", ".jsonl.gz", ".jsonl.zst"];

    /// Whether a file of this name holds rows.
    pub fn is_rows_name(name: &str) -> bool {
        Self::EXTENSIONS.iter().any(|end| {
            name.rsplit('/').next().is_some_and(|name| name.len() > end.len() && name.ends_with(end))
        })
    }

    /// One that is to be uploaded.
    pub fn announced(name: impl Into<String>, announced_bytes: u64) -> Self {
        Self { name: name.into(), size_bytes: announced_bytes, announced_bytes, sha256: None }
    }

    /// One that is there.
    pub fn stored(name: impl Into<String>, size_bytes: u64, sha256: String) -> Self {
        Self { name: name.into(), size_bytes, announced_bytes: 0, sha256: Some(sha256) }
    }

    /// Whether it is there.
    pub fn is_stored(&self) -> bool {
        self.sha256.is_some()
    }
}

/// Rows to train on or to evaluate with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: DatasetId,
    /// For people.
    pub display_name: String,
    /// Where it stands.
    pub state: DatasetState,
    /// What is wrong with its files, or OK.
    pub status: Status,
    /// Form of its rows.
    pub format: DatasetFormat,
    /// Number of rows: announced before the check, true after it.
    pub example_count: u64,
    /// Its files, in the order in which they are read.
    pub files: Vec<DatasetFile>,
    /// Where its rows came from.
    #[serde(default)]
    pub source: DatasetSource,
    /// Where its rows lie, if that is not here: a URL that [`Location::parse`] reads. Only jobs read them.
    #[serde(default)]
    pub external_url: String,
    /// Resource name of the job that made it; empty if none did.
    #[serde(default)]
    pub source_job_name: String,
    /// Email of who made it.
    pub created_by: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl Dataset {
    /// Most files of one dataset.
    pub const FILES_MAX: usize = 256;

    /// One that has no files yet.
    pub fn new(name: DatasetRef, created_by: impl Into<String>, now_ms: i64) -> Self {
        Self {
            account: name.account,
            id: name.id,
            display_name: String::new(),
            state: DatasetState::Uploading,
            status: Status::default(),
            format: DatasetFormat::Unspecified,
            example_count: 0,
            files: Vec::new(),
            source: DatasetSource::UserUploaded,
            external_url: String::new(),
            source_job_name: String::new(),
            created_by: created_by.into(),
            create_time_ms: now_ms,
            update_time_ms: now_ms,
        }
    }

    /// Where its rows lie, if that is not here.
    pub fn location(&self) -> Option<Location> {
        // It was read when the dataset was made.
        Location::parse(&self.external_url).ok()
    }

    /// Its resource name, as a typed reference.
    pub fn name(&self) -> DatasetRef {
        DatasetRef { account: self.account.clone(), id: self.id.clone() }
    }
}
