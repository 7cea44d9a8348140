//! The ledger of a run: what became of each row, and of what the run is made. [`hearth_run::ledger`] says how it lies on
//! disk.

use std::path::PathBuf;

use hearth_run::JobSpec;
use hearth_run::RunDir;
use hearth_run::checkpoint::Identity;
use hearth_run::ledger::{self, Counts, DataFile, Entry, Header, Part, VERSION};

use crate::error::TrainError;
use crate::samples::Samples;

/// What stands in a ledger as the program that made it.
pub const ENGINE: &str = concat!("hearth ", env!("CARGO_PKG_VERSION"));

/// A ledger on its way to disk.
#[derive(Debug)]
pub struct Ledger {
    /// What the run is made of.
    pub header: Header,
    /// Given back once they are written: there may be millions.
    entries: Vec<Entry>,
    written: Option<Written>,
}

/// A ledger on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of its lines.
    pub sha256: String,
}

impl Ledger {
    /// Takes the entries of the samples. `file_sha256s` are those of the training and the evaluation files.
    pub(crate) fn new(
        job: &JobSpec,
        identity: &Identity,
        file_sha256s: Vec<String>,
        template_sha256: Option<String>,
        train: &mut Samples,
        eval: &mut Samples,
    ) -> Self {
        let mut entries = std::mem::take(&mut train.entries);
        // Files of evaluation follow those of training, also in their numbers.
        let offset = u32::try_from(job.train_files.len()).unwrap_or(u32::MAX);
        let behind = |entry: Entry| Entry { file: entry.file.saturating_add(offset), ..entry };
        entries.extend(std::mem::take(&mut eval.entries).into_iter().map(behind));
        let mut counts = Counts::default();
        entries.iter().for_each(|entry| counts.add(entry));
        let parts = job.train_files.iter().map(|path| (path, Part::Train));
        let parts = parts.chain(job.eval_files.iter().map(|path| (path, Part::Eval)));
        let files = parts.zip(file_sha256s).map(|((path, part), sha256)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            DataFile { name, sha256, part }
        });
        let header = Header {
            version: VERSION,
            engine: ENGINE.to_owned(),
            files: files.collect(),
            base_sha256: identity.base_sha256.clone(),
            template_sha256,
            samples_sha256: identity.samples_sha256.clone(),
            warm_start_sha256: identity.warm_start_sha256.clone(),
            max_context_length: job.max_context_length,
            seed: job.seed,
            counts,
        };
        Self { header, entries, written: None }
    }

    /// Writes it into the run directory and gives its entries back.
    pub(crate) fn write(&mut self, dir: &RunDir) -> Result<(), TrainError> {
        let path = dir.ledger_path();
        let sha256 = ledger::write(&path, &self.header, &std::mem::take(&mut self.entries))?;
        self.written = Some(Written { path, sha256 });
        Ok(())
    }

    /// Where it lies. Panics if it was not written (programmer error): nothing is trained before.
    pub fn written(&self) -> &Written {
        self.written.as_ref().expect("the ledger is written before the first step")
    }
}
