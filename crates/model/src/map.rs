//! Read-only mapped files that weights share.

use std::fs::{self, File};
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Bytes that live as long as any weight that points into them.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Maps a whole file for reading. An empty file gives empty bytes.
pub(crate) fn map_file(path: &Path) -> Result<SharedBytes> {
    let file = open_regular(path)?;
    let size = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
    if size == 0 {
        return Ok(Arc::new(Vec::new()));
    }
    // SAFETY: installed model files are written once, renamed into place and never changed afterwards,
    // so the mapped bytes do not change under the shared slice. Removing the file keeps the mapping.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, e))?;
    Ok(Arc::new(map))
}

/// Opens a file, and nothing else: a pipe would block, and a device has no end.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let metadata = fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    if !metadata.is_file() {
        let source = IoError::new(ErrorKind::InvalidInput, "it is not a regular file");
        return Err(Error::io("open", path, source));
    }
    File::open(path).map_err(|e| Error::io("open", path, e))
}
