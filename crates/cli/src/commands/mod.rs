//! The commands, one file each. A command parses its arguments, asks another part, and prints.

mod account;
mod api_key;
mod bench;
mod chat;
mod dataset;
mod demo;
mod fetch_rows;
mod job;
mod model;
mod render_template;
mod secret;
mod serve;
mod train;
mod user;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Fine-tune open-weight language models on your own machine, behind the Fireworks API.
#[derive(Parser, Debug)]
#[command(
    name = "hearth",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Example:\n  hearth demo\n\nClient commands read HEARTH_URL and HEARTH_API_KEY. Without HEARTH_API_KEY, the api-key file\n\
                  of the data directory is used for a server on this machine."
)]
pub struct Cli {
    /// Print JSON for machines
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(Box<serve::Args>),
    #[command(subcommand)]
    Account(account::Command),
    #[command(subcommand)]
    ApiKey(api_key::Command),
    #[command(subcommand)]
    User(user::Command),
    #[command(subcommand)]
    Secret(secret::Command),
    #[command(subcommand)]
    Model(model::Command),
    #[command(subcommand)]
    Dataset(dataset::Command),
    #[command(subcommand)]
    SupervisedFineTuningJob(job::Command),
    Chat(chat::Args),
    Train(train::Args),
    #[command(hide = true)]
    RenderTemplate(render_template::Args),
    FetchRows(fetch_rows::Args),
    #[command(subcommand)]
    Bench(bench::Command),
    Demo(demo::Args),
}

impl Cli {
    /// Runs the command; what it returns is the exit code of the process.
    pub fn run(self) -> Result<ExitCode> {
        let json = self.json;
        match self.command {
            Command::Serve(args) => args.run(json),
            Command::Account(command) => command.run(json),
            Command::ApiKey(command) => command.run(json),
            Command::User(command) => command.run(json),
            Command::Secret(command) => command.run(json),
            Command::Model(command) => command.run(json),
            Command::Dataset(command) => command.run(json),
            Command::SupervisedFineTuningJob(command) => command.run(json),
            Command::Chat(args) => args.run(json),
            Command::Train(args) => args.run(),
            Command::RenderTemplate(args) => args.run(),
            Command::FetchRows(args) => args.run(),
            Command::Bench(command) => command.run(json),
            Command::Demo(args) => args.run(json),
        }
    }
}

/// `--backend`.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum BackendArg {
    /// The fast one
    Cpu,
    /// Scalar f32, for checks; slow
    Reference,
}

impl From<BackendArg> for hearth_run::Backend {
    fn from(arg: BackendArg) -> Self {
        match arg {
            BackendArg::Cpu => Self::Cpu,
            BackendArg::Reference => Self::Reference,
        }
    }
}

/// Logs to standard error from here on.
fn start_log(default_filter: &str) {
    let filter = tracing_subscriber::EnvFilter::new(crate::config::log_filter(default_filter));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // A log that cannot be written, on a full disk, must not end what writes it: reporting that panics.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    if crate::config::log_is_json() {
        log.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    } else {
        log.init();
    }
}
