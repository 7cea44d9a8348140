//! Files that commands write beside what they print.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

/// Refuses an output that is one of the inputs, and one that is there and no plain file: it would be replaced.
pub fn ensure_may_write<'a>(
    option: &str,
    out: &Path,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<()> {
    for input in inputs {
        ensure!(!is_same_file(input, out), "{option} would overwrite {}", input.display());
    }
    let found = fs::symlink_metadata(out);
    let is_plain = found.as_ref().map_or(true, |found| found.is_file());
    ensure!(is_plain, "{option} {}: is there and is no plain file; give another name", out.display());
    Ok(())
}

/// Whether both are one file, which need not be there.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| match fs::canonicalize(path) {
        Ok(path) => Some(path),
        Err(_) => Some(fs::canonicalize(dir_of(path)).ok()?.join(path.file_name()?)),
    };
    matches!((place(a), place(b)), (Some(a), Some(b)) if a == b)
}

/// Writes a file that is there as a whole or not at all.
pub fn write(path: &Path, fill: impl FnOnce(&mut BufWriter<&mut NamedTempFile>) -> Result<()>) -> Result<()> {
    let cannot_write = || format!("cannot write {}", path.display());
    // As files are that a program creates: readable for others if the umask lets them.
    let permissions = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .permissions(permissions)
        .tempfile_in(dir_of(path))
        .with_context(cannot_write)?;
    let mut writer = BufWriter::new(&mut file);
    fill(&mut writer)?;
    writer.flush().with_context(cannot_write)?;
    drop(writer);
    file.as_file().sync_all().with_context(cannot_write)?;
    file.persist(path).with_context(cannot_write)?;
    Ok(())
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_what_is_no_plain_file_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("rows"), "x").unwrap();
        fs::write(path("other"), "x").unwrap();
        std::os::unix::fs::symlink(path("other"), path("link")).unwrap();
        let rows = [path("rows")];
        let may =
            |name: &str| ensure_may_write("--html", &path(name), &rows).map_err(|error| error.to_string());
        assert!(may("rows").unwrap_err().starts_with("--html would overwrite "));
        assert!(may("link").unwrap_err().ends_with("is there and is no plain file; give another name"));
        assert!(may("").is_err());
        assert_eq!(may("new"), Ok(()));
        assert_eq!(may("other"), Ok(()));
        assert!(is_same_file(&path("new"), &dir.path().join(".").join("new")));
    }
}
