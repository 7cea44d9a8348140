//! Tile instructions in software, for tests on machines without them.
//!
//! [`install`] sets a handler of SIGILL for this test process. It decodes the instruction at the fault, does
//! what the manual says with tiles of the faulting thread, and goes on behind it. Only the instructions that
//! this crate uses are known; whatever else raises SIGILL, and misuse that the processor would refuse as
//! well, ends the process as it would without the handler.

use std::cell::{Cell, UnsafeCell};
use std::sync::OnceLock;

const BYTES: usize = 64;
const ROWS: usize = 16;

/// One tile register and its configured shape.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    row_bytes: usize,
    data: [[u8; BYTES]; ROWS],
}

const EMPTY: Tile = Tile { rows: 0, row_bytes: 0, data: [[0; BYTES]; ROWS] };

thread_local! {
    /// No tile has rows before the first configuration, so all use of them is refused.
    static TILES: UnsafeCell<[Tile; 8]> = const { UnsafeCell::new([EMPTY; 8]) };
    static EMULATED: Cell<usize> = const { Cell::new(0) };
}

/// Instructions that were emulated on this thread.
pub fn emulated() -> usize {
    EMULATED.get()
}

/// Whether any tile of this thread is configured.
pub fn configured() -> bool {
    // SAFETY: the handler runs on this thread only while a tile instruction does, so not now.
    TILES.with(|tiles| unsafe { (*tiles.get()).iter().any(|tile| tile.rows > 0) })
}

/// What was set for SIGILL before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Sets the handler, once per process. Says whether the process now understands tile instructions.
pub fn install() -> bool {
    PREVIOUS.get_or_init(|| {
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_illegal_instruction;
        // SAFETY: all zeros is a valid `sigaction`; the handler has the signature that SA_SIGINFO asks for,
        // touches nothing but its arguments and two thread-locals without destructors, and does not allocate.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut previous: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGILL, &action, &mut previous), 0, "sigaction");
            previous
        }
    });
    true
}

extern "C" fn on_illegal_instruction(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the context of the interrupted code. `decode` reads a byte of the instruction
    // only where those before it call for one, as the processor did. Operands are the instruction's own.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let rip = registers[libc::REG_RIP as usize];
        let decoded = decode(|i| *(rip as *const u8).add(i));
        let value = |register: u8| registers[GENERAL[usize::from(register)] as usize];
        let done = decoded
            .is_some_and(|(op, _)| TILES.with(|tiles| execute(op, &mut *tiles.get(), value).is_some()));
        match (decoded, PREVIOUS.get()) {
            (Some((_, len)), _) if done => {
                registers[libc::REG_RIP as usize] = rip + len as i64;
                EMULATED.set(EMULATED.get() + 1);
            }
            // Back at the instruction, it faults again, and this time as if the handler had never been.
            (_, Some(previous)) => {
                libc::sigaction(libc::SIGILL, previous, std::ptr::null_mut());
            }
            (_, None) => libc::abort(),
        }
    }
}

/// Places of the general registers in the context, by their number in an instruction.
const GENERAL: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// A memory operand: base, scaled index, displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub base: Option<u8>,
    pub index: Option<u8>,
    pub scale: u8,
    pub displacement: i32,
}

/// An instruction that is known here. Tiles are named by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Configure(Address),
    Release,
    Zero(usize),
    Load(usize, Address),
    Store(Address, usize),
    Dot {
        sums: usize,
        a: usize,
        b: usize,
    },
    /// Of signed by unsigned integers.
    Integers {
        sums: usize,
        a: usize,
        b: usize,
    },
}

/// The instruction of these bytes and its length, if it is one of [`Op`].
pub fn decode(byte: impl Fn(usize) -> u8) -> Option<(Op, usize)> {
    // VEX with three bytes: c4, inverted R X B and map, W and inverted vvvv and L and pp; then opcode, ModRM.
    if byte(0) != 0xc4 {
        return None;
    }
    let (first, second) = (byte(1), byte(2));
    let (map, w_and_l, prefix) = (first & 0x1f, second & 0x84, second & 3);
    if map != 2 || w_and_l != 0 {
        return None;
    }
    let high = |bit: u8| if first & bit == 0 { 8 } else { 0 };
    let (r, x, b) = (high(0x80), high(0x40), high(0x20));
    let third = !(second >> 3) & 15;
    let (opcode, modrm) = (byte(3), byte(4));
    let (mode, reg, rm) = (modrm >> 6, (modrm >> 3 & 7) + r, modrm & 7);
    let tile = |number: u8| (number < 8).then_some(usize::from(number));
    const NONE: u8 = 0;
    const F3: u8 = 2;
    const F2: u8 = 3;
    if mode == 3 {
        let op = match (opcode, prefix) {
            (0x49, NONE) if modrm == 0xc0 && third == 0 => Op::Release,
            (0x49, F2) if rm == 0 && third == 0 => Op::Zero(tile(reg)?),
            (0x5c, F3) => Op::Dot { sums: tile(reg)?, a: tile(rm + b)?, b: tile(third)? },
            (0x5e, F3) => Op::Integers { sums: tile(reg)?, a: tile(rm + b)?, b: tile(third)? },
            _ => return None,
        };
        return Some((op, 5));
    }
    let (address, len) = decode_address(&byte, mode, rm, x, b)?;
    let op = match (opcode, prefix) {
        (0x49, NONE) if reg == 0 && third == 0 => Op::Configure(address),
        // Rows are told apart by the index, so an operand without one is refused.
        (0x4b, F2) if rm == 4 && third == 0 => Op::Load(tile(reg)?, address),
        (0x4b, F3) if rm == 4 && third == 0 => Op::Store(address, tile(reg)?),
        _ => return None,
    };
    Some((op, len))
}

/// The memory operand, and the length of the whole instruction.
fn decode_address(byte: impl Fn(usize) -> u8, mode: u8, rm: u8, x: u8, b: u8) -> Option<(Address, usize)> {
    let mut at = 5;
    let mut address = Address { base: Some(rm + b), index: None, scale: 1, displacement: 0 };
    let mut bare = rm == 5 && mode == 0;
    if bare {
        // Relative to the instruction: not used.
        return None;
    }
    if rm == 4 {
        let sib = byte(at);
        at += 1;
        let (index, base) = ((sib >> 3 & 7) + x, sib & 7);
        address.scale = 1 << (sib >> 6);
        address.index = (index != 4).then_some(index);
        bare = base == 5 && mode == 0;
        address.base = (!bare).then_some(base + b);
    }
    if mode == 1 {
        address.displacement = i32::from(byte(at).cast_signed());
        at += 1;
    } else if mode == 2 || bare {
        address.displacement = i32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]);
        at += 4;
    }
    Some((address, at))
}

/// Does what the instruction says; `None` where the processor would refuse it.
///
/// # Safety
/// The memory that the instruction names must be readable or writable, as for the processor.
unsafe fn execute(op: Op, tiles: &mut [Tile; 8], register: impl Fn(u8) -> i64) -> Option<()> {
    let start = |address: Address| {
        let base = address.base.map_or(0, &register);
        base.wrapping_add(i64::from(address.displacement)) as usize
    };
    let stride =
        |address: Address| address.index.map_or(0, &register).wrapping_mul(i64::from(address.scale)) as usize;
    match op {
        Op::Configure(address) => {
            let index = stride(address);
            // SAFETY: same contract.
            let config = unsafe { &*(start(address).wrapping_add(index) as *const [u8; 64]) };
            configure(config, tiles)?;
        }
        Op::Release => *tiles = [EMPTY; 8],
        Op::Zero(tile) => {
            let tile = valid(&mut tiles[tile])?;
            tile.data = EMPTY.data;
        }
        Op::Load(tile, address) => {
            let tile = valid(&mut tiles[tile])?;
            tile.data = EMPTY.data;
            for row in 0..tile.rows {
                let from = start(address).wrapping_add(row.wrapping_mul(stride(address))) as *const u8;
                // SAFETY: same contract.
                unsafe { from.copy_to_nonoverlapping(tile.data[row].as_mut_ptr(), tile.row_bytes) };
            }
        }
        Op::Store(address, tile) => {
            let tile = valid(&mut tiles[tile])?;
            for row in 0..tile.rows {
                let to = start(address).wrapping_add(row.wrapping_mul(stride(address))) as *mut u8;
                // SAFETY: same contract.
                unsafe { to.copy_from_nonoverlapping(tile.data[row].as_ptr(), tile.row_bytes) };
            }
        }
        Op::Dot { sums, a, b } | Op::Integers { sums, a, b } => {
            if sums == a || sums == b || a == b {
                return None;
            }
            let (left, right) = (*valid(&mut tiles[a])?, *valid(&mut tiles[b])?);
            let sums = valid(&mut tiles[sums])?;
            match op {
                Op::Integers { .. } => integers(sums, &left, &right)?,
                _ => dot(sums, &left, &right)?,
            }
        }
    }
    Some(())
}

fn valid(tile: &mut Tile) -> Option<&mut Tile> {
    (tile.rows > 0 && tile.row_bytes.is_multiple_of(4)).then_some(tile)
}

/// `ldtilecfg`.
fn configure(config: &[u8; 64], tiles: &mut [Tile; 8]) -> Option<()> {
    let reserved = config[2..16].iter().chain(&config[32..48]).chain(&config[56..]);
    if config[0] != 1 || config[1] != 0 || reserved.into_iter().any(|&byte| byte != 0) {
        return None;
    }
    let mut new = [EMPTY; 8];
    for (i, tile) in new.iter_mut().enumerate() {
        tile.row_bytes = usize::from(u16::from_le_bytes([config[16 + 2 * i], config[17 + 2 * i]]));
        tile.rows = usize::from(config[48 + i]);
        if tile.row_bytes > BYTES || tile.rows > ROWS || (tile.rows == 0) != (tile.row_bytes == 0) {
            return None;
        }
    }
    *tiles = new;
    Some(())
}

/// `tdpbf16ps`: `sums += a x b`, first and second elements of the pairs summed apart.
fn dot(sums: &mut Tile, a: &Tile, b: &Tile) -> Option<()> {
    if sums.rows != a.rows || sums.row_bytes != b.row_bytes || a.row_bytes / 4 != b.rows {
        return None;
    }
    let pair = |tile: &Tile, row: usize, word: usize| {
        let bytes = &tile.data[row][4 * word..4 * word + 4];
        let element =
            |i: usize| f32::from_bits(u32::from(u16::from_le_bytes([bytes[i], bytes[i + 1]])) << 16);
        [flush(element(0)), flush(element(2))]
    };
    for row in 0..sums.rows {
        for column in 0..sums.row_bytes / 4 {
            let mut apart = [0.0f32; 2];
            for k in 0..b.rows {
                let (x, y) = (pair(a, row, k), pair(b, k, column));
                for i in 0..2 {
                    apart[i] = flush(x[i].mul_add(y[i], apart[i]));
                }
            }
            let bytes = &mut sums.data[row][4 * column..4 * column + 4];
            let before = flush(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            let sum = flush(before + flush(apart[0] + apart[1]));
            bytes.copy_from_slice(&sum.to_le_bytes());
        }
        sums.data[row][sums.row_bytes..].fill(0);
    }
    sums.data[sums.rows..].fill([0; BYTES]);
    Some(())
}

/// `tdpbsud`: `sums += a x b`, four signed by four unsigned integers a word.
fn integers(sums: &mut Tile, a: &Tile, b: &Tile) -> Option<()> {
    if sums.rows != a.rows || sums.row_bytes != b.row_bytes || a.row_bytes / 4 != b.rows {
        return None;
    }
    for row in 0..sums.rows {
        for column in 0..sums.row_bytes / 4 {
            let at = 4 * column..4 * column + 4;
            let products = (0..a.row_bytes).map(|i| {
                let (x, y) = (a.data[row][i].cast_signed(), b.data[i / 4][4 * column + i % 4]);
                i32::from(x) * i32::from(y)
            });
            let before = i32::from_le_bytes(sums.data[row][at.clone()].try_into().ok()?);
            let sum = products.fold(before, i32::wrapping_add);
            sums.data[row][at].copy_from_slice(&sum.to_le_bytes());
        }
        sums.data[row][sums.row_bytes..].fill(0);
    }
    sums.data[sums.rows..].fill([0; BYTES]);
    Some(())
}

/// Subnormal numbers count as zero.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}
