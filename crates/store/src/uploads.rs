//! Files of models on their way in: whole ones, and parts that grow over many requests and over restarts.
//!
//! Under `uploads/{account}/{model}`, `files` holds what is complete and `parts` what is not: a folder for each file,
//! and in it one growing file with the name of the upload session that writes it. Beside it stands how much of it was
//! forced to disk: what is behind that may be anything after a power cut, and is sent again. What is on disk is all that is
//! known of a session.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hearth_domain::{AccountId, ModelFile, ModelId, ModelRef};
use sha2::{Digest, Sha256};

use crate::durable::{create_dir_all, sync_dir};
use crate::error::{StoreError, io_error};
use crate::installed::MANIFEST_FILE;

/// Longest name of a file or folder, in bytes.
const NAME_MAX_BYTES: usize = 200;

/// Fails unless `name` is a file's name, or a folder's and a file's with a slash between: as Hugging Face repositories
/// have them.
pub fn check_model_file(name: &str) -> Result<(), StoreError> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part.len() <= NAME_MAX_BYTES
            && part != "."
            && part != ".."
            && !part.chars().any(|c| c == '\\' || c.is_control())
    };
    if name != MANIFEST_FILE && name.split('/').count() <= 2 && name.split('/').all(is_plain) {
        return Ok(());
    }
    Err(StoreError::ModelFileName(name.chars().take(NAME_MAX_BYTES).collect()))
}

/// Uploads of one data directory. The functions block.
#[derive(Clone, Debug)]
pub struct ModelUploads {
    root: PathBuf,
}

/// Extension of the file that says how much of a part was forced to disk.
const SYNCED: &str = "synced";
/// Its length: a decimal number with zeros before it, so that it is written over in one piece.
const SYNCED_DIGITS: usize = 20;

/// The one writer of an unfinished file.
#[derive(Debug)]
pub struct FilePart {
    path: PathBuf,
    to: PathBuf,
    file: File,
    size_bytes: u64,
}

impl FilePart {
    /// Bytes that are there.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The file, to write behind what is there. Its lock is that of the part.
    pub fn writer(&self) -> Result<File, StoreError> {
        self.file.try_clone().map_err(io_error("open", &self.path))
    }

    /// Forgets everything behind `size_bytes`, or all that others wrote since it was opened.
    pub fn truncate(&mut self, size_bytes: u64) -> Result<(), StoreError> {
        self.file.set_len(size_bytes).map_err(io_error("truncate", &self.path))?;
        self.file.seek(SeekFrom::End(0)).map_err(io_error("seek", &self.path))?;
        self.size_bytes = size_bytes;
        Ok(())
    }

    /// Forces what was written to disk and notes how much it is.
    pub fn sync(&mut self) -> Result<u64, StoreError> {
        self.file.sync_data().map_err(io_error("sync", &self.path))?;
        self.size_bytes = self.file.metadata().map_err(io_error("read", &self.path))?.len();
        let note = self.path.with_extension(SYNCED);
        let number = format!("{:0SYNCED_DIGITS$}", self.size_bytes);
        OpenOptions::new()
            .write(true)
            .open(&note)
            .and_then(|file| file.write_all_at(number.as_bytes(), 0).and_then(|()| file.sync_data()))
            .map_err(io_error("write", &note))?;
        Ok(self.size_bytes)
    }

    /// Moves it to its place, over an older file.
    pub fn finish(self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(io_error("sync", &self.path))?;
        let parent = self.to.parent().expect("a file has a folder");
        create_dir_all(parent)?;
        fs::rename(&self.path, &self.to).map_err(io_error("rename", &self.path))?;
        remove_file(&self.path.with_extension(SYNCED))?;
        sync_dir(parent)
    }

    /// Removes it.
    pub fn discard(self) -> Result<(), StoreError> {
        remove_file(&self.path)?;
        remove_file(&self.path.with_extension(SYNCED))
    }
}

impl ModelUploads {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn dir(&self, model: &ModelRef) -> PathBuf {
        self.root.join(model.account.as_str()).join(model.id.as_str())
    }

    /// Where the complete files of a model are.
    pub fn files_dir(&self, model: &ModelRef) -> PathBuf {
        self.dir(model).join("files")
    }

    /// Folder of a file's unfinished part. A digest, since names may have a slash.
    fn parts_dir(&self, model: &ModelRef, file: &str) -> PathBuf {
        self.dir(model).join("parts").join(hex::encode(&Sha256::digest(file)[..16]))
    }

    /// Size of a complete file; `None` if it is not there.
    pub fn size_bytes(&self, model: &ModelRef, file: &str) -> Result<Option<u64>, StoreError> {
        check_model_file(file)?;
        let path = self.files_dir(model).join(file);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// The session that has begun to write a file, if there is one.
    pub fn session(&self, model: &ModelRef, file: &str) -> Result<Option<String>, StoreError> {
        check_model_file(file)?;
        let parts = entries(&self.parts_dir(model, file))?;
        Ok(parts.iter().find(|part| part.extension().is_none()).map(|part| name(part)))
    }

    /// Begins to write a file: an empty part of a new session, in place of those of older ones. Returns the session.
    pub fn begin(&self, model: &ModelRef, file: &str) -> Result<String, StoreError> {
        check_model_file(file)?;
        let dir = self.parts_dir(model, file);
        remove_dir(&dir)?;
        create_dir_all(&dir)?;
        let session = format!("{:032x}", rand::random::<u128>());
        let path = dir.join(&session);
        for path in [path.with_extension(SYNCED), path] {
            File::create(&path).map_err(io_error("create", &path))?;
        }
        sync_dir(&dir)?;
        Ok(session)
    }

    /// Opens the part of a session to go on with it. `None` if there is no such part (any more); `WRONG_STATE` while
    /// another request writes it.
    pub fn open(&self, model: &ModelRef, file: &str, session: &str) -> Result<Option<FilePart>, StoreError> {
        check_model_file(file)?;
        if session.is_empty() || !session.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let path = self.parts_dir(model, file).join(session);
        let part = match OpenOptions::new().write(true).open(&path) {
            Ok(part) => part,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        match part.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::PartInUse),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
        let metadata = part.metadata().map_err(io_error("read", &path))?;
        // Whoever had the lock may have moved the part to its place, or removed it.
        let is_same = fs::metadata(&path).is_ok_and(|there| there.ino() == metadata.ino());
        if !is_same {
            return Ok(None);
        }
        let note = path.with_extension(SYNCED);
        let synced_bytes = match fs::read_to_string(&note) {
            // Nothing that can be read: nothing was forced to disk.
            Ok(number) => number.parse().unwrap_or(0),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                File::create(&note).map_err(io_error("create", &note))?;
                0
            }
            Err(error) => return Err(io_error("read", &note)(error)),
        };
        let mut part = FilePart { path, to: self.files_dir(model).join(file), file: part, size_bytes: 0 };
        part.truncate(metadata.len().min(synced_bytes))?;
        Ok(Some(part))
    }

    /// Removes what does not belong to these files any more: other files, files and parts of another size.
    pub fn keep_only(&self, model: &ModelRef, files: &[ModelFile]) -> Result<(), StoreError> {
        let files_dir = self.files_dir(model);
        for name in names(&files_dir)? {
            let size_bytes = self.size_bytes(model, &name)?;
            let known = files.iter().find(|file| file.name == name);
            let fits = known.is_some_and(|file| file.size_bytes == 0 || Some(file.size_bytes) == size_bytes);
            if !fits {
                remove_file(&files_dir.join(&name))?;
            }
        }
        let parts = self.dir(model).join("parts");
        let known: Vec<PathBuf> = files.iter().map(|file| self.parts_dir(model, &file.name)).collect();
        for dir in entries(&parts)? {
            if !known.contains(&dir) {
                remove_dir(&dir)?;
            }
        }
        Ok(())
    }

    /// Removes everything that was uploaded of a model.
    pub fn remove(&self, model: &ModelRef) -> Result<(), StoreError> {
        remove_dir(&self.dir(model))
    }

    /// Models of which something is there, and when something was written last.
    pub fn list(&self) -> Result<Vec<(ModelRef, SystemTime)>, StoreError> {
        let mut found = Vec::new();
        for account in entries(&self.root)? {
            for model in entries(&account)? {
                let (Ok(account), Ok(id)) = (AccountId::new(name(&account)), ModelId::new(name(&model)))
                else {
                    continue;
                };
                found.push((ModelRef { account, id }, newest(&model)?));
            }
        }
        Ok(found)
    }

    /// Removes what was uploaded of a model, if nothing was written for `life`. Says whether it did.
    pub fn expire(&self, model: &ModelRef, life: Duration) -> Result<bool, StoreError> {
        let dir = self.dir(model);
        // One from the future was written just now.
        let is_old = dir.exists() && newest(&dir)?.elapsed().is_ok_and(|age| age > life);
        if is_old {
            remove_dir(&dir)?;
        }
        Ok(is_old)
    }
}

/// Time of the last change of anything below a folder.
fn newest(dir: &Path) -> Result<SystemTime, StoreError> {
    let mut time = fs::metadata(dir).and_then(|data| data.modified()).map_err(io_error("read", dir))?;
    for path in entries(dir)? {
        time = time.max(newest(&path)?);
    }
    Ok(time)
}

/// Names of the files below a folder, with those of one level of folders.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for path in entries(dir)? {
        if path.is_dir() {
            found.extend(entries(&path)?.iter().map(|inner| format!("{}/{}", name(&path), name(inner))));
        } else {
            found.push(name(&path));
        }
    }
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a folder holds; nothing if it is not there or is none.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let found = match fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(io_error("read", dir)(error)),
    };
    found.map(|entry| Ok(entry.map_err(io_error("read", dir))?.path())).collect()
}

fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", dir)(error)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A power cut may leave anything behind what was forced to disk, and the note itself empty.
    #[test]
    fn what_was_not_forced_to_disk_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = ModelUploads::new(dir.path().to_owned());
        let model = ModelRef { account: AccountId::new("a").unwrap(), id: ModelId::new("m").unwrap() };
        let session = uploads.begin(&model, "w").unwrap();
        let open = || uploads.open(&model, "w", &session).unwrap().unwrap();
        let mut part = open();
        part.writer().unwrap().write_all(b"good").unwrap();
        assert_eq!(part.sync().unwrap(), 4);
        part.writer().unwrap().write_all(b"\0\0").unwrap();
        let path = part.path.clone();
        drop(part);
        let mut part = open();
        assert_eq!(part.size_bytes(), 4);
        part.writer().unwrap().write_all(b"!").unwrap();
        assert_eq!(part.sync().unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"good!");
        assert_eq!(uploads.session(&model, "w").unwrap().as_ref(), Some(&session));
        drop(part);
        for note in [&b""[..], b"x"] {
            fs::write(path.with_extension(SYNCED), note).unwrap();
            assert_eq!(open().size_bytes(), 0);
        }
        open().finish().unwrap();
        assert_eq!(uploads.session(&model, "w").unwrap(), None);
        assert_eq!(uploads.size_bytes(&model, "w").unwrap(), Some(0));
    }

    #[test]
    fn names_are_those_of_repositories() {
        for name in
            ["config.json", ".gitattributes", "onnx/model.onnx", "a b", "model-00001-of-00002.safetensors"]
        {
            assert!(check_model_file(name).is_ok(), "{name}");
        }
        let long = "x".repeat(201);
        for name in [
            "",
            ".",
            "..",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "../a",
            "a/..",
            "a\\b",
            "a\0",
            "a\nb",
            "hearth-model.json",
            &long,
        ] {
            assert!(check_model_file(name).is_err(), "{name}");
        }
    }
}
