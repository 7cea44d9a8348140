//! Uploaded files: streamed in under a size rule with a digest, published whole or not at all.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use hearth_domain::DatasetRef;
use object_store::local::LocalFileSystem;
use object_store::path::PathPart;
use object_store::{MultipartUpload, ObjectStoreExt};
use sha2::{Digest, Sha256};

use crate::durable::create_dir_all;
use crate::error::{StoreError, io_error};
use crate::staging::{self, STAGING, StagedFile, Staging};

/// Longest file name, in bytes, as it stands on disk: there a byte that is not ASCII, and some others, take three.
const FILE_NAME_MAX_BYTES: usize = 200;
/// First part of every key.
const DATASETS: &str = "datasets";
/// What the object store's files have in their names until they are whole; in keys it is escaped.
const STAGED_MARK: char = '#';
/// Bytes that are written to see whether anything can be.
const PROBE_BYTES: usize = 4 << 10;
/// Bytes that are gathered before they are written.
const PART_BYTES: usize = 1 << 20;

/// Which object. Made only from checked parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectKey(object_store::path::Path);

impl ObjectKey {
    /// A file of a dataset: `datasets/{account}/{dataset}/{file}`.
    pub fn dataset_file(dataset: &DatasetRef, file: &str) -> Result<Self, StoreError> {
        let bad = file.is_empty()
            || PathPart::from(file).as_ref().len() > FILE_NAME_MAX_BYTES
            || file.starts_with('.')
            || file.chars().any(|c| c == '/' || c == '\\' || c.is_control());
        if bad {
            let shown = file.chars().take(FILE_NAME_MAX_BYTES).collect();
            return Err(StoreError::FileName(shown));
        }
        let parts = [DATASETS, dataset.account.as_str(), dataset.id.as_str(), file];
        Ok(Self(parts.into_iter().collect()))
    }
}

/// How large an upload may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeRule {
    /// Not more than this.
    AtMost(u64),
    /// This.
    Exactly(u64),
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Its size.
    pub size_bytes: u64,
    /// Lower-case hex digest.
    pub sha256: String,
}

/// An object being read.
pub struct ObjectRead {
    /// Its size.
    pub size_bytes: u64,
    /// Its bytes, in pieces.
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
}

/// All bytes of an object, on disk but not yet in its place. Dropped, it leaves nothing.
pub struct StagedObject {
    upload: Box<dyn MultipartUpload>,
    outcome: PutOutcome,
}

impl StagedObject {
    /// What will be stored.
    pub fn outcome(&self) -> &PutOutcome {
        &self.outcome
    }

    /// Moves it to its place, over an older object.
    pub async fn publish(mut self) -> Result<PutOutcome, StoreError> {
        self.upload.complete().await.map_err(StoreError::Object)?;
        Ok(self.outcome)
    }

    /// Removes it.
    pub async fn discard(mut self) {
        discard(&mut *self.upload).await;
    }
}

/// Removes what was staged. It may be gone already, together with its dataset; what stays is swept at the next start.
async fn discard(upload: &mut dyn MultipartUpload) {
    let _ = upload.abort().await;
}

/// The objects of one data directory.
#[derive(Clone, Debug)]
pub struct Objects {
    fs: Arc<LocalFileSystem>,
    root: PathBuf,
}

impl Objects {
    /// Opens a directory, which is made if it is not there.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        create_dir_all(root)?;
        let fs = LocalFileSystem::new_with_prefix(root).map_err(StoreError::Object)?.with_fsync(true);
        Ok(Self { fs: Arc::new(fs), root: root.to_owned() })
    }

    /// Stores an object, replacing an older one only when all bytes are there. Whatever goes wrong (too many bytes,
    /// not as many as announced, a broken stream) leaves the older one, or nothing.
    pub async fn put<E>(
        &self,
        key: &ObjectKey,
        rule: SizeRule,
        stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<PutOutcome, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.stage(key, rule, stream).await?.publish().await
    }

    /// The first half of [`put`](Self::put): takes in the bytes, so that whoever called may look again whether they
    /// are still wanted.
    pub async fn stage<E>(
        &self,
        key: &ObjectKey,
        rule: SizeRule,
        mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<StagedObject, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut upload = self.fs.put_multipart(&key.0).await.map_err(StoreError::Object)?;
        match fill(&mut *upload, rule, &mut stream).await {
            Ok(outcome) => Ok(StagedObject { upload, outcome }),
            Err(error) => {
                discard(&mut *upload).await;
                Err(error)
            }
        }
    }

    /// An error unless something can be stored: it is tried. Blocks for as long as the disk does.
    pub fn check(&self) -> Result<(), StoreError> {
        std::fs::metadata(&self.root).map_err(io_error("read", &self.root))?;
        let mut probe = self.staging()?.create()?;
        probe.write(&[0; PROBE_BYTES])?;
        probe.flush()
    }

    /// Reads an object.
    pub async fn get(&self, key: &ObjectKey) -> Result<ObjectRead, StoreError> {
        let found = self.fs.get(&key.0).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => {
                StoreError::NotFound { kind: "file", name: file_name(key) }
            }
            other => StoreError::Object(other),
        })?;
        let size_bytes = found.meta.size;
        Ok(ObjectRead { size_bytes, stream: found.into_stream().map_err(StoreError::Object).boxed() })
    }

    /// Removes an object, if it is there.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        match self.fs.delete(&key.0).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::Object(error)),
        }
    }

    /// Removes all files of a dataset, its unfinished uploads, and its directory.
    pub async fn delete_dataset(&self, dataset: &DatasetRef) -> Result<(), StoreError> {
        let dir = self.root.join(DATASETS).join(dataset.account.as_str()).join(dataset.id.as_str());
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &dir)(error)),
            _ => Ok(()),
        }
    }

    /// Removes what a server that was killed left: unfinished uploads, what was staged, and the files of datasets that are not in
    /// `known` (account and id). Blocking; only while nobody uploads.
    pub(crate) fn sweep(&self, known: &BTreeSet<(String, String)>) -> Result<(), StoreError> {
        let staging = self.root.join(STAGING);
        match std::fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &staging)(error))?,
            _ => {}
        }
        for account in entries(&self.root.join(DATASETS))? {
            for dataset in entries(&account)? {
                if !known.contains(&(last_name(&account), last_name(&dataset))) {
                    std::fs::remove_dir_all(&dataset).map_err(io_error("remove", &dataset))?;
                    continue;
                }
                for file in entries(&dataset)? {
                    if last_name(&file).contains(STAGED_MARK) {
                        std::fs::remove_file(&file).map_err(io_error("remove", &file))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A directory for files that are made here and not uploaded. Blocking.
    pub fn staging(&self) -> Result<Staging, StoreError> {
        Staging::new(&self.root)
    }

    /// Puts files that were made in [`Objects::staging`] in their places. Blocking.
    pub fn move_in(&self, files: &[(ObjectKey, StagedFile)]) -> Result<(), StoreError> {
        staging::move_in(self, files)
    }

    /// Where an object lies on this machine. Objects are never changed in place, so a hard link is a copy.
    pub fn local_path(&self, key: &ObjectKey) -> Result<PathBuf, StoreError> {
        self.fs.path_to_filesystem(&key.0).map_err(StoreError::Object)
    }
}

/// What a directory holds; nothing if it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let found = match std::fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", dir)(error)),
    };
    found.map(|entry| Ok(entry.map_err(io_error("read", dir))?.path())).collect()
}

/// Last part of a path. Names that are not UTF-8 are nobody's.
fn last_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn file_name(key: &ObjectKey) -> String {
    key.0.filename().unwrap_or_default().to_owned()
}

/// Writes the stream in parts, counting and hashing.
async fn fill<E>(
    upload: &mut dyn MultipartUpload,
    rule: SizeRule,
    stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Result<PutOutcome, StoreError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (SizeRule::AtMost(limit_bytes) | SizeRule::Exactly(limit_bytes)) = rule;
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut part = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| StoreError::BrokenOff { source: error.into() })?;
        size_bytes += piece.len() as u64;
        if size_bytes > limit_bytes {
            return Err(StoreError::TooLarge { limit_bytes });
        }
        hash.update(&piece);
        part.extend_from_slice(&piece);
        if part.len() >= PART_BYTES {
            upload.put_part(std::mem::take(&mut part).into()).await.map_err(StoreError::Object)?;
        }
    }
    if !part.is_empty() {
        upload.put_part(part.into()).await.map_err(StoreError::Object)?;
    }
    match rule {
        SizeRule::Exactly(expected_bytes) if size_bytes != expected_bytes => {
            Err(StoreError::SizeDiffers { expected_bytes, found_bytes: size_bytes })
        }
        _ => Ok(PutOutcome { size_bytes, sha256: hex::encode(hash.finalize()) }),
    }
}
