//! How long a service that takes nothing in is asked again. Pure.

use std::time::{Duration, Instant};

use super::api::Trouble;
use crate::limits::{WANDB_BACKOFF_MAX, WANDB_REFUSALS_MAX, WANDB_REFUSED_FOR};

/// What was not taken in, in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    refusals: u32,
    refused_since: Option<Instant>,
}

impl Patience {
    /// The pause before it is tried again; `None`: it is given up.
    pub(super) fn after(&mut self, trouble: &Trouble, now: Instant) -> Option<Duration> {
        self.failures += 1;
        match trouble {
            Trouble::Final(_) => return None,
            Trouble::WrongKey(_) | Trouble::Refused(_) => {
                self.refusals += 1;
                let since = *self.refused_since.get_or_insert(now);
                let is_key = matches!(trouble, Trouble::WrongKey(_));
                let has_lasted = now.saturating_duration_since(since) >= WANDB_REFUSED_FOR;
                if self.refusals >= WANDB_REFUSALS_MAX && (is_key || has_lasted) {
                    return None;
                }
            }
            // Whoever refused is not there any more.
            Trouble::Away(_) => (self.refusals, self.refused_since) = (0, None),
        }
        let pause = Duration::from_secs(1).saturating_mul(1 << (self.failures - 1).min(16));
        Some(pause.min(WANDB_BACKOFF_MAX))
    }

    /// Whether this is the first trouble since something was taken in.
    pub(super) fn is_first(&self) -> bool {
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until it is given up, with the tries that there were; `None` if it never is.
    fn check(trouble: impl Fn(u32) -> Trouble, expect: Option<(u64, u32)>) {
        let (begin, mut patience, mut elapsed) = (Instant::now(), Patience::default(), Duration::ZERO);
        let mut given_up = None;
        for tries in 1..1000 {
            let Some(pause) = patience.after(&trouble(tries), begin + elapsed) else {
                given_up = Some((elapsed.as_secs(), tries));
                break;
            };
            assert_eq!(patience.is_first(), tries == 1);
            elapsed += pause;
        }
        assert_eq!(given_up, expect);
    }

    #[test]
    fn what_may_pass_is_tried_for_a_quarter_of_an_hour() {
        let why = String::new;
        check(|_| Trouble::Final(why()), Some((0, 1)));
        check(|_| Trouble::WrongKey(why()), Some((15, 5)));
        // 1 + 2 + 4 + 8 + 16 seconds, and then each half minute.
        check(|_| Trouble::Refused(why()), Some((901, 35)));
        check(|_| Trouble::Away(why()), None);
        let by_turns = |tries: u32| match tries % 4 {
            0 => Trouble::Away(why()),
            _ => Trouble::Refused(why()),
        };
        check(by_turns, None);
    }
}
