//! The ledger of a run: what became of each row, and of what the run is made. [`hearth_run::ledger`] says how it lies on
//! disk.

use hearth_data::Sample;
use hearth_run::checkpoint::Identity;
use hearth_run::ledger::{self, Counts, DataFile, Entry, Header, Part, Usage, VERSION};
use hearth_run::{Facts, JobSpec, RunDir};

use crate::digest;
use crate::error::TrainError;
use crate::plan::Plan;
use crate::samples::Samples;
use crate::serving::TOKENIZER_CONFIG_FILE;

const TOKENIZER_FILE: &str = "tokenizer.json";

/// What stands in a ledger as the program that made it.
pub const ENGINE: &str = concat!("hearth ", env!("CARGO_PKG_VERSION"));

/// A ledger on its way to disk.
#[derive(Debug)]
pub struct Ledger {
    /// What the run is made of.
    pub header: Header,
    /// Given back once they are written: there may be millions.
    entries: Vec<Entry>,
    /// SHA-256 of its lines, once they are written.
    sha256: Option<String>,
}

/// A ledger on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its first line.
    pub(crate) header: Header,
    /// SHA-256 of its lines.
    pub(crate) sha256: String,
}

impl Ledger {
    /// Takes the entries of the samples. `file_sha256s` are those of the training and the evaluation files.
    ///
    /// # Errors
    /// Those of reading the tokenizer's files and the facts of the adapter that the run goes on from.
    pub(crate) fn new(
        job: &JobSpec,
        identity: &Identity,
        file_sha256s: Vec<String>,
        template_sha256: Option<String>,
        train: &mut Samples,
        eval: &mut Samples,
    ) -> Result<Self, TrainError> {
        let mut entries = std::mem::take(&mut train.entries);
        // Files of evaluation follow those of training, also in their numbers.
        let offset = u32::try_from(job.train_files.len()).unwrap_or(u32::MAX);
        let behind = |entry: Entry| Entry { file: entry.file.saturating_add(offset), ..entry };
        entries.extend(std::mem::take(&mut eval.entries).into_iter().map(behind));
        let mut counts = Counts::default();
        entries.iter().for_each(|entry| counts.add(entry));
        let parts = job.train_files.iter().map(|path| (path, Part::Train));
        let parts = parts.chain(job.eval_files.iter().map(|path| (path, Part::Eval)));
        let origins = job.data_origins.iter().cloned().map(Some).chain(std::iter::repeat(None));
        let files = parts.zip(file_sha256s).zip(origins).map(|(((path, part), sha256), origin)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            DataFile { name, sha256, part, origin }
        });
        let of_base = |name| digest::file_if_there(&job.base_model_dir.join(name));
        let parent = match &job.warm_start_dir {
            Some(dir) => Facts::read(dir)?,
            None => None,
        };
        let header = Header {
            version: VERSION,
            engine: ENGINE.to_owned(),
            files: files.collect(),
            base_sha256: identity.base_sha256.clone(),
            template_sha256,
            tokenizer_sha256: of_base(TOKENIZER_FILE)?,
            tokenizer_config_sha256: of_base(TOKENIZER_CONFIG_FILE)?,
            samples_sha256: identity.samples_sha256.clone(),
            warm_start_sha256: identity.warm_start_sha256.clone(),
            warm_start_model: job.warm_start_name.clone(),
            warm_start_ledger_sha256: parent.map(|facts| facts.ledger_sha256),
            step: None,
            max_context_length: job.max_context_length,
            seed: job.seed,
            counts,
        };
        Ok(Self { header, entries, sha256: None })
    }

    /// Writes it into the run directory, with the steps at which the plan trains on these samples first, and gives its
    /// entries back.
    pub(crate) fn write(&mut self, dir: &RunDir, plan: &Plan, train: &[Sample]) -> Result<(), TrainError> {
        // Every epoch has all samples, so the first one tells.
        let mut step_of_sample = vec![0; train.len()];
        for (step, micro_batches) in (1..).zip(plan.epoch(0)) {
            micro_batches.into_iter().flatten().for_each(|index| step_of_sample[index] = step);
        }
        // Samples stand in the order of their rows.
        let mut steps = step_of_sample.into_iter();
        for entry in self.entries.iter_mut().filter(|entry| entry.usage == Usage::Train) {
            entry.step = steps.by_ref().take(entry.samples as usize).min();
        }
        let entries = std::mem::take(&mut self.entries);
        self.sha256 = Some(ledger::write(&dir.ledger_path(), &self.header, &entries)?);
        Ok(())
    }

    /// SHA-256 of its lines. Panics if it was not written (programmer error): nothing is trained before.
    pub fn sha256(&self) -> &str {
        self.sha256.as_ref().expect("the ledger is written before the first step")
    }
}
