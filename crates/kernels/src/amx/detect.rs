//! Whether the tile registers can be used.

use std::arch::asm;
use std::sync::OnceLock;

/// Whether the processor has the instructions and the kernel lets this process use them. Asks the kernel
/// for its permission, once per process.
pub fn available() -> bool {
    // The tests of this crate emulate the instructions where they are missing.
    #[cfg(test)]
    if !on_hardware() {
        return super::emulator::install();
    }
    on_hardware()
}

/// [`available`] without emulation.
pub fn on_hardware() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| processor_has_tiles() && permitted())
}

/// CPUID leaf 7 names AMX-TILE, AMX-BF16 and AMX-INT8, which come together, and the operating system saves tile configuration and data.
fn processor_has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    const WANTED: u32 = AMX_BF16 | AMX_TILE | AMX_INT8;
    const TILE_STATE: u32 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let xcr0: u32;
    // SAFETY: OSXSAVE says that the instruction exists and that XCR0 may be read.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") xcr0, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    let features = __cpuid_count(7, 0).edx;
    features & WANTED == WANTED && xcr0 & TILE_STATE == TILE_STATE
}

/// Linux hands out tile data on request only; the permission then holds for every thread of the process.
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this code of `arch_prctl` takes a number and touches no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}
