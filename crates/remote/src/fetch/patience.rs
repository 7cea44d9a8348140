//! How long a service that does not answer is waited for.

use std::time::{Duration, Instant};

use crate::error::RemoteError;

/// How long a service may be away before it is given up.
const OUTAGE_MAX: Duration = Duration::from_secs(600);
/// First pause before another attempt; each one after it is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Counts from the last time that something came.
pub(super) struct Patience {
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { failing_since: None, pause: PAUSE_FIRST }
    }

    /// Something came.
    pub(super) fn restore(&mut self) {
        *self = Self::new();
    }

    /// Waits before another attempt; fails with what is wrong if nothing came for too long, or if it is not the kind of
    /// failure that goes away.
    pub(super) async fn wait(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        let RemoteError::Unreachable(what) = error else { return Err(error) };
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() > OUTAGE_MAX {
            let minutes = OUTAGE_MAX.as_secs() / 60;
            return Err(RemoteError::Unreachable(format!(
                "{what}, for {minutes} minutes; resume the job later"
            )));
        }
        super::log(&format!("{what}; trying again"));
        // Not all that wait for a service come back at once.
        let share = rand::random_range(0.5..1.0);
        tokio::time::sleep(self.pause.mul_f64(share)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    /// Does it until it is done or fails for good.
    pub(super) async fn insist<T>(
        &mut self,
        attempt: impl AsyncFn() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        loop {
            match attempt().await {
                Ok(done) => {
                    self.restore();
                    return Ok(done);
                }
                Err(error) => self.wait(error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_go_away_fails_at_once() {
        let mut patience = Patience::new();
        let denied = || RemoteError::Denied("no".to_owned());
        assert!(matches!(
            patience.insist(async || Err::<(), _>(denied())).await,
            Err(RemoteError::Denied(_))
        ));
        let away = || RemoteError::Unreachable("away".to_owned());
        patience.wait(away()).await.unwrap();
        assert!(patience.pause > PAUSE_FIRST);
        patience.failing_since = Instant::now().checked_sub(OUTAGE_MAX + PAUSE_MAX);
        let error = patience.wait(away()).await.unwrap_err();
        assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("10 minutes")), "{error}");
        patience.restore();
        patience.wait(away()).await.unwrap();
    }
}
