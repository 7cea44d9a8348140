//! Before the first step: how the run fits in memory, and a try of its largest micro-batch.

use hearth_kernels::Backend;
use hearth_model::Packed;
use hearth_run::EventKind;

use crate::error::TrainError;
use crate::journal::Journal;
use crate::learner::Learner;
use crate::memory::{Memory, Needs, Size};

/// The micro-batches that take the most memory.
pub(crate) struct Largest {
    /// In training, with a loss at every token.
    pub(crate) train: Packed,
    /// In evaluation; `None` without one.
    pub(crate) eval: Option<Packed>,
}

/// Keeps the activations of as many blocks as fit below `limit_bytes`, and tries the largest micro-batches, so that
/// a run that cannot fit ends before its first step. If more stays in memory than was planned, more blocks run
/// forward again. Parameters and moments stay as they are.
pub(crate) fn fit<B: Backend>(
    learner: &mut Learner<B>,
    mut needs: Needs,
    largest: &Largest,
    limit_bytes: Option<u64>,
    journal: &mut Journal,
) -> Result<(), TrainError> {
    let blocks = learner.decoder().config().num_hidden_layers;
    let tokens = largest.train.len() as u64;
    loop {
        let fit = needs.fit(limit_bytes)?;
        journal.append(EventKind::Planned {
            planned_bytes: fit.needed_bytes,
            limit_bytes,
            blocks: blocks as u64,
            kept_blocks: (blocks - fit.recomputed_blocks) as u64,
            micro_batch_tokens: tokens,
        })?;
        learner.set_recomputed_blocks(fit.recomputed_blocks);
        learner.try_out(&largest.train)?;
        if let Some(eval) = &largest.eval {
            learner.loss(eval)?;
        }
        let rss_bytes = Memory::now().rss_bytes;
        if limit_bytes.is_none_or(|limit| rss_bytes + needs.saving <= limit) {
            return journal.append(EventKind::Tried { tokens, rss_bytes });
        }
        needs.seen(rss_bytes, fit.recomputed_blocks);
        // Fails if there is nothing left that could be computed again.
        needs.fit(limit_bytes)?;
        let message = format!(
            "{} are in memory after the largest micro-batch, more than planned; fewer activations are kept",
            Size(rss_bytes)
        );
        journal.append(EventKind::Warning { message })?;
    }
}
