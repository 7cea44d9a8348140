//! How much of each sequence goes into the next step, and in which forward passes.

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

/// Most decoding rows in one pass. The kernels compute few rows in another way than many, with other rounding;
/// up to this many, a row's result does not depend on how many there are.
pub(crate) const DECODE_ROWS_PER_PASS: usize = 8;

/// The forward passes of a step, as lists of sequences, from the tokens to feed of each and a number that tells
/// its base. One base per pass. Decoding rows share passes; each prompt chunk is a pass of its own: mixed with
/// others it would be rounded in another way, and the answer would depend on what else is in the batch.
pub(crate) fn passes(feeds: &[usize], bases: &[usize]) -> Vec<Vec<usize>> {
    let mut passes: Vec<Vec<usize>> = Vec::new();
    let (mut decoding, mut prompts) = (Vec::new(), Vec::new());
    for (i, &n) in feeds.iter().enumerate() {
        match n {
            0 => {}
            1 => decoding.push(i),
            _ => prompts.push(vec![i]),
        }
    }
    while let Some(&first) = decoding.first() {
        let (same, others): (Vec<usize>, Vec<usize>) =
            decoding.into_iter().partition(|&i| bases[i] == bases[first]);
        passes.extend(same.chunks(DECODE_ROWS_PER_PASS).map(<[usize]>::to_vec));
        decoding = others;
    }
    passes.append(&mut prompts);
    passes
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

    #[test]
    fn decoding_rows_share_passes_and_prompts_do_not() {
        let check = |feeds: &[usize], bases: &[usize], expect: &[&[usize]]| {
            assert_eq!(passes(feeds, bases), expect, "{feeds:?} {bases:?}");
        };
        check(&[], &[], &[]);
        check(&[1, 128, 1, 0, 60], &[7; 5], &[&[0, 2], &[1], &[4]]);
        check(&[1, 1, 1, 1], &[7, 8, 7, 8], &[&[0, 2], &[1, 3]]);
        check(&[1; 10], &[7; 10], &[&[0, 1, 2, 3, 4, 5, 6, 7], &[8, 9]]);
    }
}
