//! `GET …/supervisedFineTuningJobs/{job}/events:stream`: the events of a job as they happen, as server-sent events.
//!
//! Each has its sequence number as `id`, so that a client that was cut off goes on behind the last one that it got. In
//! between come `progress` events without an id, which only tell how far the job is now.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Request;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use hearth_domain::{Job, JobEvent, JobProgress, JobState};
use hearth_store::{JobEventQuery, JobEventRow};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::event::event_to_pb;
use crate::context::Face;
use crate::error::ServerError;
use crate::event_streams::StreamPermit;
use crate::gateway::names;
use crate::limits::{
    EVENT_STREAM_HEARTBEAT, EVENT_STREAM_LOOKS_AT_ONCE, EVENT_STREAM_PAGE, EVENT_STREAM_PAUSE_MIN,
};
use crate::state::AppState;
use crate::transcode::to_json;

/// Header in which a client says which event it got last.
const LAST_EVENT_ID: &str = "last-event-id";
/// Longest time without a look at the job, whether or not something was said to have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Answers a request for the stream of a job's events. 204 if there is nothing more to come, which tells clients that
/// they need not ask again.
pub(crate) async fn job_event_stream(
    state: AppState,
    parent: String,
    request: Request,
) -> Result<Response, ServerError> {
    let caller = crate::auth::authenticate(&state, request.headers()).await?;
    let (account, id) = names::job("parent", &parent)?;
    caller.may_read(&account)?;
    let after = last_event_id(request.headers())?;
    // Before the job is read: what changes from here on is seen.
    let changed = state.store().jobs_changed();
    let stored = state.store().job_get(&account, &id).await?;
    let permit = state.event_streams().permit(&account)?;
    let mut events = Events {
        key: stored.key,
        after,
        state_seen: stored.job.state,
        ready: VecDeque::new(),
        shown: JobProgress::default(),
        is_over: false,
        looks: Looks { changed, paid: Instant::now() },
        has_more: false,
        state,
        _permit: permit,
    };
    events.read().await?;
    if events.is_over && events.ready.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let stream = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    let heartbeat = KeepAlive::new().interval(EVENT_STREAM_HEARTBEAT).text("heartbeat");
    Ok(Sse::new(stream).keep_alive(heartbeat).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<u64, ServerError> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| ServerError::field("Last-Event-ID", "is not the sequence number of an event"))
}

struct Events {
    state: AppState,
    key: i64,
    /// Number of the last event that was read.
    after: u64,
    /// Where the job stood when it was last looked at.
    state_seen: JobState,
    /// What can be sent.
    ready: VecDeque<SseEvent>,
    /// Progress that was told last.
    shown: JobProgress,
    /// Nothing comes behind `ready`.
    is_over: bool,
    /// There was more than one page: the next is read when this one is sent.
    has_more: bool,
    looks: Looks,
    _permit: StreamPermit,
}

/// Says when the job is looked at. What is told is that some job changed: of many that are busy, each stream hears.
struct Looks {
    changed: watch::Receiver<()>,
    /// Until when the looks that there were would have lasted, with a pause after each.
    paid: Instant,
}

impl Looks {
    /// A look begins.
    fn begin(&mut self) {
        self.changed.borrow_and_update();
        self.paid = self.paid.max(Instant::now()) + EVENT_STREAM_PAUSE_MIN;
    }

    /// Waits for the next. False if there is none: the server stops.
    async fn wait(&mut self, draining: &CancellationToken) -> bool {
        tokio::select! {
            () = draining.cancelled() => return false,
            // A store that is gone changes nothing more; the look finds out.
            _ = self.changed.changed() => {}
            () = sleep(LOOK_INTERVAL) => {}
        }
        let ahead = self.paid.saturating_duration_since(Instant::now());
        let pause = ahead.saturating_sub(EVENT_STREAM_PAUSE_MIN * EVENT_STREAM_LOOKS_AT_ONCE);
        draining.run_until_cancelled(sleep(pause)).await.is_some()
    }
}

impl Events {
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let draining = self.state.stop().draining.clone();
            if !self.has_more && !self.looks.wait(&draining).await {
                return None;
            }
            if let Err(error) = self.read().await {
                tracing::error!(%error, "a stream of events breaks off");
                return None;
            }
        }
    }

    /// Reads what is new, one page at most: the rest is read when that is sent.
    async fn read(&mut self) -> Result<(), ServerError> {
        self.looks.begin();
        let store = self.state.store();
        // The job first: if it is at its end, its last event is there.
        let Some(job) = store.job_by_key(self.key).await?.map(|stored| stored.job) else {
            // Its log went with it. That it was deleted is told all the same.
            self.ready.push_back(event(&deletion(self.after + 1, self.state_seen))?);
            self.is_over = true;
            return Ok(());
        };
        if job.state != JobState::Deleting {
            self.state_seen = job.state;
        }
        let query =
            JobEventQuery { after: Some(self.after), is_newest_first: false, most: EVENT_STREAM_PAGE };
        let rows = store.job_event_page(self.key, &query).await?;
        for row in &rows {
            self.after = row.number;
            self.ready.push_back(event(row)?);
        }
        self.has_more = rows.len() == EVENT_STREAM_PAGE as usize;
        if self.has_more {
            return Ok(());
        }
        self.is_over = job.state.is_final() || job.state == JobState::Deleting;
        if job.state == JobState::Deleting && rows.is_empty() {
            // The log may have gone since the job was read.
            let first = JobEventQuery { after: Some(0), most: 1, ..query };
            if store.job_event_page(self.key, &first).await?.is_empty() {
                self.ready.push_back(event(&deletion(self.after + 1, self.state_seen))?);
            }
        }
        if !self.is_over && job.progress != self.shown && job.progress.total_steps > 0 {
            self.shown = job.progress;
            self.ready.push_back(progress(&job));
        }
        Ok(())
    }
}

/// The last event of a job that is gone.
fn deletion(number: u64, from: JobState) -> JobEventRow {
    JobEventRow {
        number,
        time_ms: crate::now_ms(),
        event: JobEvent::Delete.name().to_owned(),
        from_state: from.name().to_owned(),
        to_state: JobState::Deleting.name().to_owned(),
        message: String::new(),
        note: None,
    }
}

/// What of an event goes over the wire: its number, its type in lower case, and what the list shows of it.
fn event(row: &JobEventRow) -> Result<SseEvent, ServerError> {
    let event = event_to_pb(row, Face::Rest);
    let name = event.r#type().as_str_name().to_lowercase();
    let data = to_json("SupervisedFineTuningJobEvent", &event)?;
    Ok(SseEvent::default().event(name).id(event.sequence_number.to_string()).data(data))
}

fn progress(job: &Job) -> SseEvent {
    let JobProgress { step, total_steps, epoch, tokens, .. } = job.progress;
    let data = json!({
        "percent": job.progress.percent(),
        "epoch": epoch,
        "step": step.to_string(),
        "totalSteps": total_steps.to_string(),
        "tokens": tokens.to_string(),
    });
    SseEvent::default().event("progress").data(data.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_changes_are_few_looks() {
        let (change, changed) = watch::channel(());
        let (mut looks, draining) = (Looks { changed, paid: Instant::now() }, CancellationToken::new());
        let (stop, begun) = (draining.clone(), Instant::now());
        tokio::spawn(async move {
            for _ in 0..500 {
                sleep(Duration::from_millis(10)).await;
                change.send_replace(());
            }
            stop.cancel();
        });
        let mut count = 0;
        while looks.wait(&draining).await {
            looks.begin();
            count += 1;
        }
        // Four a second, and those at the beginning.
        assert_eq!(begun.elapsed().as_secs(), 5);
        assert!((20..=26).contains(&count), "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn some_changes_are_seen_at_once() {
        let (change, changed) = watch::channel(());
        let mut looks = Looks { changed, paid: Instant::now() };
        let begun = Instant::now();
        for _ in 0..EVENT_STREAM_LOOKS_AT_ONCE {
            looks.begin();
            change.send_replace(());
            assert!(looks.wait(&CancellationToken::new()).await);
        }
        assert!(begun.elapsed() < EVENT_STREAM_PAUSE_MIN);
    }
}
