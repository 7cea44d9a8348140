//! Which rows of a dataset are set aside for evaluation.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One row of so many is set aside, rounded down.
pub const ROWS_PER_ROW: usize = 10;
/// Most rows that are set aside.
pub const ROWS_MAX: usize = 100;
/// Stream of the seed's random numbers that chooses; the order of the first epoch has stream 0.
const STREAM: u64 = 1;

/// The rows to set aside, as ascending indices of those that can be used.
///
/// A tenth of the `usable` ones and [`ROWS_MAX`] at most, but at least one; one is left for training whatever happens.
/// So it is none of a single row. Rows that are left out do not count: most of the others might go otherwise. A
/// function of the two numbers alone: whoever wants to know what a run will train on asks the same.
pub fn carved_out(usable: usize, seed: u64) -> Vec<usize> {
    let count = (usable / ROWS_PER_ROW).clamp(1, ROWS_MAX).min(usable.saturating_sub(1));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut all: Vec<usize> = (0..usable).collect();
    // The beginning of a Fisher-Yates shuffle, written out so that no library's change of method changes an adapter.
    for first in 0..count {
        let left = (usable - first) as u128;
        let pick = (u128::from(rng.next_u64()) * left) >> 64;
        all.swap(first, first + pick as usize);
    }
    all.truncate(count);
    all.sort_unstable();
    all
}

/// Takes the elements at these ascending indices out of a list; the others keep their order.
pub fn take_out<T>(all: Vec<T>, indices: &[usize]) -> (Vec<T>, Vec<T>) {
    let mut next = indices.iter().copied().peekable();
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    for (index, one) in all.into_iter().enumerate() {
        let to = if next.next_if_eq(&index).is_some() { &mut taken } else { &mut kept };
        to.push(one);
    }
    (kept, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_chosen_but_one_at_least_and_a_hundred_at_most() {
        let counts =
            [(0, 0), (1, 0), (2, 1), (9, 1), (19, 1), (20, 2), (300, 30), (1009, 100), (50_000, 100)];
        for (usable, expect) in counts {
            assert_eq!(carved_out(usable, 0).len(), expect, "{usable} rows");
        }
    }

    #[test]
    fn the_seed_and_nothing_else_chooses() {
        let chosen = carved_out(200, 7);
        assert_eq!(chosen, carved_out(200, 7));
        assert_ne!(chosen, carved_out(200, 8));
        assert!(chosen.is_sorted_by(|a, b| a < b) && chosen.iter().all(|&index| index < 200));
        // Every row may be chosen.
        let mut seen = vec![false; 20];
        for seed in 0..200 {
            carved_out(20, seed).into_iter().for_each(|index| seen[index] = true);
        }
        assert!(seen.into_iter().all(|seen| seen));
        // An adapter depends on the choice, so it must not change: this is what it was first.
        assert_eq!(carved_out(40, 0), GOLDEN);
    }

    const GOLDEN: [usize; 4] = [24, 29, 30, 36];

    #[test]
    fn what_is_taken_out_is_not_kept() {
        let (kept, taken) = take_out(vec!["a", "b", "c", "d"], &[1, 3]);
        assert_eq!((kept, taken), (vec!["a", "c"], vec!["b", "d"]));
        assert_eq!(take_out(vec![1], &[]), (vec![1], vec![]));
    }
}
