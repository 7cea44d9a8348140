//! How much trainers have worked for an account lately.

use serde::{Deserialize, Serialize};

/// Time in which work counts half.
pub const HALF_LIFE_MS: i64 = 6 * 3600 * 1000;

/// Work of trainers for one account. What is long ago counts less and less, so that it is forgiven in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Milliseconds of trainers, as they counted at `time_ms`.
    pub work_ms: u64,
    /// When that was.
    pub time_ms: i64,
}

impl Usage {
    /// What counts at a time. A clock that was set back takes nothing away.
    pub fn at(&self, now_ms: i64) -> u64 {
        let age_ms = now_ms.saturating_sub(self.time_ms).max(0);
        let halves = (age_ms / HALF_LIFE_MS).min(63) as u32;
        let whole = self.work_ms >> halves;
        // Between two halvings a straight line: exact in integers, and close enough.
        let part = (age_ms % HALF_LIFE_MS) as u128;
        whole - (u128::from(whole) * part / (2 * HALF_LIFE_MS as u128)) as u64
    }

    /// With so much more, done until now.
    pub fn add(&self, work_ms: u64, now_ms: i64) -> Self {
        Self { work_ms: self.at(now_ms).saturating_add(work_ms), time_ms: now_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_forgiven_by_and_by() {
        let usage = Usage { work_ms: 1000, time_ms: 0 };
        let at = |halves: f64| usage.at((halves * HALF_LIFE_MS as f64) as i64);
        assert_eq!([at(0.0), at(0.5), at(1.0), at(1.5), at(2.0), at(20.0)], [1000, 750, 500, 375, 250, 0]);
        assert_eq!(usage.at(i64::MAX), 0);
        assert_eq!(usage.at(-1_000_000), 1000, "a clock that was set back");
        assert_eq!(usage.add(500, HALF_LIFE_MS), Usage { work_ms: 1000, time_ms: HALF_LIFE_MS });
        assert_eq!(usage.add(u64::MAX, 0).work_ms, u64::MAX);
    }
}
