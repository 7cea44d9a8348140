//! The demo: everything a user does, against the real server, in one go.

mod interrupt;
mod report;
mod rows;
mod score;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use hearth_client::{Client, Job};
use hearth_domain::{AccountId, ModelId};
use hearth_run::Backend;
use hearth_run::RunDir;
use hearth_store::installed;
use serde_json::json;

use crate::config::BASE_MODEL_ACCOUNT;
use crate::local_server::LocalServer;
use crate::progress::{self, Outcome};
use crate::{catalogue, output};
use interrupt::Interrupt;

/// Account that the demo makes for itself.
const ACCOUNT: &str = "demo";
const TRAIN_DATASET: &str = "support-train";
const HELDOUT_DATASET: &str = "support-heldout";
/// Id of the job and of the model that it makes.
const MODEL: &str = "support-filer";
const EPOCHS: u32 = 3;
const LEARNING_RATE: f32 = 1e-3;
const LEARNING_RATE_WARMUP_STEPS: u32 = 5;
const LORA_RANK: u32 = 8;
const BATCH_SIZE_SAMPLES: u32 = 16;
const MAX_CONTEXT_LENGTH: u32 = 256;
/// Most data directories of earlier demos.
const MAX_DEMOS: u32 = 10_000;

/// What the demo found out.
pub struct Figures {
    base_model: String,
    tuned_model: String,
    train_rows: usize,
    outcome: Outcome,
    train_seconds: f64,
    base: score::Score,
    tuned: score::Score,
    adapter_dir: PathBuf,
    total_seconds: f64,
}

/// Runs the demo. Exit code 0 means: the tuned model is better, and not by chance.
pub fn run(data_dir: &Path, keep: bool, json: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let entry = &catalogue::ENTRIES[0];
    say("Base model", &format!("{} ({}, licence {})", entry.id, entry.display_name, entry.licence))?;
    catalogue::pull(entry, data_dir)?;
    let demo_dir = fresh_directory(data_dir)?;
    let installed = installed::read(data_dir, &catalogue::base_account(), &entry.model_id())?;
    catalogue::share(&installed.dir, &demo_dir, &catalogue::base_account(), &entry.model_id())?;

    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = LocalServer::start(LocalServer::config(&demo_dir, listen, Backend::Cpu)?)?;
    say("Server", &format!("{}, data in {}", server.url(), demo_dir.display()))?;
    let (client, key) = make_account(&server)?;
    say("Account", &format!("{ACCOUNT}, with a key of its own"))?;
    let train_rows = upload(&client)?;

    let base_model = format!("accounts/{BASE_MODEL_ACCOUNT}/models/{}", entry.id);
    let train_started = Instant::now();
    let job = create_job(&client, &base_model)?;
    say("Job", &format!("{}: {EPOCHS} epochs, rank {LORA_RANK}", job.name))?;
    let run_dir = RunDir::new(demo_dir.join("runs").join(ACCOUNT).join(MODEL));
    let interrupt = Interrupt::arm(&server, &client, &job.name, run_dir);
    let outcome = progress::watch(&client, &job.name, false)?;
    let train_seconds = train_started.elapsed().as_secs_f64();
    if !outcome.job.is_success() {
        interrupt.disarm(&server)?;
        return failed(&client, &outcome.job, server);
    }
    let tuned_model = outcome.job.output_model.clone();
    say("Questions", &format!("{} held-out rows to base and tuned model", rows::heldout()?.len()))?;
    let base = score::ask_all(&client, &base_model)?;
    let tuned = score::ask_all(&client, &tuned_model)?;
    let adapter_dir = installed::model_dir(&demo_dir, &AccountId::new(ACCOUNT)?, &ModelId::new(MODEL)?);
    if !adapter_dir.join("adapter_model.safetensors").is_file() {
        bail!("the job is {} but {} holds no adapter", outcome.job.short_state(), adapter_dir.display());
    }
    let total_seconds = started.elapsed().as_secs_f64();
    let figures = Figures {
        base_model,
        tuned_model,
        train_rows,
        outcome,
        train_seconds,
        base,
        tuned,
        adapter_dir,
        total_seconds,
    };
    interrupt.disarm(&server)?;
    finish(&figures, server, &key, keep, json)
}

/// Prints the results, keeps the server if asked, and gives the verdict.
fn finish(figures: &Figures, server: LocalServer, key: &str, keep: bool, json: bool) -> Result<ExitCode> {
    report::print(figures)?;
    let url = server.url();
    if keep {
        report::print_how_to_go_on(figures, &url, key)?;
    }
    if json {
        output::json(&report::json(figures)?)?;
    }
    if keep {
        let signals = server.signals()?;
        server.run_until_signal(signals);
    } else {
        server.stop();
    }
    if report::is_better(figures)? {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("the tuned model is not better than the base by more than chance gives");
}

/// Says why the job failed.
fn failed(client: &Client, job: &Job, server: LocalServer) -> Result<ExitCode> {
    if let Some(log) = progress::log_tail(client, job) {
        output::line("End of the trainer's log:")?;
        output::line(&log)?;
    }
    server.stop();
    bail!("{}", progress::describe_end(job));
}

/// A data directory of its own below the user's, so that the demo finds nothing and disturbs nothing there.
fn fresh_directory(data_dir: &Path) -> Result<PathBuf> {
    let parent = data_dir.join("demo");
    std::fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
    for number in 1..=MAX_DEMOS {
        let dir = parent.join(number.to_string());
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", dir.display())),
        }
    }
    bail!("{} holds {MAX_DEMOS} demos; remove some", parent.display());
}

/// An account and a key through the API, as an administrator makes them for a user.
fn make_account(server: &LocalServer) -> Result<(Client, String)> {
    let admin = Client::new(&server.url(), server.new_key().map(str::to_owned), None)?;
    admin.create("accounts", &[("accountId", ACCOUNT)], &json!({ "displayName": "Demo" }))?;
    let body = json!({ "apiKey": { "email": "demo@example.org", "displayName": "demo" } });
    let answer = admin.create(&format!("accounts/{ACCOUNT}/apiKeys"), &[], &body)?;
    let key = answer["key"].as_str().context("the server made an API key without a key")?.to_owned();
    Ok((Client::new(&server.url(), Some(key.clone()), None)?, key))
}

/// Uploads both files; returns the number of training rows.
fn upload(client: &Client) -> Result<usize> {
    for (id, text) in [(TRAIN_DATASET, rows::TRAIN), (HELDOUT_DATASET, rows::HELDOUT)] {
        client.dataset_create(ACCOUNT, id)?;
        let name = format!("accounts/{ACCOUNT}/datasets/{id}");
        client.dataset_upload_bytes(&name, &format!("{id}.jsonl"), text.as_bytes())?;
        let state = client.get(&name)?["state"].clone();
        if state != "READY" {
            bail!("{name} is {state} after its upload");
        }
        say("Dataset", &format!("{name}, {} rows", text.lines().count()))?;
    }
    Ok(rows::TRAIN.lines().count())
}

fn create_job(client: &Client, base_model: &str) -> Result<Job> {
    let body = json!({
        "displayName": "Support messages",
        "dataset": format!("accounts/{ACCOUNT}/datasets/{TRAIN_DATASET}"),
        "evaluationDataset": format!("accounts/{ACCOUNT}/datasets/{HELDOUT_DATASET}"),
        "baseModel": base_model,
        "outputModel": MODEL,
        "epochs": EPOCHS,
        "learningRate": LEARNING_RATE,
        "learningRateWarmupSteps": LEARNING_RATE_WARMUP_STEPS,
        "loraRank": LORA_RANK,
        "batchSizeSamples": BATCH_SIZE_SAMPLES,
        "maxContextLength": MAX_CONTEXT_LENGTH,
    });
    let path = format!("accounts/{ACCOUNT}/supervisedFineTuningJobs");
    let created = client.create(&path, &[("supervisedFineTuningJobId", MODEL)], &body)?;
    Ok(Job::read(client, &created)?)
}

fn say(what: &str, text: &str) -> Result<()> {
    output::line(&format!("{what:<11} {text}"))
}
