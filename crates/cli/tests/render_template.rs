//! The process that renders a template of a stranger: what it says, and that a hostile template ends it and no more.

use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};

use hearth_data::template::process::{MAX_REQUEST_BYTES, RenderReply, RenderRequest};
use hearth_data::{ChatTemplate, Message, Role, SpecialTokens};

/// Exit status, standard output and standard error of the process.
fn run(request: &[u8]) -> (ExitStatus, Vec<u8>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .arg("render-template")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that dies early does not read everything.
    let _ = stdin.write_all(request);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    (output.status, output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn special_tokens() -> SpecialTokens {
    SpecialTokens { bos: Some("<s>".to_owned()), ..Default::default() }
}

fn messages() -> Vec<Message> {
    vec![Message::new(Role::System, "be \"kind\""), Message::new(Role::User, "SECRET\u{1}é\n")]
}

fn request(template: &str) -> Vec<u8> {
    serde_json::to_vec(&RenderRequest::new(template, &special_tokens(), &messages(), &[])).unwrap()
}

/// Expects that the template ends the process without a word that could be a reply or quote the conversation.
#[track_caller]
fn check_death(template: &str) {
    let (status, stdout, stderr) = run(&request(template));
    assert!(!status.success(), "{status}: {template}");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "{template}");
    assert!(!stderr.contains("SECRET"), "{stderr}");
}

#[test]
fn a_usual_template_gives_the_text_that_it_gives_in_process() {
    let template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}</s>\n{% endfor %}\
        {% if add_generation_prompt %}[assistant] {% endif %}";
    let (status, stdout, stderr) = run(&request(template));
    assert!(status.success(), "{stderr}");
    let inside = ChatTemplate::compile(template, &special_tokens()).unwrap();
    let expect = RenderReply::Rendered {
        prompt: inside.render(&messages(), &[], true).unwrap(),
        answer: "b</s>\n".to_owned(),
    };
    assert_eq!(serde_json::from_slice::<RenderReply>(&stdout).unwrap(), expect);
}

#[test]
fn errors_of_the_engine_are_replies() {
    let check = |template: &str, expect: &str| {
        let (_, stdout, stderr) = run(&request(template));
        match serde_json::from_slice(&stdout) {
            Ok(RenderReply::Error { message, line }) => assert_eq!(format!("{line:?} {message}"), expect),
            other => panic!("{other:?}, {stderr}"),
        }
    };
    check("\n{% if %}", "Some(2) syntax error: unexpected end of block");
    check("{{ raise_exception('roles') }}", "Some(1) refused the conversation: roles");
    check(
        "{% for a in range(9000) %}{% for b in range(9000) %}{% set c = a %}{% endfor %}{% endfor %}",
        "Some(1) stopped after 10000000 instructions; a loop does not end",
    );
    let too_deep = "Some(1) invalid operation: the value is nested too deeply to be printed";
    check(
        "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
        too_deep,
    );
    check("{% set n = namespace() %}{% set n.me = n %}{{ n }}", too_deep);
}

#[test]
fn a_string_that_doubles_ends_the_process() {
    check_death(
        "{% set n = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    );
}

#[test]
fn a_constant_that_compiling_computes_ends_the_process_only() {
    let (_, stdout, stderr) = run(&request("{{ 'a' * 100000000000 }}"));
    let reply = serde_json::from_slice::<RenderReply>(&stdout);
    assert!(!matches!(reply, Ok(RenderReply::Rendered { .. })), "{stderr}");
}

#[test]
fn work_that_the_engine_does_not_count_ends_the_process() {
    // Each instruction looks through sixteen megabytes.
    check_death(
        "{% set n = namespace(x='a' * 1000) %}{% for i in range(14) %}{% set n.x = n.x ~ n.x %}{% endfor %}\
         {% for i in range(90000) %}{% if 'b' in n.x %}{% endif %}{% endfor %}",
    );
}

#[test]
fn what_is_no_request_is_refused() {
    let (status, stdout, stderr) = run(b"{}");
    assert_eq!((status.code(), stdout.as_slice()), (Some(1), &b""[..]));
    assert!(stderr.starts_with("error: this is no request"), "{stderr}");
    let (status, _, stderr) = run(&vec![b' '; MAX_REQUEST_BYTES + 1]);
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("the request is longer than"), "{stderr}");
}
