//! Which checkpoints a run has: writing them, keeping the newest, and finding one to go on from. The format stands in
//! [`hearth_run::checkpoint`] and `docs/CHECKPOINT.md`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use hearth_run::RunDir;
pub use hearth_run::checkpoint::{Checkpoint, Patience, Progress, State, TensorState, VERSION};
use hearth_run::checkpoint::{CheckpointError, directory_name, encode, progress, read, steps};

use crate::error::{TrainError, io_error};

/// Checkpoints that are kept: the newest, and one to fall back to when it is damaged.
pub const KEEP: usize = 2;

/// Directories with this prefix were being written when their trainer died.
const UNFINISHED_PREFIX: &str = ".unfinished-";

/// The `checkpoints/` directory of a run. Its user holds the run's lock.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    /// Multiples of it stay; 0 is none.
    kept_interval_steps: u64,
}

impl Checkpoints {
    /// Makes the directory of a run if needed and removes what a dead trainer left unfinished.
    pub fn open(run: &RunDir) -> Result<Self, TrainError> {
        let dir = run.checkpoints_path();
        run.create_dir(&dir)?;
        for name in names(&dir)? {
            if name.starts_with(UNFINISHED_PREFIX) {
                remove(&dir.join(name))?;
            }
        }
        Ok(Self { dir, kept_interval_steps: 0 })
    }

    /// Checkpoints of multiples of this step stay; 0 is none.
    pub fn keeping(self, interval_steps: u32) -> Self {
        Self { kept_interval_steps: u64::from(interval_steps), ..self }
    }

    /// Writes a checkpoint beside the others, synced and renamed into place, and drops all but the last [`KEEP`], those
    /// that stay, and the best ones that these name. Returns its name. Fails with `NonFinite` before anything is written if a number is.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<String, TrainError> {
        let step = checkpoint.state.progress.step;
        for tensor in &checkpoint.tensors {
            let all = tensor.weight.iter().chain(&tensor.m).chain(&tensor.v);
            if all.into_iter().any(|x| !x.is_finite()) {
                let (what, rows) = (tensor.name.clone(), String::new());
                return Err(TrainError::NonFinite { what, step, micro_batch: None, rows });
            }
        }
        let name = directory_name(step);
        let beside = self.dir.join(format!("{UNFINISHED_PREFIX}{name}"));
        let written = write_files(&beside, checkpoint);
        if written.is_err() {
            // The error that matters is the first one; a leftover is removed by the next `open`.
            let _ = fs::remove_dir_all(&beside);
        }
        written?;
        let path = self.dir.join(&name);
        if path.exists() {
            remove(&path)?;
        }
        fs::rename(&beside, &path).map_err(io_error("rename", &beside))?;
        sync_dir(&self.dir)?;
        // Later ones are damaged or build on a best one that is: the run went on from before them, and makes them again.
        let (later, earlier): (Vec<u64>, Vec<u64>) =
            self.steps()?.into_iter().filter(|&other| other != step).partition(|&other| other > step);
        let mut kept: Vec<u64> = earlier.iter().rev().take(KEEP - 1).copied().chain([step]).collect();
        kept.extend(earlier.iter().filter(|&&old| self.stays(old)));
        let best = kept.iter().filter_map(|&step| progress(&self.path(step))?.best_step());
        let best: Vec<u64> = best.collect();
        for old in later.iter().chain(&earlier) {
            if later.contains(old) || !kept.contains(old) && !best.contains(old) {
                remove(&self.path(*old))?;
            }
        }
        Ok(name)
    }

    /// Whether the checkpoint of a step stays.
    pub fn stays(&self, step: u64) -> bool {
        self.kept_interval_steps > 0 && step > 0 && step.is_multiple_of(self.kept_interval_steps)
    }

    /// Reads the checkpoint of one step.
    pub fn read(&self, step: u64) -> Result<Checkpoint, TrainError> {
        let path = self.path(step);
        read(&path, step).map_err(|error| match error {
            CheckpointError::Damaged(message) => TrainError::Damaged { path, message },
            CheckpointError::Version => {
                TrainError::OtherRun { path, what: "another version of the checkpoint format" }
            }
        })
    }

    /// The newest checkpoint that is whole, as is the best one that it names, and what is wrong with newer ones. A whole one in another
    /// version of the format is an error, not a reason to fall back.
    pub fn newest_good(&self) -> Result<(Option<Checkpoint>, Vec<TrainError>), TrainError> {
        let mut problems = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let whole = self.read(step).and_then(|checkpoint| {
                match checkpoint.state.progress.best_step().filter(|&best| best != step) {
                    Some(best) => self.read(best).map(|_| checkpoint),
                    None => Ok(checkpoint),
                }
            });
            match whole {
                Ok(checkpoint) => return Ok((Some(checkpoint), problems)),
                Err(damaged @ TrainError::Damaged { .. }) => problems.push(damaged),
                Err(other) => return Err(other),
            }
        }
        Ok((None, problems))
    }

    /// Path of the checkpoint of a step.
    pub fn path(&self, step: u64) -> PathBuf {
        self.dir.join(directory_name(step))
    }

    /// Steps that have a checkpoint, ascending.
    fn steps(&self) -> Result<Vec<u64>, TrainError> {
        steps(&self.dir).map_err(io_error("read", &self.dir))
    }
}

fn names(dir: &Path) -> Result<Vec<String>, TrainError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))? {
        let entry = entry.map_err(io_error("read", dir))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

fn remove(path: &Path) -> Result<(), TrainError> {
    fs::remove_dir_all(path).map_err(io_error("remove", path))
}

/// Makes a rename or a new file in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), TrainError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

/// Writes a new file and forces it to disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut file = File::create(path).map_err(io_error("create", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("sync", path))
}

fn write_files(dir: &Path, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    fs::create_dir_all(dir).map_err(io_error("create", dir))?;
    for (name, bytes) in encode(checkpoint) {
        write_synced(&dir.join(name), &bytes)?;
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests;
