//! Files of datasets that are made here: written beside the objects, and moved to their places when a record is.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::durable::sync_dir;
use crate::error::{StoreError, io_error};
use crate::objects::{ObjectKey, Objects, PutOutcome};

/// Directory of what is not in its place yet, beside those of the objects.
pub(crate) const STAGING: &str = "staging";
/// Size of a write buffer, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// A directory for files that are being made. Dropped, it goes with all that is still in it.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    made: usize,
}

impl Staging {
    pub(crate) fn new(root: &Path) -> Result<Self, StoreError> {
        let dir = root.join(STAGING).join(format!("{:016x}", rand::random::<u64>()));
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        Ok(Self { dir, made: 0 })
    }

    fn next_path(&mut self) -> PathBuf {
        self.made += 1;
        self.dir.join(self.made.to_string())
    }

    /// Begins a file. Blocking.
    pub fn create(&mut self) -> Result<StagedWriter, StoreError> {
        let path = self.next_path();
        let file = File::create_new(&path).map_err(io_error("create", &path))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(StagedWriter { path, file, hash: Sha256::new(), size_bytes: 0 })
    }

    /// Gives a stored object a second name, or copies it where that cannot be. Objects are never changed in place.
    /// Blocking.
    pub fn copy(&mut self, from: &Path, outcome: PutOutcome) -> Result<StagedFile, StoreError> {
        let path = self.next_path();
        if fs::hard_link(from, &path).is_err() {
            fs::copy(from, &path).map_err(io_error("copy", from))?;
            File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("sync", &path))?;
        }
        Ok(StagedFile { path, outcome })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is swept at the next start.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A file that is being written, front to back.
#[derive(Debug)]
pub struct StagedWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    size_bytes: u64,
}

impl StagedWriter {
    /// Appends bytes. Blocking.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(io_error("write", &self.path))
    }

    /// Hands all bytes to the system, to see whether it has room for them. Blocking.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        self.file.flush().map_err(io_error("write", &self.path))
    }

    /// Puts all bytes on disk. Blocking.
    pub fn finish(self) -> Result<StagedFile, StoreError> {
        let file =
            self.file.into_inner().map_err(|error| io_error("write", &self.path)(error.into_error()))?;
        file.sync_all().map_err(io_error("sync", &self.path))?;
        let outcome = PutOutcome { size_bytes: self.size_bytes, sha256: hex::encode(self.hash.finalize()) };
        Ok(StagedFile { path: self.path, outcome })
    }
}

/// A whole file that is not in its place yet.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
    outcome: PutOutcome,
}

impl StagedFile {
    /// What it is.
    pub fn outcome(&self) -> &PutOutcome {
        &self.outcome
    }
}

/// Moves files to their places and forces the directories to disk. Blocking.
pub(crate) fn move_in(objects: &Objects, files: &[(ObjectKey, StagedFile)]) -> Result<(), StoreError> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for (key, file) in files {
        let to = objects.local_path(key)?;
        let dir = to.parent().expect("an object lies in a directory");
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        fs::rename(&file.path, &to).map_err(io_error("rename", &file.path))?;
        // The directory, that of the account, and that of all datasets: each may be new.
        dirs.extend(dir.ancestors().take(3).map(Path::to_owned));
    }
    dirs.sort();
    dirs.dedup();
    for dir in &dirs {
        sync_dir(dir)?;
    }
    Ok(())
}
