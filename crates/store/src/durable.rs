//! Names that a power cut does not take back.

use std::fs::{self, File};
use std::path::Path;

use crate::error::{StoreError, io_error};

/// Makes a directory with those above it, and forces the names of new ones to disk.
pub fn create_dir_all(dir: &Path) -> Result<(), StoreError> {
    let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    new.into_iter().try_for_each(sync_parent)
}

/// Forces the names in a directory to disk.
pub fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

/// Forces to disk that a name is there, or is there no more.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    // A relative path of one part has an empty one.
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(parent)
}
