//! The events of a job as they happen.

use std::io::{BufReader, Read};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chat::next_data;
use crate::{Client, ClientError};

/// Times in a row that a stream is asked for again which broke off without an event.
const RETRIES_MAX: u32 = 60;
/// Pause before.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Longest silence of a stream, in which the server sends a comment every 15 seconds: a host may be gone without a word.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A stream that was there so long did not break off for a trouble of the server.
const STREAM_LASTED: Duration = Duration::from_secs(30);

impl Client {
    /// The events of a job, from its first one on to its last. A stream that breaks off goes on behind the last event;
    /// the server may be away for a minute meanwhile.
    pub fn job_event_stream(&self, job: &str) -> JobEventStream {
        let url = format!("{}:stream", self.resource_url(&format!("{job}/events")));
        JobEventStream {
            client: self.clone(),
            url,
            silence_max: SILENCE_MAX,
            open: None,
            was_open: false,
            last: None,
            retries: 0,
            is_done: false,
        }
    }
}

/// A stream that can be read.
struct Open {
    reader: BufReader<Box<dyn Read>>,
    since: Instant,
}

/// See [`Client::job_event_stream`].
pub struct JobEventStream {
    client: Client,
    url: String,
    silence_max: Duration,
    open: Option<Open>,
    /// There was a stream: from then on the server is waited for.
    was_open: bool,
    /// Sequence number of the last event.
    last: Option<String>,
    retries: u32,
    is_done: bool,
}

impl JobEventStream {
    fn read(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            let Some(open) = &mut self.open else {
                match self.ask() {
                    Ok(None) => return Ok(None),
                    Ok(open) => (self.open, self.was_open) = (open, true),
                    Err(error) if self.was_open && error.may_pass() => self.wait(error)?,
                    Err(error) => return Err(error),
                }
                continue;
            };
            match next_data(&mut open.reader) {
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
                    if open.since.elapsed() >= STREAM_LASTED {
                        self.retries = 0;
                    }
                    self.open = None;
                    let error = self.client.protocol("the stream of events breaks off again and again");
                    self.wait(error)?;
                }
            }
        }
    }

    /// Asks for a stream behind the last event. `None` when nothing more comes.
    fn ask(&self) -> Result<Option<Open>, ClientError> {
        let mut request = self.client.request(self.client.agent.get(&self.url));
        if let Some(last) = &self.last {
            request = request.header("last-event-id", last);
        }
        let request = request.config().timeout_per_read(Some(self.silence_max)).build();
        let response = self.client.answer(request.call())?;
        if response.status().as_u16() == 204 {
            return Ok(None);
        }
        let reader: Box<dyn Read> = Box::new(response.into_body().into_reader());
        Ok(Some(Open { reader: BufReader::new(reader), since: Instant::now() }))
    }

    /// Pauses before another attempt; fails with what is wrong after too many.
    fn wait(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.retries += 1;
        if self.retries > RETRIES_MAX {
            return Err(error);
        }
        if self.retries > 1 {
            std::thread::sleep(RETRY_INTERVAL);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Write};
    use std::net::TcpListener;

    use super::*;

    const EVENT: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n\
                         id: 7\ndata: {\"sequenceNumber\": \"7\"}\n\n";
    const OVER: &str = "HTTP/1.1 204 Over\r\nconnection: close\r\n\r\n";

    /// Serves one connection after the other with these answers. Returns the heads of the requests.
    fn serve(listener: TcpListener, answers: &[&str], stays_open: bool) -> Vec<String> {
        let (mut heads, mut open) = (Vec::new(), Vec::new());
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> =
                lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            heads.push(head.join("\n").to_lowercase());
            stream.write_all(answer.as_bytes()).unwrap();
            open.extend(stays_open.then_some(stream));
        }
        heads
    }

    #[test]
    fn a_server_that_was_away_is_asked_again_behind_the_last_event() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let busy = "HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let serving = std::thread::spawn(move || serve(listener, &[EVENT, "", busy, OVER], false));
        let client = Client::new(&url, None, None).unwrap();
        let events: Vec<Value> = client.job_event_stream("accounts/a/jobs/j").map(Result::unwrap).collect();
        assert_eq!(events, [serde_json::json!({"sequenceNumber": "7"})]);
        let heads = serving.join().unwrap();
        assert!(
            heads.iter().all(|head| head.starts_with("get /v1/accounts/a/jobs/j/events:stream ")),
            "{heads:?}"
        );
        let continued = heads.iter().filter(|head| head.contains("last-event-id: 7")).count();
        assert_eq!((heads.len(), continued), (4, 3), "{heads:?}");
    }

    #[test]
    fn a_server_that_is_silent_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || serve(listener, &[EVENT, OVER], true));
        let client = Client::new(&url, None, None).unwrap();
        let mut events = client.job_event_stream("accounts/a/jobs/j");
        events.silence_max = Duration::from_millis(200);
        assert_eq!(events.map(Result::unwrap).count(), 1);
        assert_eq!(serving.join().unwrap().len(), 2);
    }

    #[test]
    fn what_never_answered_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || serve(listener, &[""], false));
        let client = Client::new(&url, None, None).unwrap();
        let mut events = client.job_event_stream("accounts/a/jobs/j");
        assert!(matches!(events.next(), Some(Err(ClientError::Transport { .. }))));
        assert!(events.next().is_none());
        serving.join().unwrap();
    }
}
