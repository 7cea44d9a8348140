//! `GET .../models:findByRow`.

use std::path::Path;

use hearth_domain::{AccountId, ModelId};
use hearth_run::ledger::{
    self, Counts, DataFile, Entry, Header, LEDGER_FILE, Part, RowDigest, Usage, VERSION,
};
use hearth_store::installed::{self, MANIFEST_FILE};
use serde_json::{Value, json};

use crate::server::{Server, install_model};

const PATH: &str = "/v1/accounts/default/models:findByRow";

fn entry(row: &str, line: u64, usage: Usage) -> Entry {
    Entry {
        file: 0,
        line,
        row: RowDigest::of(row.as_bytes()),
        usage,
        why: None,
        step: None,
        samples: 2,
        too_long: 0,
        tokens: 40,
        trained_tokens: 7,
        digest: Some(RowDigest::of(b"samples")),
    }
}

/// An adapter with a ledger, and where that lies. `source` is what made the adapter.
fn install(data_dir: &Path, id: &str, source: &str, entries: &[Entry]) -> std::path::PathBuf {
    install_model(data_dir, "default", id, Some("tiny"));
    let dir = installed::model_dir(data_dir, &AccountId::new("default").unwrap(), &ModelId::new(id).unwrap());
    let manifest = std::fs::read_to_string(dir.join(MANIFEST_FILE)).unwrap();
    std::fs::write(dir.join(MANIFEST_FILE), manifest.replace("\"test\"", &format!("{source:?}"))).unwrap();
    let mut counts = Counts::default();
    entries.iter().for_each(|entry| counts.add(entry));
    let header = Header {
        version: VERSION,
        engine: "hearth".to_owned(),
        files: vec![DataFile {
            name: "a".to_owned(),
            sha256: String::new(),
            part: Part::Train,
            origin: None,
        }],
        base_sha256: String::new(),
        template_sha256: None,
        tokenizer_sha256: None,
        tokenizer_config_sha256: None,
        samples_sha256: String::new(),
        warm_start_sha256: None,
        warm_start_model: None,
        warm_start_ledger_sha256: None,
        step: None,
        max_context_length: 512,
        seed: 0,
        counts,
    };
    ledger::write(&dir.join(LEDGER_FILE), &header, entries).unwrap();
    dir.join(LEDGER_FILE)
}

const JOB: &str = "accounts/default/supervisedFineTuningJobs/j";

#[test]
fn models_that_jobs_made_say_what_became_of_a_row() {
    let server = Server::start();
    let data = server.dir.path();
    let all = [entry("a", 1, Usage::Train), entry("b", 2, Usage::Train), entry("a", 5, Usage::CarvedOut)];
    install(data, "whole", JOB, &all);
    install(data, "step", &format!("{JOB}/checkpoints/step-00000001"), &all[..1]);
    install(data, "early", JOB, &[entry("a", 1, Usage::NotReached)]);
    // What stands in an upload is what its owner says.
    install(data, "uploaded", "upload", &all);
    let damaged = install(data, "damaged", JOB, &all);
    std::fs::write(damaged, "no ledger").unwrap();
    std::fs::remove_file(install(data, "older", JOB, &all)).unwrap();
    let digest = RowDigest::of(b"a");
    let found = server.get(&format!("{PATH}?rowDigest={digest}")).ok();
    let mut uses = found["uses"].as_array().unwrap().clone();
    uses.sort_by_key(|one| (one["model"].to_string(), one["line"].to_string()));
    let one = |model: &str, line: &str, usage: &str| {
        json!({
            "model": format!("accounts/default/models/{model}"), "fineTuningJob": JOB, "use": usage, "file": 1,
            "line": line, "sampleCount": 2, "tokenCount": "40", "trainedTokenCount": "7",
        })
    };
    let expect = [
        one("early", "1", "NOT_REACHED"),
        one("step", "1", "TRAIN"),
        one("whole", "1", "TRAIN"),
        one("whole", "5", "CARVED_OUT"),
    ];
    assert_eq!(uses, expect);
    assert_eq!(found["rowDigest"], digest.to_string());
    assert_eq!(found["unreadableModels"], json!(["accounts/default/models/damaged"]));
    let none = server.get(&format!("{PATH}?rowDigest={}", RowDigest::of(b"c"))).ok();
    assert_eq!((&none["uses"], &none["nextPageToken"]), (&json!([]), &json!("")));

    // Pages are of models, whatever is found in them.
    let (mut token, mut pages, mut found) = (String::new(), 0, Vec::<Value>::new());
    loop {
        let page = server.get(&format!("{PATH}?rowDigest={digest}&pageSize=2&pageToken={token}")).ok();
        found.extend(page["uses"].as_array().unwrap().iter().cloned());
        pages += 1;
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    found.sort_by_key(|one| (one["model"].to_string(), one["line"].to_string()));
    assert_eq!((found.as_slice(), pages), (expect.as_slice(), 3));
}

/// Whether somebody else has a dataset is not told.
#[test]
fn rows_of_another_account_are_not_looked_up() {
    let server = Server::start();
    server.ready_dataset("rows");
    let key = server.account("acme");
    let ask = |dataset: &str| {
        let path = format!("/v1/accounts/acme/models:findByRow?dataset={dataset}&line=1");
        let (status, code, message) = server.send_as(Some(&key), "GET", &path, b"").error();
        (status, code, message.replace(dataset, "DATASET"))
    };
    let there = ask("accounts/default/datasets/rows");
    assert_eq!((there.0, there.1), (403, 7), "{}", there.2);
    assert_eq!(there, ask("accounts/default/datasets/gone"));
    assert_eq!(ask("rows").0, 404);
}
