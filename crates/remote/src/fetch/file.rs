//! One file, from its bucket to its place among those of the run.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use futures::StreamExt;
use hearth_domain::RemoteFile;

use super::patience::Patience;
use super::plan::PART_EXTENSION;
use super::{FetchError, io};
use crate::error::RemoteError;
use crate::folder::Folder;

/// Bytes that are asked for at once, and forced to disk before more are asked for.
const RANGE_BYTES: u64 = 8 << 20;

/// Fetches what is not there yet of a file. It has its name only when it is whole and on disk.
pub(super) async fn fetch(
    folder: &Folder,
    remote: &RemoteFile,
    to: &Path,
    patience: &mut Patience,
) -> Result<(), FetchError> {
    match fs::metadata(to) {
        Ok(found) if found.len() == remote.size_bytes => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("read", to)(error)),
        _ => {}
    }
    let path = part_path(to);
    let (mut part, mut there) = open(&path, remote.size_bytes)?;
    while there < remote.size_bytes {
        let before = there;
        let read = range(folder, remote, &mut part, &path, &mut there).await;
        part.sync_data().map_err(io("sync", &path))?;
        if there > before {
            patience.restore();
        }
        match read {
            Err(FetchError::Remote(error)) => patience.wait(error).await?,
            read => read?,
        }
    }
    part.sync_all().map_err(io("sync", &path))?;
    fs::rename(&path, to).map_err(io("rename", &path))?;
    let folder = to.parent().expect("it is a file of a folder");
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}

fn part_path(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".");
    name.push(PART_EXTENSION);
    name.into()
}

/// The part of a file, and the bytes of it that count.
fn open(path: &Path, size_bytes: u64) -> Result<(File, u64), FetchError> {
    let mut part =
        OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io("open", path))?;
    let found = part.metadata().map_err(io("read", path))?.len();
    // Behind the last range that was forced to disk, a power cut may have left anything.
    let there = if found > size_bytes { 0 } else { found / RANGE_BYTES * RANGE_BYTES };
    part.set_len(there).map_err(io("cut", path))?;
    part.seek(SeekFrom::Start(there)).map_err(io("seek", path))?;
    Ok((part, there))
}

/// Appends one range behind what is there. Ranges end at multiples, so what lies below the last multiple is on disk.
async fn range(
    folder: &Folder,
    remote: &RemoteFile,
    part: &mut File,
    path: &Path,
    there: &mut u64,
) -> Result<(), FetchError> {
    let end = remote.size_bytes.min((*there / RANGE_BYTES + 1) * RANGE_BYTES);
    let mut pieces = folder.read(remote, *there, end).await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| broken(remote))?;
        if piece.len() as u64 > end - *there {
            return Err(folder.changed(remote).into());
        }
        part.write_all(&piece).map_err(io("write", path))?;
        *there += piece.len() as u64;
    }
    if *there < end { Err(broken(remote).into()) } else { Ok(()) }
}

fn broken(remote: &RemoteFile) -> RemoteError {
    RemoteError::Unreachable(format!("the connection broke off while {} was read", remote.key))
}
