//! Files that hold a secret: made with mode 0600, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{StoreError, io_error};

/// Length of the signing key.
const KEY_BYTES: usize = 32;

/// Writes a secret to a file that only its owner can read. Fails if the file exists.
pub fn write_secret_file(path: &Path, secret: &[u8]) -> Result<(), StoreError> {
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
        // Unlike a rename, a link does not replace what another process has written meanwhile.
        std::fs::hard_link(beside, path).map_err(io_error("create", path))
    })();
    // Nothing can be done about a file that cannot be removed, and it harms nobody.
    let _ = std::fs::remove_file(beside);
    written
}

/// Reads a 32-byte key, or makes one.
pub(crate) fn read_or_make_key(path: &Path) -> Result<[u8; KEY_BYTES], StoreError> {
    if !path.exists() {
        match write_secret_file(path, hex::encode(rand::random::<[u8; KEY_BYTES]>()).as_bytes()) {
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(4 * KEY_BYTES as u64).read_to_string(&mut text))
        .map_err(io_error("read", path))?;
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|error| StoreError::Format {
        path: path.to_owned(),
        what: "signing key",
        message: error.to_string(),
    })?;
    Ok(key)
}
