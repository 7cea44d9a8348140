//! Sends the metrics of jobs to Weights & Biases.
//!
//! One task looks at the jobs that have a run there. Each is sent what is new of it, by `follow`, some at the same time,
//! none before it is due. Nothing waits for the service: a job goes on, and ends, whatever becomes of its run. `api` has
//! the protocol, `history` makes rows of what a trainer said, `figures` says what it takes of the machine, `patience` how
//! long a service that takes nothing in is asked again.

mod api;
mod figures;
mod follow;
mod history;
mod patience;

use std::collections::HashMap;
use std::time::Instant;

use hearth_domain::JobState;
use hearth_store::{Store, StoreError};
use tokio::task::{self, JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use api::Api;
use follow::{Follow, Next};

use crate::limits::{WANDB_AFTER_END_MAX, WANDB_BACKOFF_MAX, WANDB_POLL, WANDB_RUNS_AT_ONCE};

/// Where the public service is.
pub const WANDB_BASE_URL: &str = "https://api.wandb.ai";

/// The running task.
pub(crate) struct WandbSender {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl WandbSender {
    /// Starts it in the current runtime.
    pub(crate) fn start(store: Store, base_url: &str) -> Self {
        let (api, stop) = (Api::new(base_url), CancellationToken::new());
        let task = tokio::spawn(run(store, api, stop.clone()));
        Self { task, stop }
    }

    /// Ends it. What is on its way may be sent again by the next server.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task that sends to Weights & Biases panicked");
        }
    }
}

/// What is known of a job's run here.
struct Known {
    /// Its state at the last look: when it changes, there is something to send.
    state: JobState,
    due: Instant,
    /// Gone while it is being looked at.
    follow: Option<Box<Follow>>,
    /// Who looks at it now.
    look: Option<task::Id>,
}

/// What is known of a job after a look, and what comes next.
type Looked = (Option<Box<Follow>>, Next);

async fn run(store: Store, api: Api, stop: CancellationToken) {
    let mut known: HashMap<i64, Known> = HashMap::new();
    let mut looks: JoinSet<Looked> = JoinSet::new();
    while !stop.is_cancelled() {
        match open(&store).await {
            Ok(open) => begin_looks(&store, &api, open, &mut known, &mut looks),
            Err(error) => tracing::error!(%error, "looking for runs of Weights & Biases failed"),
        }
        let pause = tokio::time::sleep(WANDB_POLL);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut pause => break,
                Some(looked) = looks.join_next_with_id() => end_look(&mut known, looked),
            }
        }
    }
}

/// The runs that are sent, when the keys went whose time is over.
async fn open(store: &Store) -> Result<Vec<(i64, JobState)>, StoreError> {
    let kept_ms = i64::try_from(WANDB_AFTER_END_MAX.as_millis()).unwrap_or(i64::MAX);
    store.wandb_forget(crate::now_ms().saturating_sub(kept_ms)).await?;
    store.wandb_open().await
}

fn begin_looks(
    store: &Store,
    api: &Api,
    open: Vec<(i64, JobState)>,
    known: &mut HashMap<i64, Known>,
    looks: &mut JoinSet<Looked>,
) {
    let now = Instant::now();
    let states: HashMap<i64, JobState> = open.into_iter().collect();
    known.retain(|key, one| one.look.is_some() || states.contains_key(key));
    let mut due: Vec<i64> = Vec::new();
    for (&key, &state) in &states {
        let new = || Known { state, due: now, follow: None, look: None };
        let one = known.entry(key).or_insert_with(new);
        if one.state != state {
            (one.state, one.due) = (state, now);
        }
        if one.look.is_none() && one.due <= now {
            due.push(key);
        }
    }
    // Those that have waited longest come first.
    due.sort_by_key(|key| (known[key].due, *key));
    for key in due.into_iter().take(WANDB_RUNS_AT_ONCE.saturating_sub(looks.len())) {
        let one = known.get_mut(&key).expect("every job that is due is known");
        let (store, api, follow) = (store.clone(), api.clone(), one.follow.take());
        let task = looks.spawn(async move {
            look(&store, &api, key, follow).await.unwrap_or_else(|error| {
                tracing::error!(%error, "sending a job to Weights & Biases failed");
                // Begun anew from what the store holds.
                (None, Next::In(WANDB_BACKOFF_MAX))
            })
        });
        one.look = Some(task.id());
    }
}

fn end_look(known: &mut HashMap<i64, Known>, ended: Result<(task::Id, Looked), JoinError>) {
    let (id, (follow, next)) = ended.unwrap_or_else(|error| {
        tracing::error!(%error, "sending a job to Weights & Biases panicked");
        (error.id(), (None, Next::In(WANDB_BACKOFF_MAX)))
    });
    let Some((&key, one)) = known.iter_mut().find(|(_, one)| one.look == Some(id)) else { return };
    match next {
        Next::Never => drop(known.remove(&key)),
        Next::In(pause) => (one.follow, one.due, one.look) = (follow, Instant::now() + pause, None),
    }
}

async fn look(
    store: &Store,
    api: &Api,
    key: i64,
    follow: Option<Box<Follow>>,
) -> Result<(Option<Box<Follow>>, Next), StoreError> {
    let opened = match follow {
        Some(follow) => Some(follow),
        None => Follow::open(store, key).await?.map(Box::new),
    };
    let Some(mut follow) = opened else { return Ok((None, Next::Never)) };
    let next = follow.look(store, api).await?;
    Ok((Some(follow), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_panics_is_followed_by_another() {
        let mut looks: JoinSet<Looked> = JoinSet::new();
        let mut known = HashMap::new();
        for key in 1..=2 {
            let task = looks.spawn(async move {
                assert_eq!(key, 2, "this is a test");
                (None, Next::Never)
            });
            let (state, due) = (JobState::Running, Instant::now());
            known.insert(key, Known { state, due, follow: None, look: Some(task.id()) });
        }
        while let Some(ended) = looks.join_next_with_id().await {
            end_look(&mut known, ended);
        }
        assert_eq!(known.len(), 1);
        assert!(known[&1].look.is_none() && known[&1].due > Instant::now());
    }
}
