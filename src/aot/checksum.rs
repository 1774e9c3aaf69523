//! The checksum of weight files as generated code computes it: [`xxh64::hash`].

use crate::codegen::{CodeError, CodeModule, FuncId, Linkage, NestBuilder, Word};
use crate::hash::xxh64::{self, LAST_SHIFTS, MERGE_ROTATIONS, PRIMES, START, STRIPE, TAKE_ROTATION};
use crate::schedule::ALIGNMENT;

/// Bytes in which accumulators stay in registers.
const BLOCK: usize = 16 * STRIPE;

/// Defines `u64 checksum(address, bytes)` of a number of bytes that is above 0 and a multiple of [`ALIGNMENT`].
pub(super) fn define(module: &mut CodeModule) -> Result<FuncId, CodeError> {
    module.define_function("checksum", Linkage::Local, 2, |n| {
        let (address, bytes) = (n.arg(0), n.arg(1));
        let accumulators = n.stack(8 * START.len() as u32);
        for (index, start) in START.into_iter().enumerate() {
            let start = n.iconst(start as i64);
            n.store(start, accumulators, 8 * index as i32);
        }
        let mask = n.iconst(-(BLOCK as i64));
        let (zero, whole) = (n.iconst(0), n.and(bytes, mask));
        for (begin, end, step) in [(zero, whole, BLOCK), (whole, bytes, ALIGNMENT)] {
            n.for_range_step(begin, end, step as i64, |n, at| {
                let at = n.add(address, at);
                emit_stripes(n, accumulators, at, step / STRIPE);
            });
        }
        emit_hash(n, accumulators, bytes)
    })
}

/// The checksum of the `bytes` bytes at `address`, by the function that [`define`] defined.
pub(super) fn emit(n: &mut NestBuilder, checksum: FuncId, address: Word, bytes: usize) -> Word {
    match bytes {
        0 => n.iconst(xxh64::hash(&[]) as i64),
        _ => {
            let bytes = n.iconst(bytes as i64);
            n.call_value(checksum, &[address, bytes])
        }
    }
}

/// Lets the accumulators take `count` stripes.
fn emit_stripes(n: &mut NestBuilder, accumulators: Word, address: Word, count: usize) {
    let mut sums: [Word; 4] = std::array::from_fn(|index| n.load(accumulators, 8 * index as i32));
    for stripe in 0..count {
        for (index, sum) in sums.iter_mut().enumerate() {
            let word = n.load(address, (stripe * STRIPE + 8 * index) as i32);
            *sum = emit_take(n, *sum, word);
        }
    }
    sums.into_iter().enumerate().for_each(|(index, sum)| n.store(sum, accumulators, 8 * index as i32));
}

fn emit_take(n: &mut NestBuilder, accumulator: Word, word: Word) -> Word {
    let product = emit_times(n, word, PRIMES[1]);
    let sum = n.add(accumulator, product);
    let rotated = n.rotl_imm(sum, TAKE_ROTATION);
    emit_times(n, rotated, PRIMES[0])
}

fn emit_hash(n: &mut NestBuilder, accumulators: Word, bytes: Word) -> Word {
    let sums: [Word; 4] = std::array::from_fn(|index| n.load(accumulators, 8 * index as i32));
    let mut hash = n.iconst(0);
    for (&sum, by) in sums.iter().zip(MERGE_ROTATIONS) {
        let rotated = n.rotl_imm(sum, by);
        hash = n.add(hash, rotated);
    }
    for sum in sums {
        let zero = n.iconst(0);
        let taken = emit_take(n, zero, sum);
        let mixed = n.xor(hash, taken);
        let product = emit_times(n, mixed, PRIMES[0]);
        hash = n.add_imm(product, PRIMES[3] as i64);
    }
    hash = n.add(hash, bytes);
    for (shift, prime) in LAST_SHIFTS.into_iter().zip([Some(PRIMES[1]), Some(PRIMES[2]), None]) {
        let shifted = n.shr_imm(hash, shift);
        hash = n.xor(hash, shifted);
        hash = prime.map_or(hash, |prime| emit_times(n, hash, prime));
    }
    hash
}

fn emit_times(n: &mut NestBuilder, a: Word, prime: u64) -> Word {
    let prime = n.iconst(prime as i64);
    n.mul(a, prime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_generated(check: impl Fn(&dyn Fn(&[u64]) -> u64)) {
        let mut module = CodeModule::jit(false).unwrap();
        let id = define(&mut module).unwrap();
        let code = module.finish_jit().unwrap();
        // SAFETY: the function was defined with this signature, and `code` lives.
        let function: unsafe extern "C" fn(*const u64, usize) -> u64 = unsafe { std::mem::transmute(code.address(id)) };
        // SAFETY: it reads so many bytes.
        check(&|words| unsafe { function(words.as_ptr(), size_of_val(words)) });
    }

    fn words(count: usize) -> Vec<u64> {
        (0..count as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i << 7).collect()
    }

    #[test]
    fn generated_code_has_the_hash_of_rust() {
        with_generated(|generated| {
            for bytes in [64, 128, 448, 512, 576, 1024, 4096 + 64] {
                let words = words(bytes / 8);
                assert_eq!(generated(&words), xxh64::hash(bytemuck::cast_slice(&words)), "{bytes} bytes");
            }
        });
    }

    /// What a disk, a copy that was cut off or an editor do to a file.
    #[test]
    fn damage_of_many_kinds_is_found() {
        let sound = words(1024);
        let expected = xxh64::hash(bytemuck::cast_slice(&sound));
        let mut damaged: Vec<Vec<u64>> = (0..64 * 128)
            .map(|bit| {
                let mut words = sound.clone();
                words[bit / 64 * 8] ^= 1 << (bit % 64);
                words
            })
            .collect();
        for distance in [1, 4, 8, 512] {
            let mut signs = sound.clone();
            signs[3] ^= 1 << 63;
            signs[3 + distance] ^= 1 << 63;
            let mut swapped = sound.clone();
            swapped.swap(3, 3 + distance);
            let mut zeros = sound.clone();
            zeros[512..512 + distance].fill(0);
            let mut moved = sound.clone();
            moved.copy_within(0..512, distance);
            damaged.extend([signs, swapped, zeros, moved]);
        }
        for words in damaged {
            assert_ne!(xxh64::hash(bytemuck::cast_slice(&words)), expected);
        }
    }
}
