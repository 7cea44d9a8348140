//! Every check and test, in the order in which they fail soonest.

use std::process::Command;

use anyhow::{Result, ensure};
use hearth_kernels::Isa;

use crate::{cargo, root, run as run_command, run_side_by_side, setup, tidy};

/// Suites that run at the same time: much of their time is waiting, for servers that start and faults that last.
const LANES: usize = 2;

/// Runs everything; the first failure ends the run.
pub fn run() -> Result<()> {
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    setup::run()?;
    // Advisories need a database from the network; licences, bans and sources do not.
    run_command(cargo().args(["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    let clippy = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run_command(cargo().args(clippy))?;
    let golden = ["golden_real_templates.py", "golden_tokenizers.py"].map(|script| {
        let mut command = Command::new(setup::python());
        command.arg(format!("conformance/{script}"));
        command
    });
    run_side_by_side(golden.into(), LANES)?;
    run_command(
        cargo()
            .args(["nextest", "run", "--release", "--workspace"])
            .env("HEARTH_TEST_MODELS_DIR", setup::data_dir().join("models"))
            .env("HEARTH_TEST_FAMILIES_DIR", setup::families_dir())
            .env("INSTA_UPDATE", "no"),
    )?;
    run_command(
        cargo()
            .args(["doc", "--release", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // The tests built it, for those of the command line.
    let binary = root().join("target/release/hearth");
    ensure!(binary.exists(), "{} was not built", binary.display());
    let (python, python_grpc, python_schema, python_wandb) =
        (setup::python(), setup::python_grpc(), setup::python_schema(), setup::python_wandb());
    let python_storage = setup::python_storage();
    let suites = [
        (&python, "sdk.py"),
        (&python, "sdk_resources.py"),
        (&python, "tls.py"),
        (&python, "openai_package.py"),
        (&python, "forms.py"),
        (&python_grpc, "sdk_grpc.py"),
        (&python_schema, "schema.py"),
        (&python, "faults.py"),
        (&python_wandb, "weights_and_biases.py"),
        (&python_wandb, "webhooks.py"),
        (&python, "import_s3.py"),
        (&python_storage, "datasets_s3.py"),
        (&python_storage, "datasets_azure.py"),
        (&python, "demo.py"),
    ];
    let commands = suites.map(|(python, suite)| {
        let mut command = Command::new(python);
        command.arg(format!("conformance/{suite}"));
        command
    });
    run_side_by_side(commands.into(), LANES)?;
    println!("all checks passed");
    name_instruction_sets();
    Ok(())
}

/// Says last, where it is seen, which kernels these checks did not run because the machine cannot.
fn name_instruction_sets() {
    let (run, missing): (Vec<Isa>, Vec<Isa>) = Isa::ALL.into_iter().partition(|isa| isa.is_available());
    let names = |sets: &[Isa]| sets.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
    println!("instruction sets that were run: {}", names(&run));
    if missing.is_empty() {
        return;
    }
    eprintln!("*** NOT RUN, because this machine lacks them: {} ***", names(&missing));
    if missing.contains(&Isa::Amx) && cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!(
            "*** amx: only the tests of hearth-kernels ran it, with its tile instructions emulated ***"
        );
    }
}
