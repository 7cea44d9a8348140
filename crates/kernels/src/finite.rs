//! A scan of frozen matrices for numbers that are not finite, in the form in which they are stored.

use crate::weight::{WeightBytes, WeightDtype};

/// Numbers or blocks that are looked at together before one is looked for.
const PART: usize = 4096;

/// Row and column of the first number that is NaN or infinite. Numbers of a block form are small integers times the
/// block's scales (and plus its offset), so only those are read, and the column is that of the block's first number.
pub fn first_not_finite(weight: &WeightBytes) -> Option<(usize, usize)> {
    let bytes = weight.bytes();
    let block = match weight.dtype {
        WeightDtype::F32 => {
            first(bytes.as_chunks::<4>().0, |b| u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000)
        }
        WeightDtype::F16 => first(bytes.as_chunks::<2>().0, half_is_bad),
        WeightDtype::Bf16 => first(bytes.as_chunks::<2>().0, |b| u16::from_le_bytes(*b) & 0x7f80 == 0x7f80),
        WeightDtype::Q8_0 => scales::<34>(bytes, [0, 0]),
        WeightDtype::Q4_0 => scales::<18>(bytes, [0, 0]),
        WeightDtype::Q4_1 => scales::<20>(bytes, [0, 2]),
        WeightDtype::Q5_0 => scales::<22>(bytes, [0, 0]),
        WeightDtype::Q5_1 => scales::<24>(bytes, [0, 2]),
        WeightDtype::Q4K => scales::<144>(bytes, [0, 2]),
        WeightDtype::Q5K => scales::<176>(bytes, [0, 2]),
        WeightDtype::Q6K => scales::<210>(bytes, [208, 208]),
    }?;
    let element = block * weight.dtype.block_len();
    Some((element / weight.cols, element % weight.cols))
}

/// Number of the first block of `BYTES` bytes with a bad half at one of these places.
fn scales<const BYTES: usize>(bytes: &[u8], at: [usize; 2]) -> Option<usize> {
    let bad = |block: &[u8; BYTES]| at.iter().any(|&i| half_is_bad(&[block[i], block[i + 1]]));
    first(bytes.as_chunks::<BYTES>().0, bad)
}

fn half_is_bad(bytes: &[u8; 2]) -> bool {
    u16::from_le_bytes(*bytes) & 0x7c00 == 0x7c00
}

fn first<T>(items: &[T], bad: impl Fn(&T) -> bool) -> Option<usize> {
    // Without an early end inside a part, so that the loop runs in vector lanes.
    let part = items.chunks(PART).position(|part| part.iter().fold(false, |any, x| any | bad(x)))?;
    items[part * PART..].iter().position(bad).map(|i| part * PART + i)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dequant::expand_row;
    use crate::options::Isa;

    const ROWS: usize = 9;
    const COLS: usize = 1024;

    fn weight(dtype: WeightDtype, bytes: Vec<u8>) -> WeightBytes {
        let range = 0..bytes.len();
        WeightBytes::new(dtype, ROWS, COLS, Arc::new(bytes), range)
    }

    /// Every two bytes of the last block, set to NaN and to infinity in turn: what expands to numbers that are not
    /// finite is found, and nothing else.
    #[test]
    fn what_expands_to_bad_numbers_is_found() {
        use WeightDtype::*;
        for dtype in [F32, F16, Bf16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4K, Q5K, Q6K] {
            let (block, len) = (dtype.block_bytes(), dtype.row_bytes(COLS).expect("whole blocks") * ROWS);
            // Small numbers in every form, and no scale of zero, which would hide the rest.
            let fine: Vec<u8> = (0..len).map(|i| 0x11 + (i % 7) as u8).collect();
            assert_eq!(first_not_finite(&weight(dtype, fine.clone())), None, "{dtype:?}");
            let mut found = 0;
            for at in (len - block..len - 1).step_by(2) {
                for bits in [0x7c01u16, 0xfc00, 0x7f81, 0xff80] {
                    let mut bytes = fine.clone();
                    bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                    let weight = weight(dtype, bytes);
                    let mut row = vec![0.0; COLS];
                    expand_row(Isa::Plain, &weight, ROWS - 1, 0..COLS, &mut row);
                    let any = row.iter().any(|x| !x.is_finite());
                    let bad = any.then_some((ROWS - 1, COLS - dtype.block_len()));
                    assert_eq!(first_not_finite(&weight), bad, "{dtype:?}: {bits:x} at {at}");
                    found += usize::from(bad.is_some());
                }
            }
            assert!(found >= 2, "{dtype:?}");
        }
    }
}
