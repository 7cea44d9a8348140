//! Files that hold a secret: made with mode 0600, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::durable::sync_parent;
use crate::error::{StoreError, io_error};

/// Length of the signing key.
const KEY_BYTES: usize = 32;

/// Writes a secret to a file that only its owner can read. Fails if the file exists.
pub fn write_secret_file(path: &Path, secret: &[u8]) -> Result<(), StoreError> {
    // Unlike a rename, a link does not replace what another process has written meanwhile.
    written_beside(path, secret, |beside| {
        std::fs::hard_link(beside, path).map_err(io_error("create", path))?;
        sync_parent(path)
    })
}

/// Writes a secret in place of a file, or makes it. After a crash the file has the old text or the new one.
pub(crate) fn replace_secret_file(path: &Path, secret: &[u8]) -> Result<(), StoreError> {
    written_beside(path, secret, |beside| {
        std::fs::rename(beside, path).map_err(io_error("replace", path))?;
        sync_parent(path)
    })
}

/// Writes a file of mode 0600 beside `path` and lets `place` put it there.
fn written_beside(
    path: &Path,
    secret: &[u8],
    place: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{:08x}.tmp", rand::random::<u32>()));
    let beside = Path::new(&beside);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(beside)
            .map_err(io_error("create", beside))?;
        file.write_all(secret).map_err(io_error("write", beside))?;
        file.sync_all().map_err(io_error("sync", beside))?;
        place(beside)
    })();
    // Nothing can be done about a file that cannot be removed, and it harms nobody.
    let _ = std::fs::remove_file(beside);
    written
}

/// Reads a secret of at most `max_bytes`; `None` if the file is not there.
pub(crate) fn read_secret_file(path: &Path, max_bytes: u64) -> Result<Option<Zeroizing<String>>, StoreError> {
    let mut text = Zeroizing::new(String::new());
    match File::open(path).and_then(|file| file.take(max_bytes).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Reads a 32-byte key, or makes one.
pub(crate) fn read_or_make_key(path: &Path) -> Result<[u8; KEY_BYTES], StoreError> {
    let max_bytes = 4 * KEY_BYTES as u64;
    let text = match read_secret_file(path, max_bytes)? {
        Some(text) => text,
        None => {
            match write_secret_file(path, hex::encode(rand::random::<[u8; KEY_BYTES]>()).as_bytes()) {
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
                other => other?,
            }
            let gone = || io_error("read", path)(ErrorKind::NotFound.into());
            read_secret_file(path, max_bytes)?.ok_or_else(gone)?
        }
    };
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|error| StoreError::Format {
        path: path.to_owned(),
        what: "signing key",
        message: error.to_string(),
    })?;
    Ok(key)
}
