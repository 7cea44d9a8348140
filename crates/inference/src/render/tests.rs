//! Rendering processes that answer, and all others; made of shell.

use super::*;

/// Long enough that a process that is waited for in vain would be noticed, and no test depends on it otherwise.
const LONG: &str = "600";

fn processes(script: &str, timeout: Duration) -> RenderProcesses {
    let command = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
    RenderProcesses::new(command, &Limits { max_renders: 1, render_timeout: timeout, ..Limits::default() })
}

fn request() -> RenderRequest {
    // More than a pipe holds.
    let messages = [Message::new(hearth_data::Role::User, "SECRET".repeat(100_000))];
    RenderRequest::new("t", &Default::default(), &messages, &[])
}

/// Renders twice, so that a place that is not given back would be noticed.
#[track_caller]
fn check(script: &str, timeout: Duration, expect: Result<&str, &str>) {
    let processes = processes(&script.replace("LONG", LONG), timeout);
    for _ in 0..2 {
        let result = match processes.render(&request()) {
            Ok(RenderReply::Rendered { prompt, .. }) => Ok(prompt),
            Ok(RenderReply::Turns { .. } | RenderReply::Fault { .. }) => panic!("nobody asked for turns"),
            Ok(RenderReply::Error { message, .. }) => panic!("{message}"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(result, expect.map(str::to_owned).map_err(str::to_owned), "{script}");
    }
}

const ANSWER: &str = r#"echo '{"rendered":{"prompt":"p","answer":"a"}}'"#;

#[test]
fn an_answer_counts_however_the_process_ends() {
    let patient = Duration::from_secs(60);
    check(&format!("cat > /dev/null; {ANSWER}"), patient, Ok("p"));
    check(&format!("{ANSWER}; kill -9 $$"), patient, Ok("p"));
    check(&format!("cat > /dev/null; {ANSWER}; exec >&- sleep LONG"), patient, Ok("p"));
    check(&format!("{ANSWER}; exec sleep LONG"), Duration::from_millis(200), Ok("p"));
}

#[test]
fn whatever_else_a_process_does_is_one_error() {
    let patient = Duration::from_secs(60);
    let refused =
        Err("the model's chat template needed more memory or time for these messages than is allowed, or \
                       wrote too long a text");
    check("kill -9 $$", patient, refused);
    check("cat > /dev/null; kill -SEGV $$", patient, refused);
    check("cat > /dev/null; echo nonsense", patient, refused);
    check("cat > /dev/null; exec yes", patient, refused);
    // Neither reads all of the request before it writes.
    check("exec yes", Duration::from_millis(200), refused);
    check("exec cat", Duration::from_millis(200), refused);
    check("exec >&- sleep LONG", Duration::from_millis(200), refused);
    check("exec sleep LONG", Duration::from_millis(200), refused);
}

#[test]
fn a_command_that_is_not_there_is_told_apart() {
    for command in [vec![], vec!["/nowhere/hearth".into()]] {
        let result = RenderProcesses::new(command, &Limits::default()).render(&request());
        assert!(matches!(result, Err(InferenceError::RenderProcess(_))), "{result:?}");
    }
}

#[test]
fn few_run_at_once_and_few_wait() {
    let processes = processes("", Duration::ZERO);
    let first = processes.slot().expect("a place");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| processes.slot().map(drop).is_ok());
        while processes.counts().waiting == 0 {
            thread::yield_now();
        }
        processes.counts().waiting += MAX_RENDERS_WAITING - 1;
        assert!(matches!(processes.slot(), Err(InferenceError::QueueFull { limit: MAX_RENDERS_WAITING })));
        assert!(!waiting.is_finished(), "only one may run");
        processes.counts().waiting -= MAX_RENDERS_WAITING - 1;
        drop(first);
        assert!(waiting.join().expect("no panic"), "the place was given on");
    });
    assert!(processes.slot().is_ok());
}
