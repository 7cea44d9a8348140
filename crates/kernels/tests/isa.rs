//! Instruction sets: the best one is chosen, and a forced one that the machine lacks is refused by name.

use hearth_kernels::{Backend, Cpu, CpuOptions, Isa, Precision};

fn forced(isa: Option<Isa>) -> Result<Cpu, hearth_kernels::KernelError> {
    Cpu::new(CpuOptions { threads: 1, isa, precision: Precision::Bf16 })
}

#[test]
fn every_instruction_set_runs_or_is_refused_by_name() {
    let available: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
    assert_eq!(available.last(), Some(&"plain"));
    for isa in Isa::ALL {
        if isa.is_available() {
            let cpu = forced(Some(isa)).expect("an available instruction set");
            assert_eq!(cpu.isa(), isa);
            assert_eq!(cpu.name(), format!("cpu-{isa} (bf16, 1 threads)"));
        } else {
            let error = forced(Some(isa)).expect_err("an instruction set that this machine lacks");
            let expect = format!(
                "this machine cannot run the {isa} kernels; leave the instruction set open or choose one of: {}",
                available.join(", ")
            );
            assert_eq!(error.to_string(), expect);
        }
    }
}

#[test]
fn the_best_available_one_is_the_default() {
    let cpu = forced(None).expect("some instruction set");
    assert_eq!(cpu.isa(), Isa::available()[0]);
    assert_eq!(cpu.isa(), Isa::best());
}

/// The tile family needs what the processor says of itself in /proc/cpuinfo, and more (a kernel that gives
/// permission), so it may be missing where the flags are present but not the other way round.
#[cfg(target_os = "linux")]
#[test]
fn tiles_are_available_only_where_the_kernel_lists_them() {
    let flags = std::fs::read_to_string("/proc/cpuinfo").expect("/proc/cpuinfo");
    let listed = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let all = ["amx_tile", "amx_bf16", "avx512_bf16"].into_iter().all(listed);
    assert!(all || !Isa::Amx.is_available(), "amx without its flags");
}
