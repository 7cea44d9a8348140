//! From the events of a run to the rows of a history: one for each step, in order, and none twice. Pure.

use hearth_run::{Event, Metrics};
use serde_json::{Map, Value};

/// A row that can be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) step: u64,
    pub(super) values: Map<String, Value>,
}

impl Row {
    /// As the file stream has it.
    pub(super) fn text(&self) -> String {
        Value::Object(self.values.clone()).to_string()
    }
}

/// Makes rows of events. A row is held back until a later step shows that nothing more comes of its own: an evaluation
/// joins the row of the step after which it was made. A trainer that goes on from a checkpoint repeats steps; those that
/// were sent are left out.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Step of the last row that was handed out.
    last_step: Option<u64>,
    held: Option<Row>,
    ready: Vec<Row>,
    /// When the run began.
    first_time_ms: Option<i64>,
}

impl History {
    /// Behind the rows that were sent.
    pub(super) fn after(last_step: Option<u64>) -> Self {
        Self { last_step, ..Self::default() }
    }

    /// Time since the run began, in seconds.
    pub(super) fn runtime(&self, time_ms: i64) -> f64 {
        let begin = self.first_time_ms.unwrap_or(time_ms);
        (time_ms - begin).max(0) as f64 / 1000.0
    }

    /// Takes in an event.
    pub(super) fn take(&mut self, event: &Event) {
        self.first_time_ms.get_or_insert(event.time_ms);
        let Some(metrics) = Metrics::of(&event.kind) else { return };
        let step = metrics.step();
        if self.last_step.is_some_and(|last| step <= last) {
            return;
        }
        match &mut self.held {
            // What comes again comes from a trainer that goes on from a checkpoint before it.
            Some(held) if step < held.step => return,
            Some(held) if step > held.step => self.release(),
            _ => {}
        }
        let time_s = event.time_ms as f64 / 1000.0;
        let runtime = self.runtime(event.time_ms);
        let row = self.held.get_or_insert_with(|| Row { step, values: Map::new() });
        if let Ok(Value::Object(values)) = serde_json::to_value(&metrics) {
            row.values.extend(values.into_iter().filter(|(name, _)| name != "step"));
        }
        row.values.insert("_step".to_owned(), step.into());
        row.values.insert("_runtime".to_owned(), runtime.into());
        row.values.insert("_timestamp".to_owned(), time_s.into());
    }

    /// Nothing more comes: the row that was held back is whole.
    pub(super) fn release(&mut self) {
        if let Some(row) = self.held.take() {
            self.last_step = Some(row.step);
            self.ready.push(row);
        }
    }

    /// Rows that can be sent, in order.
    pub(super) fn ready(&self) -> &[Row] {
        &self.ready
    }

    /// Forgets the first rows: they were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.ready.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use hearth_run::EventKind;

    use super::*;

    fn step(step: u64, loss: f64) -> EventKind {
        EventKind::Step {
            step,
            total_steps: 9,
            epoch: 0.5,
            loss,
            learning_rate: 0.1,
            grad_norm: 1.0,
            tokens: 1,
            trained_tokens: 1,
            total_tokens: step,
            total_samples: step,
            samples: 1,
            tokens_per_second: 1.0,
            seconds_remaining: 1.0,
            rss_bytes: 1,
        }
    }

    fn eval(step: u64) -> EventKind {
        EventKind::Eval { step, loss: 2.0, trained_tokens: 3 }
    }

    /// Steps of the rows, with their losses.
    fn check(last: Option<u64>, kinds: Vec<EventKind>, is_over: bool, expect: &str) {
        let mut history = History::after(last);
        for (i, kind) in kinds.into_iter().enumerate() {
            history.take(&Event { seq: i as u64 + 1, time_ms: 1000 * (i as i64 + 1), kind });
        }
        if is_over {
            history.release();
        }
        let shown = |row: &Row| {
            assert_eq!(row.values["_step"], row.step);
            format!(
                "{}:{}:{}",
                row.step,
                row.values.get("train/loss").unwrap_or(&Value::Null),
                row.values.get("eval/loss").unwrap_or(&Value::Null)
            )
        };
        let got: Vec<String> = history.ready().iter().map(shown).collect();
        assert_eq!(got.join(" "), expect);
    }

    #[test]
    fn each_step_is_one_row() {
        check(None, vec![step(1, 9.0), step(2, 8.0), step(3, 7.0)], false, "1:9.0:null 2:8.0:null");
        check(None, vec![step(1, 9.0), eval(1), step(2, 8.0)], true, "1:9.0:2.0 2:8.0:null");
        check(None, vec![eval(0), step(1, 9.0)], true, "0:null:2.0 1:9.0:null");
    }

    #[test]
    fn steps_that_are_repeated_are_told_once() {
        let repeated =
            vec![step(1, 9.0), step(2, 8.0), step(3, 7.0), step(2, 8.0), eval(2), step(3, 7.5), step(4, 6.0)];
        check(None, repeated.clone(), true, "1:9.0:null 2:8.0:null 3:7.5:null 4:6.0:null");
        // A server that starts again reads the log from its beginning.
        check(Some(2), repeated, true, "3:7.5:null 4:6.0:null");
        check(Some(4), vec![step(4, 6.0), eval(4)], true, "");
    }

    #[test]
    fn times_are_those_of_the_run() {
        let mut history = History::default();
        for (i, kind) in [EventKind::Writing { step: 0 }, step(1, 1.0), step(2, 1.0)].into_iter().enumerate()
        {
            history.take(&Event { seq: 1, time_ms: 5000 + 500 * i as i64, kind });
        }
        let row = &history.ready()[0];
        assert_eq!((&row.values["_runtime"], &row.values["_timestamp"]), (&0.5.into(), &5.5.into()));
    }
}
