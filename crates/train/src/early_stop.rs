//! When training ends before its last step: a pure function of the evaluations so far.

use hearth_run::EarlyStop;
use hearth_run::checkpoint::Patience;

/// What is known after one more evaluation, of step `step`.
///
/// The best step has the lowest loss, of equal ones the first. A gain is a loss below that of the last gain by at least
/// `min_gain` of it; small steps down count when they have come to as much together.
pub fn evaluated(before: Option<&Patience>, rule: EarlyStop, step: u64, loss: f64) -> Patience {
    let Some(before) = before else {
        return Patience { best_step: step, best_loss: loss, gain_loss: loss, without_gain: 0 };
    };
    let mut after = before.clone();
    if loss < before.best_loss {
        (after.best_step, after.best_loss) = (step, loss);
    }
    if loss <= before.gain_loss * (1.0 - f64::from(rule.min_gain)) {
        (after.gain_loss, after.without_gain) = (loss, 0);
    } else {
        after.without_gain += 1;
    }
    after
}

/// Whether nothing better is waited for any more.
pub fn is_over(patience: Option<&Patience>, rule: Option<EarlyStop>) -> bool {
    matches!((patience, rule), (Some(patience), Some(rule)) if patience.without_gain >= rule.patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(losses: &[f64], best_step: u64, stops_after: Option<usize>) {
        let rule = EarlyStop { patience: 2, min_gain: 0.01 };
        let mut patience = None;
        let mut stopped = None;
        for (index, &loss) in losses.iter().enumerate() {
            patience = Some(evaluated(patience.as_ref(), rule, index as u64 + 1, loss));
            if is_over(patience.as_ref(), Some(rule)) {
                stopped.get_or_insert(index + 1);
            }
        }
        assert_eq!((patience.unwrap().best_step, stopped), (best_step, stops_after), "{losses:?}");
    }

    #[test]
    fn two_evaluations_without_gain_are_enough() {
        check(&[1.0], 1, None);
        check(&[1.0, 0.9, 0.8, 0.7], 4, None);
        check(&[1.0, 0.5, 0.6, 0.7], 2, Some(4));
        check(&[1.0, 1.1, 0.5, 0.6, 0.4, 0.4, 0.4], 5, Some(7));
        // Falls too little to wait for, and is the best all the same.
        check(&[1.0, 0.999, 0.998], 3, Some(3));
        // Small steps add up.
        check(&[1.0, 0.994, 0.988, 0.982], 4, None);
        assert!(!is_over(None, Some(EarlyStop { patience: 1, min_gain: 0.0 })));
    }
}
