//! The events of a job as they happen.

use std::io::{BufReader, Read};
use std::time::Duration;

use serde_json::Value;

use crate::chat::next_data;
use crate::{Client, ClientError};

/// Times in a row that a stream is asked for again which broke off without an event.
const RETRIES_MAX: u32 = 10;
/// Pause before.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl Client {
    /// The events of a job, from its first one on to its last. A stream that breaks off goes on behind the last event.
    pub fn job_event_stream(&self, job: &str) -> JobEventStream {
        let url = self.resource_url(&format!("{job}/events:stream"));
        JobEventStream { client: self.clone(), url, reader: None, last: None, retries: 0, is_done: false }
    }

    /// Opens a stream behind an event. `None` when nothing more comes.
    fn open_stream(&self, url: &str, last: Option<&str>) -> Result<Option<Reader>, ClientError> {
        let mut request = self.request(self.agent.get(url));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.answer(request.call())?;
        if response.status().as_u16() == 204 {
            return Ok(None);
        }
        let reader: Box<dyn Read> = Box::new(response.into_body().into_reader());
        Ok(Some(BufReader::new(reader)))
    }
}

type Reader = BufReader<Box<dyn Read>>;

/// See [`Client::job_event_stream`].
pub struct JobEventStream {
    client: Client,
    url: String,
    reader: Option<Reader>,
    /// Sequence number of the last event.
    last: Option<String>,
    retries: u32,
    is_done: bool,
}

impl JobEventStream {
    fn read(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if self.reader.is_none() {
                self.reader = self.client.open_stream(&self.url, self.last.as_deref())?;
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            match next_data(reader) {
                Ok(Some(data)) => {
                    self.retries = 0;
                    let event: Value = serde_json::from_str(&data)
                        .map_err(|error| self.client.protocol(format!("an event is not JSON: {error}")))?;
                    // What has no number only tells how far the job is.
                    if let Some(number) = event["sequenceNumber"].as_str() {
                        self.last = Some(number.to_owned());
                        return Ok(Some(event));
                    }
                }
                Ok(None) | Err(_) => {
                    self.reader = None;
                    self.retries += 1;
                    if self.retries > RETRIES_MAX {
                        return Err(self.client.protocol("the stream of events breaks off again and again"));
                    }
                    if self.retries > 1 {
                        std::thread::sleep(RETRY_INTERVAL);
                    }
                }
            }
        }
    }
}

impl Iterator for JobEventStream {
    type Item = Result<Value, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let event = self.read().transpose();
        self.is_done = !matches!(event, Some(Ok(_)));
        event
    }
}
