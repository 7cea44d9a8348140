//! How often a key may call, and an address with wrong keys: token buckets in bounded memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{RATE_HOLDERS_MAX, Rate, ServerLimits};

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Calls of the gateway, files to read, and everything else.
    Control,
    /// Chats and completions.
    Inference,
    /// Files to write.
    Upload,
    /// Calls with a wrong key.
    WrongKey,
}

impl Class {
    /// As users read it.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Control => "calls with this key",
            Self::Inference => "chats with this key",
            Self::Upload => "uploads with this key",
            Self::WrongKey => "calls without a valid key from this address",
        }
    }
}

/// All buckets of a server.
pub(crate) struct Rates {
    limits: HashMap<Class, Rate>,
    buckets: Mutex<Buckets>,
}

impl Rates {
    pub(crate) fn new(limits: &ServerLimits) -> Self {
        let all = [
            (Class::Control, limits.control_rate),
            (Class::Inference, limits.inference_rate),
            (Class::Upload, limits.upload_rate),
            (Class::WrongKey, limits.wrong_key_rate),
        ];
        let limits = all.into_iter().filter_map(|(class, rate)| Some((class, rate?))).collect();
        Self { limits, buckets: Mutex::new(Buckets::new(RATE_HOLDERS_MAX)) }
    }

    /// Counts one call, or says how long to wait.
    pub(crate) fn take(&self, class: Class, holder: &str) -> Result<(), Duration> {
        let Some(rate) = self.limits.get(&class) else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(class, holder, *rate, Instant::now())
    }
}

/// For each holder the time when its bucket is full again; a holder that is not there has a full one.
struct Buckets {
    full_at: HashMap<(Class, String), Instant>,
    most: usize,
}

impl Buckets {
    fn new(most: usize) -> Self {
        Self { full_at: HashMap::new(), most }
    }

    fn take(&mut self, class: Class, holder: &str, rate: Rate, now: Instant) -> Result<(), Duration> {
        let one = Duration::from_secs(60) / rate.per_minute.max(1);
        let all = one * rate.burst.max(1);
        let key = (class, holder.to_owned());
        let full_at = self.full_at.get(&key).copied().unwrap_or(now).max(now);
        let wait = (full_at + one).saturating_duration_since(now + all);
        if !wait.is_zero() {
            return Err(wait);
        }
        if self.full_at.len() >= self.most && !self.full_at.contains_key(&key) {
            self.make_room(now);
        }
        self.full_at.insert(key, full_at + one);
        Ok(())
    }

    /// Forgets full buckets. If there are none, forgets the half that is nearest to being full.
    fn make_room(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() < self.most {
            return;
        }
        let mut times: Vec<Instant> = self.full_at.values().copied().collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        self.full_at.retain(|_, full_at| *full_at > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_minute: 60, burst: 3 };

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_burst_and_then_one_a_second() {
        let mut buckets = Buckets::new(10);
        let begin = Instant::now();
        let mut take = |at: Duration| buckets.take(Class::Control, "key", RATE, begin + at);
        for _ in 0..3 {
            assert_eq!(take(second(0)), Ok(()));
        }
        assert_eq!(take(second(0)), Err(second(1)));
        assert_eq!(take(Duration::from_millis(400)), Err(Duration::from_millis(600)));
        assert_eq!(take(second(1)), Ok(()));
        assert_eq!(take(second(1)), Err(second(1)));
        // A long rest gives the burst back, and not more.
        for _ in 0..3 {
            assert_eq!(take(second(1000)), Ok(()));
        }
        assert_eq!(take(second(1000)), Err(second(1)));
    }

    #[test]
    fn classes_and_holders_are_apart() {
        let mut buckets = Buckets::new(10);
        let now = Instant::now();
        for _ in 0..3 {
            buckets.take(Class::Control, "a", RATE, now).unwrap();
        }
        assert!(buckets.take(Class::Control, "a", RATE, now).is_err());
        assert!(buckets.take(Class::Inference, "a", RATE, now).is_ok());
        assert!(buckets.take(Class::Control, "b", RATE, now).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_the_busy_ones_are_kept() {
        let mut buckets = Buckets::new(10);
        let now = Instant::now();
        for _ in 0..3 {
            buckets.take(Class::WrongKey, "busy", RATE, now).unwrap();
        }
        for i in 0..1000 {
            buckets.take(Class::WrongKey, &format!("once {i}"), RATE, now).unwrap();
            assert!(buckets.full_at.len() <= 10);
        }
        assert!(buckets.take(Class::WrongKey, "busy", RATE, now).is_err());
        // Full buckets are the first to go.
        buckets.take(Class::WrongKey, "later", RATE, now + second(100)).unwrap();
        buckets.make_room(now + second(100));
        assert_eq!(buckets.full_at.len(), 1);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let limits = ServerLimits { control_rate: None, ..ServerLimits::default() };
        let rates = Rates::new(&limits);
        for _ in 0..20_000 {
            rates.take(Class::Control, "key").unwrap();
        }
    }
}
