//! What is to be fetched and what was, in the run directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hearth_domain::{Dataset, DatasetFile, Location, RemoteFile};
use hearth_run::write_synced;
use serde::{Deserialize, Serialize};

use super::patience::Patience;
use super::request::Part;
use super::{FetchError, io};
use crate::error::RemoteError;
use crate::folder::Folder;

/// What is to be fetched.
const PLAN_FILE: &str = "fetch.json";
/// What was fetched; it is there when all of it is.
pub const FETCHED_FILE: &str = "fetched.json";
/// How the names of files end that are not whole.
pub(super) const PART_EXTENSION: &str = "part";
/// How the names of fetched files end, packed ones too: readers tell by the first bytes.
const ROWS_EXTENSION: &str = ".jsonl";
/// Objects that a folder may have, with those that are not rows.
const LISTED_MAX: usize = 10_000;
/// Longest file, in bytes.
const FILE_MAX_BYTES: u64 = 5 << 30;

/// What is to be fetched, as it was when it was listed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) parts: Vec<PlannedPart>,
}

/// The files of one use.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlannedPart {
    pub(super) name: String,
    pub(super) location: Location,
    pub(super) files: Vec<RemoteFile>,
}

impl PlannedPart {
    /// The file's name in the run directory: they are numbered in reading order.
    pub(super) fn file_name(&self, index: usize) -> String {
        format!("{}-{index:04}{ROWS_EXTENSION}", self.name)
    }
}

impl Plan {
    /// The plan of an earlier process, if it is of the same places.
    pub(super) fn read(data: &Path, wanted: &[Part]) -> Result<Option<Self>, FetchError> {
        let path = data.join(PLAN_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(io("read", &path))?,
        };
        let plan: Option<Self> = serde_json::from_slice(&text).ok();
        let of = |plan: &Self| {
            let pairs = plan.parts.iter().map(|part| (&part.name, &part.location));
            pairs.eq(wanted.iter().map(|part| (&part.name, &part.location)))
        };
        if plan.as_ref().is_some_and(of) {
            return Ok(plan);
        }
        forget(data);
        Ok(None)
    }

    /// Lists what is there and writes it down.
    pub(super) async fn make(
        data: &Path,
        wanted: &[Part],
        folders: &[Folder],
        patience: &mut Patience,
    ) -> Result<Self, FetchError> {
        let mut parts = Vec::new();
        for (part, folder) in wanted.iter().zip(folders) {
            let files = patience.insist(async || listed(folder, &part.location).await).await?;
            parts.push(PlannedPart { name: part.name.clone(), location: part.location.clone(), files });
        }
        let plan = Self { parts };
        let text = serde_json::to_vec_pretty(&plan)
            .map_err(|source| RemoteError::internal("writing what is to be fetched", source))?;
        write_synced(&data.join(PLAN_FILE), &text)?;
        Ok(plan)
    }

    /// What it makes when it is done.
    pub(super) fn fetched(&self) -> Fetched {
        let part = |part: &PlannedPart| FetchedPart {
            name: part.name.clone(),
            files: part
                .files
                .iter()
                .enumerate()
                .map(|(index, file)| (part.file_name(index), file.size_bytes))
                .collect(),
        };
        Fetched { parts: self.parts.iter().map(part).collect() }
    }
}

/// The files with rows, in the order of their keys.
async fn listed(folder: &Folder, location: &Location) -> Result<Vec<RemoteFile>, RemoteError> {
    let mut files = match location.is_folder() {
        true => folder.list(LISTED_MAX).await?,
        false => vec![folder.look_up(location.path()).await?],
    };
    let objects = files.len();
    files.retain(|file| DatasetFile::is_rows_name(&file.key));
    files.sort_by(|a, b| a.key.cmp(&b.key));
    if files.is_empty() {
        let what =
            format!("there are no files with rows in {location}; their names end with {}", extensions());
        return Err(RemoteError::NotFound(what));
    }
    if objects > files.len() {
        let others = objects - files.len();
        super::log(&format!("the names of {others} objects in {location} do not end with {}", extensions()));
    }
    if files.len() > Dataset::FILES_MAX {
        return Err(RemoteError::Invalid(format!(
            "{location} has {} files; at most {} are read",
            files.len(),
            Dataset::FILES_MAX
        )));
    }
    if let Some(file) = files.iter().find(|file| file.size_bytes > FILE_MAX_BYTES) {
        return Err(RemoteError::Invalid(format!(
            "{}{} has {} bytes; at most {FILE_MAX_BYTES} are read",
            location.root(),
            file.key,
            file.size_bytes
        )));
    }
    Ok(files)
}

/// What was fetched.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fetched {
    parts: Vec<FetchedPart>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FetchedPart {
    name: String,
    /// Names and sizes, in reading order.
    files: Vec<(String, u64)>,
}

impl Fetched {
    /// What was fetched into `data/` of a run, if all of it was. What is there but not whole counts as not fetched.
    fn whole(data: &Path) -> std::io::Result<Option<Self>> {
        let text = match fs::read(data.join(FETCHED_FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let Ok(fetched) = serde_json::from_slice::<Self>(&text) else { return Ok(None) };
        for (name, size_bytes) in fetched.parts.iter().flat_map(|part| &part.files) {
            match fs::metadata(data.join(name)) {
                Ok(found) if found.len() == *size_bytes => {}
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => return Ok(None),
            }
        }
        Ok(Some(fetched))
    }

    /// The same, for the process that fetches.
    pub(super) fn read(data: &Path) -> Result<Option<Self>, FetchError> {
        Self::whole(data).map_err(io("read", &data.join(FETCHED_FILE)))
    }

    /// The files of one use, in reading order; `None` if the rows of the run are not all there, empty if it has none
    /// that were fetched.
    pub fn files(data: &Path, part: &str) -> std::io::Result<Option<Vec<PathBuf>>> {
        let Some(fetched) = Self::whole(data)? else { return Ok(None) };
        let files = fetched.parts.iter().filter(|known| known.name == part).flat_map(|known| &known.files);
        Ok(Some(files.map(|(name, _)| data.join(name)).collect()))
    }

    /// Names of the files of all uses; `None` if the rows of the run are not all there.
    pub fn all_files(data: &Path) -> std::io::Result<Option<Vec<String>>> {
        let names =
            |fetched: Self| fetched.parts.into_iter().flat_map(|part| part.files).map(|(name, _)| name);
        Ok(Self::whole(data)?.map(|fetched| names(fetched).collect()))
    }

    /// Whether it has files of each of these.
    pub(super) fn covers(&self, parts: &[Part]) -> bool {
        let has =
            |part: &Part| self.parts.iter().any(|known| known.name == part.name && !known.files.is_empty());
        parts.iter().all(has)
    }

    pub(super) fn write(&self, data: &Path) -> Result<(), FetchError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| RemoteError::internal("writing what was fetched", source))?;
        Ok(write_synced(&data.join(FETCHED_FILE), &text)?)
    }

    /// Number of files.
    pub(super) fn file_count(&self) -> u64 {
        self.parts.iter().map(|part| part.files.len() as u64).sum()
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().flat_map(|part| &part.files).map(|(_, size_bytes)| size_bytes).sum()
    }
}

fn extensions() -> String {
    DatasetFile::EXTENSIONS.join(", ")
}

/// Files of `data/` that a plan has made, whole or not.
fn made(data: &Path) -> Vec<PathBuf> {
    let is_made = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(ROWS_EXTENSION) || name.ends_with(PART_EXTENSION)
    };
    let entries = fs::read_dir(data).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    entries.unwrap_or_else(|_| Vec::new()).into_iter().filter(is_made).collect()
}

/// Removes a plan and all that it made.
pub(super) fn forget(data: &Path) {
    // What cannot be removed is found again by who begins anew, and written over.
    for path in [data.join(PLAN_FILE), data.join(FETCHED_FILE)].into_iter().chain(made(data)) {
        let _ = fs::remove_file(path);
    }
}

/// Bytes that earlier processes brought.
pub(super) fn bytes_there(data: &Path) -> u64 {
    made(data).iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum()
}
