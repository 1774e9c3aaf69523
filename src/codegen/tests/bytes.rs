//! Operations on bytes and halves.

use super::*;
use crate::codegen::Bytes;
use crate::tensor::Half;

/// A vector's bytes.
type Vector = Vec<u8>;

struct Operation {
    name: &'static str,
    from: Bytes,
    /// What an accumulator, two vectors, and one in memory become.
    emit: fn(&mut dyn VectorAsm, V, V, V, R),
    model: fn(&Vector, &Vector, &Vector) -> Vector,
}

fn words(bytes: &[u8]) -> Vec<i32> {
    bytes.chunks(4).map(|word| i32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn halves(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks(2).map(|half| i16::from_le_bytes(half.try_into().unwrap())).collect()
}

/// In each 16 bytes what `narrow` makes of those of a, then of b.
fn narrowed(a: &Vector, b: &Vector, narrow: fn(&[u8]) -> Vec<u8>) -> Vector {
    a.chunks(16).zip(b.chunks(16)).flat_map(|(a, b)| [narrow(a), narrow(b)].concat()).collect()
}

fn products(a: &Vector, b: &Vector) -> Vector {
    let products: Vec<i32> = halves(a).into_iter().zip(halves(b)).map(|(a, b)| i32::from(a) * i32::from(b)).collect();
    products.chunks(2).flat_map(|pair| pair[0].wrapping_add(pair[1]).to_le_bytes()).collect()
}

fn operations(isa: Isa) -> Vec<Operation> {
    let operation = |name, from, emit, model| Operation { name, from, emit, model };
    let mut operations = vec![
        operation(
            "load_bytes",
            Bytes::Vectors,
            |s, d, _, _, mem| s.load_bytes(d, mem.at(0)),
            |_, _, mem| mem[..mem.len() / 4].iter().flat_map(|&byte| u32::from(byte).to_le_bytes()).collect(),
        ),
        operation(
            "broadcast_byte",
            Bytes::Vectors,
            |s, d, _, _, mem| s.broadcast_byte(d, mem.at(3)),
            |a, _, mem| a.chunks(4).flat_map(|_| [mem[3], 0, 0, 0]).collect(),
        ),
        operation(
            "narrow_lanes",
            Bytes::Vectors,
            |s, d, a, b, _| s.narrow_lanes(d, a, b),
            |a, b, _| {
                narrowed(a, b, |part| {
                    let clamp = |word: i32| word.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                    words(part).into_iter().flat_map(|word| clamp(word).to_le_bytes()).collect()
                })
            },
        ),
        operation(
            "narrow_halves",
            Bytes::Vectors,
            |s, d, a, b, _| s.narrow_halves(d, a, b),
            |a, b, _| narrowed(a, b, |part| halves(part).into_iter().map(|half| half.clamp(0, 255) as u8).collect()),
        ),
        operation(
            "add_halves",
            Bytes::Vectors,
            |s, d, a, b, _| s.add_halves(d, a, b),
            |a, b, _| {
                let pairs = halves(a).into_iter().zip(halves(b));
                pairs.flat_map(|(a, b)| a.saturating_add(b).to_le_bytes()).collect()
            },
        ),
        operation(
            "sub_halves",
            Bytes::Vectors,
            |s, d, a, b, _| s.sub_halves(d, a, b),
            |a, b, _| {
                let pairs = halves(a).into_iter().zip(halves(b));
                pairs.flat_map(|(a, b)| a.saturating_sub(b).to_le_bytes()).collect()
            },
        ),
        operation(
            "load_byte_halves",
            Bytes::Vectors,
            |s, d, _, _, mem| s.load_byte_halves(d, mem.at(0)),
            |_, _, mem| mem[..mem.len() / 2].iter().flat_map(|&byte| u16::from(byte).to_le_bytes()).collect(),
        ),
        operation(
            "load_signed_halves",
            Bytes::Vectors,
            |s, d, _, _, mem| s.load_signed_halves(d, mem.at(0)),
            |_, _, mem| mem[..mem.len() / 2].iter().flat_map(|&byte| i16::from(byte as i8).to_le_bytes()).collect(),
        ),
        operation(
            "sub_bits",
            Bytes::Vectors,
            |s, d, a, b, _| s.sub_bits(d, a, b),
            |a, b, _| words(a).iter().zip(words(b)).flat_map(|(a, b)| a.wrapping_sub(b).to_le_bytes()).collect(),
        ),
        operation(
            "mul_bits",
            Bytes::Vectors,
            |s, d, a, b, _| s.mul_bits(d, a, b),
            |a, b, _| words(a).iter().zip(words(b)).flat_map(|(a, b)| a.wrapping_mul(b).to_le_bytes()).collect(),
        ),
        operation(
            "shr_signed",
            Bytes::Vectors,
            |s, d, a, _, _| s.shr_signed(d, a, 2),
            |a, _, _| words(a).into_iter().flat_map(|word| (word >> 2).to_le_bytes()).collect(),
        ),
        operation(
            "max_bytes",
            Bytes::Vectors,
            |s, d, a, b, _| s.max_bytes(d, a, b),
            |a, b, _| a.iter().zip(b).map(|(a, b)| *a.max(b)).collect(),
        ),
        operation(
            "multiply_halves",
            Bytes::Vectors,
            |s, d, a, b, _| s.multiply_halves(d, a, b),
            |a, b, _| products(a, b),
        ),
        operation(
            "multiply_halves_load",
            Bytes::Vectors,
            |s, d, a, _, mem| s.multiply_halves_load(d, a, mem.at(0)),
            |a, _, mem| products(a, mem),
        ),
        operation(
            "shr_halves",
            Bytes::Vectors,
            |s, d, a, _, _| s.shr_halves(d, a, 8),
            |a, _, _| halves(a).into_iter().flat_map(|half| (half as u16 >> 8).to_le_bytes()).collect(),
        ),
        operation(
            "dot_bytes",
            Bytes::Dots,
            |s, d, a, b, _| {
                s.splat_bits(d, 0x7fff_fff0);
                s.dot_bytes(d, a, b);
            },
            |a, b, _| {
                let products: Vec<i32> = a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b as i8)).collect();
                let sums = products.chunks(4).map(|products| products.iter().sum::<i32>());
                sums.flat_map(|sum| 0x7fff_fff0i32.wrapping_add(sum).to_le_bytes()).collect()
            },
        ),
        operation(
            "dot_halves",
            Bytes::Dots,
            |s, d, a, b, _| {
                s.splat_bits(d, 0x7fff_fff0);
                s.dot_halves(d, a, b);
            },
            |a, b, _| {
                let sums = words(&products(a, b)).into_iter().map(|sum| 0x7fff_fff0i32.wrapping_add(sum));
                sums.flat_map(i32::to_le_bytes).collect()
            },
        ),
        operation(
            "permute_bytes",
            Bytes::Tables,
            |s, d, a, _, mem| s.permute_bytes(d, a, mem.at(0)),
            |a, _, mem| a.iter().map(|&index| mem[usize::from(index) % mem.len()]).collect(),
        ),
    ];
    if isa != Isa::Clif {
        let model = |a: &Vector, b: &Vector, _: &Vector| {
            let lanes = words(b);
            words(a).iter().flat_map(|&index| lanes[index as usize % lanes.len()].to_le_bytes()).collect()
        };
        let sums = |a: &Vector, _: &Vector, mem: &Vector| {
            let products: Vec<i32> = a.iter().zip(mem).map(|(&a, &b)| i32::from(a) * i32::from(b as i8)).collect();
            let nearest = |sum: i32| sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            products.chunks(2).flat_map(|pair| nearest(pair[0] + pair[1]).to_le_bytes()).collect()
        };
        let emit = |s: &mut dyn VectorAsm, d, a, _, mem: R| s.multiply_bytes_load(d, a, mem.at(0));
        operations.push(operation("multiply_bytes_load", Bytes::Vectors, emit, sums));
        operations.push(operation("permute_lanes", Bytes::Vectors, |s, d, a, b, _| s.permute_lanes(d, a, b), model));
    }
    operations
}

/// Bytes of all kinds, among them the ends of halves and words.
fn vector(len: usize, seed: u32) -> Vector {
    let ends = [0u32, 0xff, 0x7fff, 0x8000, 0xffff_8000, 0x7fff_ffff, 0x8000_0000, 0x0100_00ff, 0xff7f_0001];
    let word = |i: u32| {
        let noise = (i ^ seed).wrapping_mul(0x9e37_79b9).rotate_left(seed);
        if noise.is_multiple_of(3) { ends[noise as usize / 3 % ends.len()] } else { noise >> (noise % 32) }
    };
    (0..len as u32 / 4).flat_map(|i| word(i).to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    words(bytes).into_iter().map(|word| f32::from_bits(word as u32)).collect()
}

/// The tile's output, from the emulator alone where this machine cannot run it.
fn run_bytes(isa: Isa, from: Bytes, data: &Data, build: Build) -> Vec<u8> {
    let native = isa.on_host().is_some_and(|host| host.bytes() >= from);
    let out = if native { run(isa, data, build) } else { run_emulated(isa, data.clone(), build) };
    out[0].iter().flat_map(|float| float.to_bits().to_le_bytes()).collect()
}

#[test]
fn operations_on_bytes_agree_with_their_model() {
    for (isa, operation) in Isa::ALL.into_iter().flat_map(|isa| operations(isa).into_iter().map(move |o| (isa, o))) {
        if Bytes::most(isa) < operation.from {
            continue;
        }
        let bytes = 4 * isa.lanes();
        for seed in 0..20 {
            let [a, b, c] = [1, 2, 3].map(|n| vector(bytes, n + 7 * seed));
            for registers in [first_registers, last_registers] {
                let inputs = [&a, &b, &c].map(|v| floats(v)).to_vec();
                let data = Data { inputs, outputs: vec![vec![7.0; isa.lanes()]], ints: vec![] };
                let out = run_bytes(isa, operation.from, &data, &mut |asm| {
                    let registers = registers(asm, 3);
                    let [x, y, memory, to] = std::array::from_fn(|index| asm.arg(index));
                    asm.load(registers[0], x.at(0));
                    asm.load(registers[1], y.at(0));
                    (operation.emit)(asm, registers[2], registers[0], registers[1], memory);
                    asm.store(to.at(0), registers[2]);
                });
                assert_eq!(out, (operation.model)(&a, &b, &c), "{isa} {}", operation.name);
            }
        }
    }
}

/// All numbers of 16 bits. Of NaN, the bit that makes it quiet may be set.
#[test]
fn numbers_of_16_bits_are_widened() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for isa in Isa::ALL {
        for half in [Half::F16, Half::Bf16].into_iter().filter(|&half| isa.widens(half)) {
            for bits in all.chunks(32 * isa.lanes()) {
                let bytes: Vector = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
                let data = Data { inputs: vec![floats(&bytes)], outputs: vec![vec![7.0; bits.len()]], ints: vec![] };
                let out = run_bytes(isa, Bytes::Vectors, &data, &mut |asm| {
                    let registers = last_registers(asm, 1);
                    let [from, to] = std::array::from_fn(|index| asm.arg(index));
                    for vector in 0..bits.len() / isa.lanes() {
                        let at = (vector * isa.lanes()) as i64;
                        asm.load_wide(registers[0], from.at(2 * at), half);
                        asm.store(to.at(4 * at), registers[0]);
                    }
                });
                for (&bits, out) in bits.iter().zip(floats(&out)) {
                    let want = half.widen(bits);
                    let same = out.to_bits() == want.to_bits() || (out.is_nan() && want.is_nan());
                    assert!(same, "{isa}: {half} of {bits:#x} is {want:?}, not {out:?}");
                }
            }
        }
    }
}

/// Numbers of bf16 of all kinds in pairs: denormals, infinities, NaN, and many that are of one size.
fn pairs(seed: u32) -> Vec<u32> {
    let ends = [0u16, 0x8000, 0x0001, 0x807f, 0x0080, 0x7f80, 0xff80, 0x7fc0, 0x7f7f, 0x3f80];
    let number = |i: u32| {
        let noise = (i ^ seed.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x9e37_79b9).rotate_left(11);
        match noise % 16 {
            0 => ends[noise as usize / 16 % ends.len()],
            _ => 0x3e00 | (noise >> 8) as u16 & 0x81ff,
        }
    };
    (0..16).map(|lane| u32::from(number(2 * lane)) | u32::from(number(2 * lane + 1)) << 16).collect()
}

fn to_floats(bits: &[u32]) -> Vec<f32> {
    bits.iter().map(|&bits| f32::from_bits(bits)).collect()
}

/// By the processor too where it can, which the emulator then agrees with.
#[test]
fn products_of_pairs_are_added_one_after_the_other() {
    let flushed = |x: f32| if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x };
    let [low, high] = [|x: u32| Half::Bf16.widen(x as u16), |x: u32| Half::Bf16.widen((x >> 16) as u16)];
    let add = |sum: f32, a: f32, b: f32| flushed(flushed(a).mul_add(flushed(b), flushed(sum)));
    for seed in 0..400 {
        let (a, b) = (pairs(2 * seed), pairs(2 * seed + 1));
        let sum =
            f32::from_bits(0x3f80_0000 | seed.wrapping_mul(0x9e37_79b9) >> 9) * if seed % 7 == 0 { 1e-38 } else { 1.0 };
        let inputs = vec![to_floats(&a), to_floats(&b), vec![sum; 16]];
        let data = Data { inputs, outputs: vec![vec![7.0; 32]], ints: vec![] };
        let out = run_bytes(Isa::Avx512, Bytes::Bf16, &data, &mut |asm| {
            let [one, two, start, to] = std::array::from_fn(|index| asm.arg(index));
            let registers = last_registers(asm, 3);
            asm.load(registers[0], one.at(0));
            asm.load(registers[1], two.at(0));
            for (index, broadcast) in [false, true].into_iter().enumerate() {
                asm.load(registers[2], start.at(0));
                match broadcast {
                    false => asm.dot_pairs(registers[2], registers[0], registers[1]),
                    true => asm.dot_pairs_broadcast(registers[2], registers[0], two.at(4 * 5)),
                }
                asm.store(to.at(64 * index as i64), registers[2]);
            }
        });
        let others = [b.clone(), vec![b[5]; 16]].concat();
        for (lane, (&b, found)) in others.iter().zip(floats(&out)).enumerate() {
            let a = a[lane % 16];
            let want = add(add(sum, high(a), high(b)), low(a), low(b));
            let same = found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan();
            assert!(same, "seed {seed}, lane {lane}: {found:?}, not {want:?}");
        }
    }
}

/// Ties go to even numbers, denormals to 0, and what is too large to infinity.
#[test]
fn numbers_are_narrowed_to_bf16() {
    let ends =
        [0x3f80_8000u32, 0x3f81_8000, 0x3f80_8001, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0x0000_0001];
    let denormals = [0x8000_0001u32, 0x007f_ffff, 0x0080_0000, 0x807f_ffff];
    for seed in 0..200u32 {
        let bits = |i: u32| match (i + seed) % 3 {
            0 => [&ends[..], &denormals].concat()[(i + seed) as usize / 3 % 12],
            _ => (i ^ seed).wrapping_mul(0x9e37_79b9),
        };
        let bits: Vec<u32> = (0..32).map(bits).collect();
        let data = Data { inputs: vec![to_floats(&bits)], outputs: vec![vec![7.0; 16]], ints: vec![] };
        let out = run_bytes(Isa::Avx512, Bytes::Bf16, &data, &mut |asm| {
            let [from, to] = std::array::from_fn(|index| asm.arg(index));
            let registers = last_registers(asm, 2);
            asm.load(registers[0], from.at(0));
            asm.load(registers[1], from.at(64));
            asm.narrow_to_bf16(registers[0], registers[0], registers[1]);
            asm.store(to.at(0), registers[0]);
        });
        for (&bits, found) in bits.iter().zip(halves(&out)) {
            let (x, found) = (f32::from_bits(bits), Half::Bf16.widen(found as u16));
            let want = if x.is_subnormal() { 0f32.copysign(x) } else { Half::Bf16.round(x) };
            assert!(
                found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan(),
                "{x:?}: {found:?}, not {want:?}"
            );
        }
    }
}

#[test]
fn tables_of_bytes_are_looked_up() {
    let table = vector(256, 5);
    for seed in 0..20 {
        let index: Vector = (0..64u32).map(|i| (i.wrapping_mul(37).wrapping_add(seed * 59)) as u8).collect();
        let inputs = vec![floats(&table), floats(&index)];
        let data = Data { inputs, outputs: vec![vec![7.0; 16]], ints: vec![] };
        let out = run_bytes(Isa::Avx512, Bytes::Tables, &data, &mut |asm| {
            let registers = last_registers(asm, 6);
            let [table, index, to] = std::array::from_fn(|index| asm.arg(index));
            let parts = std::array::from_fn(|part| registers[part]);
            parts.iter().enumerate().for_each(|(part, &v)| asm.load(v, table.at(64 * part as i64)));
            asm.load(registers[4], index.at(0));
            asm.look_up(registers[5], registers[4], parts);
            asm.store(to.at(0), registers[5]);
        });
        let want: Vector = index.iter().map(|&index| table[usize::from(index)]).collect();
        assert_eq!(out, want);
    }
}

#[test]
fn lanes_of_their_own_are_set() {
    for isa in [Isa::Avx2, Isa::Avx512] {
        let lanes: Vec<u32> = (0..isa.lanes() as u32).map(|lane| lane.wrapping_mul(0x9e37_79b9)).collect();
        let data = Data { inputs: vec![], outputs: vec![vec![7.0; isa.lanes()]], ints: vec![] };
        let out = run(isa, &data, &mut |asm| {
            let [one, own] = [asm.vec(), asm.vec()];
            asm.splat_bits(one, lanes[1]);
            asm.set_lanes(own, &lanes);
            asm.store(asm.arg(0).at(0), own);
        });
        assert_eq!(out[0].iter().map(|float| float.to_bits()).collect::<Vec<_>>(), lanes);
    }
}

#[test]
fn bytes_are_copied_and_looked_up_one_by_one() {
    let table = vector(256, 5);
    let from = vector(16, 9);
    for isa in Isa::ALL {
        let inputs = vec![floats(&table), floats(&from)];
        let data = Data { inputs, outputs: vec![vec![7.0; 4]], ints: vec![] };
        let out = run_bytes(isa, Bytes::Vectors, &data, &mut |asm| {
            let [table, from, to] = std::array::from_fn(|index| asm.arg(index));
            (0..8).for_each(|byte| asm.copy_byte(to.at(byte), from.at(byte)));
            (8..15).for_each(|byte| asm.look_up_byte(to.at(byte), from.at(byte), table));
        });
        let looked_up = from[8..15].iter().map(|&number| table[usize::from(number)]);
        let last = 7f32.to_le_bytes()[3];
        assert_eq!(out, from[..8].iter().copied().chain(looked_up).chain([last]).collect::<Vec<u8>>(), "{isa}");
    }
}
