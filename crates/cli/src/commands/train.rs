//! `hearth train`: what the server starts for each run of a job.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

/// Train a run directory (the server starts this; it can also be run by hand)
///
/// Goes on from the last checkpoint if there is one. SIGTERM writes a checkpoint and exits with 75.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth train ~/.local/share/hearth/runs/default/ab12cd34")]
pub struct Args {
    /// Directory with job.json
    run_dir: PathBuf,
    /// Memory that the trainer may take, as bytes, 800MiB or 4GiB [default: 80 % of what is free]
    ///
    /// Decides how many activations are kept and how many are computed again, which changes no bit of the result. A
    /// run that does not fit ends before its first step.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,
    /// Threads [default: those of the job, one per core unless it says otherwise]; they change no bit of the result
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print as JSON what the run will take, and train nothing
    ///
    /// Counts rows, tokens and steps as the trainer would, and says how much memory and time they are expected to
    /// take. A mistake in the rows or settings shows here as it would there.
    #[arg(long)]
    estimate: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let options =
            hearth_train::TrainOptions { memory_limit_bytes: self.memory_limit, threads: self.threads };
        if self.estimate {
            let reply = hearth_train::estimate(&self.run_dir, options);
            println!("{}", serde_json::to_string(&reply)?);
            return Ok(ExitCode::SUCCESS);
        }
        let code = hearth_train::run(&self.run_dir, options);
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}

/// Bytes from a whole number, with or without a unit.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let number: Option<u64> = number.trim_end().parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift)).filter(|&bytes| bytes > 0);
    bytes.ok_or_else(|| "expected a whole number of bytes, KiB, MiB or GiB, for example 4GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::{Args, parse_size};

    #[test]
    fn each_option_has_its_own_help() {
        let command = Args::augment_args(clap::Command::new("train"));
        for (option, expect) in
            [("threads", "Threads "), ("estimate", "Print as JSON"), ("memory_limit", "Memory ")]
        {
            let arg = command.get_arguments().find(|arg| arg.get_id() == option).unwrap();
            let help = arg.get_help().unwrap().to_string();
            assert!(help.starts_with(expect), "{option}: {help}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expect) in [
            ("1000", Some(1000)),
            ("3KiB", Some(3072)),
            ("800MiB", Some(800 << 20)),
            ("4 GiB", Some(4 << 30)),
            ("0", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("4GB", None),
            ("99999999999999999999", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expect, "{text}");
        }
    }
}
