//! Checks and set-up for developers: `cargo xtask ci` is exactly what CI runs.

mod ci;
mod setup;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci       set up, then run every check and test (what CI runs)
  setup    install the checkers and the Python environment of conformance/, fetch the test model
  tidy     check crate edges, module headers, paths in Markdown and file sizes
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let result = match command.as_str() {
        "ci" => ci::run(),
        "setup" => setup::run(),
        "tidy" => tidy::run(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Runs a command in the workspace and fails when it does.
fn run(command: &mut Command) -> Result<()> {
    command.current_dir(root());
    let shown = format!("{} {}", command.get_program().display(), shown_args(command));
    println!("$ {shown}");
    let began = Instant::now();
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    println!("took {} s", began.elapsed().as_secs());
    Ok(())
}

fn shown_args(command: &Command) -> String {
    command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The `cargo` that runs this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
