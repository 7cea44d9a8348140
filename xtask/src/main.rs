//! Checks and set-up for developers: `cargo xtask ci` is exactly what CI runs.

mod ci;
mod setup;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
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

/// Runs commands in the workspace, so many at a time, begun in their order. What each prints is shown in one piece when it
/// ends. After the first failure no other begins.
fn run_side_by_side(commands: Vec<Command>, lanes: usize) -> Result<()> {
    let waiting = Mutex::new(commands.into_iter());
    let failure = Mutex::new(None);
    let lane = || {
        while failure.lock().expect("no lane panics").is_none() {
            let Some(mut command) = waiting.lock().expect("no lane panics").next() else { return };
            if let Err(error) = run_quietly(&mut command) {
                failure.lock().expect("no lane panics").get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| (0..lanes).for_each(|_| drop(scope.spawn(lane))));
    failure.into_inner().expect("no lane panics").map_or(Ok(()), Err)
}

/// As [`run`], but what the command prints is shown when it has ended.
fn run_quietly(command: &mut Command) -> Result<()> {
    command.current_dir(root());
    let shown = format!("{} {}", command.get_program().display(), shown_args(command));
    let began = Instant::now();
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    let printed = [output.stdout, output.stderr].concat();
    let took = began.elapsed().as_secs();
    println!("$ {shown}\n{}took {took} s", String::from_utf8_lossy(&printed));
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    Ok(())
}

fn shown_args(command: &Command) -> String {
    command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The `cargo` that runs this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
