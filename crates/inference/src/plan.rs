//! How much of each sequence goes into the next step.

/// Most prompt tokens of one sequence in one step. Prompts are always cut at multiples of this, whatever
/// else is in the batch.
pub const PREFILL_CHUNK_TOKENS: usize = 128;
/// Most prompt tokens of all sequences in one step: the longest wait that a new prompt puts on those that
/// are already answering.
pub const PREFILL_TOKENS_PER_STEP: usize = 256;

/// Tokens to feed of each sequence, from the number that each has pending (at least 1), oldest first.
///
/// One pending token is the usual decoding row and always goes. Prompts go in whole chunks while the budget
/// lasts; the oldest gets one in any case, so every step makes progress.
pub(crate) fn plan(pending: &[usize]) -> Vec<usize> {
    let mut budget = PREFILL_TOKENS_PER_STEP;
    pending
        .iter()
        .map(|&n| {
            let chunk = n.min(PREFILL_CHUNK_TOKENS);
            if n == 1 {
                return 1;
            }
            if chunk > budget {
                return 0;
            }
            budget -= chunk;
            chunk
        })
        .collect()
}

const _: () = assert!(PREFILL_CHUNK_TOKENS <= PREFILL_TOKENS_PER_STEP);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_share_the_budget_and_decoding_goes_on() {
        let check = |pending: &[usize], expect: &[usize]| assert_eq!(plan(pending), expect, "{pending:?}");
        check(&[], &[]);
        check(&[1, 1, 1], &[1, 1, 1]);
        check(&[1, 50, 1], &[1, 50, 1]);
        check(&[1000], &[128]);
        check(&[1000, 1, 1000, 1000, 1], &[128, 1, 128, 0, 1]);
        check(&[1000, 60, 1000, 60], &[128, 60, 0, 60]);
        check(&[129, 128, 127], &[128, 128, 0]);
    }
}
