//! Every operation of the vector assembler on every instruction set against a scalar model. Wide tiles run in the
//! emulator and, where the machine can, natively, which must give the same bits: that is also the emulator's proof.

mod bytes;
mod code;

use std::mem::transmute;

use cranelift_module::{FuncId, Linkage};
use target_lexicon::Triple;

use super::emulator::{Region, Regions, emulate};
use super::target::Targets;
use super::vector::{Compare, R, V, VectorAsm};
use super::{CodeModule, Isa, JitCode, x64};

type Build<'a> = &'a mut dyn FnMut(&mut dyn VectorAsm);

/// What a tile works on. Its arguments are the addresses of `inputs`, then of `outputs`, then `ints`.
#[derive(Clone, Default)]
struct Data {
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
    ints: Vec<u64>,
}

impl Data {
    fn lend<'a>(&'a mut self, regions: &mut Regions<'a>) -> Vec<u64> {
        let mut args: Vec<u64> = self.inputs.iter().map(|data| regions.input(data)).collect();
        args.extend(self.outputs.iter_mut().map(|data| regions.output(data)));
        args.extend(&self.ints);
        args
    }
}

/// Calls a function of `code` that was defined with `args.len()` arguments.
///
/// # Safety
/// The function must touch only memory that it may touch.
unsafe fn call(code: &JitCode, isa: Isa, function: FuncId, args: &[u64]) {
    let args: [u64; 6] = std::array::from_fn(|index| args.get(index).copied().unwrap_or(0));
    let [a, b, c, d, e, f] = args;
    let address = code.address(function);
    // SAFETY: the address is that of a function of this calling convention; arguments beyond those it has are passed
    // in registers it does not read. The rest is the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if isa != Isa::Clif {
            type Wide = unsafe extern "sysv64" fn(u64, u64, u64, u64, u64, u64);
            return transmute::<*const u8, Wide>(address)(a, b, c, d, e, f);
        }
        let _ = isa;
        transmute::<*const u8, unsafe extern "C" fn(u64, u64, u64, u64, u64, u64)>(address)(a, b, c, d, e, f);
    }
}

fn run_native(mut module: CodeModule, isa: Isa, mut data: Data, build: Build) -> Vec<Vec<f32>> {
    let args = data.lend(&mut Regions::new());
    let tile = module.define_tile("tile", isa, args.len(), build).unwrap();
    let code = module.finish_jit().unwrap();
    // SAFETY: the tests' tiles stay inside their data; the emulator has checked the wide ones.
    unsafe { call(&code, isa, tile, &args) };
    data.outputs
}

fn run_emulated(isa: Isa, mut data: Data, build: Build) -> Vec<Vec<f32>> {
    let mut regions = Regions::new();
    let args = data.lend(&mut regions);
    let bytes = x64::assemble(isa, args.len(), build);
    emulate(&bytes, &args, &mut regions).unwrap_or_else(|fault| panic!("{isa}: {fault}"));
    data.outputs
}

/// The tile's outputs, by every way of running it here.
fn run(isa: Isa, data: &Data, build: Build) -> Vec<Vec<f32>> {
    let emulated = (isa != Isa::Clif).then(|| run_emulated(isa, data.clone(), build));
    if isa.on_host().is_none() {
        return emulated.unwrap();
    }
    let native = run_native(CodeModule::jit(false).unwrap(), isa, data.clone(), build);
    if let Some(emulated) = emulated {
        for (native, emulated) in native.iter().zip(&emulated) {
            assert_same(native, emulated, &format!("{isa}: native against emulated"));
        }
    }
    native
}

/// The same bits, or NaN both: which NaN comes of two is not promised.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

fn assert_same(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (g, w) = (got.to_bits(), want.to_bits());
        assert!(same(got, want), "{what}: element {index} is {got} ({g:#x}), not {want} ({w:#x})");
    }
}

/// Deterministic numbers in -1..1.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / 8388608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

const FLOATS: [f32; 22] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.1,
    3.7,
    -1234.567,
    8388609.0,
    1e-40,
    -1e-42,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    -f32::NAN,
];

/// Floats within i32, among them halves and the last below 2^31.
const INTEGRAL_RANGE: [f32; 12] =
    [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, 1e-40, 16777217.0, 2147483520.0, -2147483648.0];

const BITS: [u32; 12] =
    [0, 1, 2, 0x7f, 0x80000000, 0x7fffffff, 0xffffffff, 0x55555555, 0x3f800000, 0xdeadbeef, 126, 0xff800001];

/// All pairs of `values`, as two arrays of a multiple of 16 elements.
fn pairs(values: &[f32]) -> [Vec<f32>; 2] {
    let len = (values.len() * values.len()).next_multiple_of(16);
    let n = values.len();
    [(0..len).map(|i| values[i % n]).collect(), (0..len).map(|i| values[i / n % n]).collect()]
}

struct Operation {
    name: &'static str,
    values: Vec<f32>,
    emit: fn(&mut dyn VectorAsm, V, V, V),
    model: fn(f32, f32) -> f32,
}

fn operations() -> Vec<Operation> {
    let floats = || FLOATS.to_vec();
    let bits = || BITS.map(f32::from_bits).to_vec();
    macro_rules! operation {
        ($name:literal, $values:expr, $emit:expr, $model:expr) => {
            Operation { name: $name, values: $values, emit: $emit, model: $model }
        };
    }
    macro_rules! on_bits {
        ($model:expr) => {
            |a, b| {
                let model: fn(u32, u32) -> u32 = $model;
                f32::from_bits(model(a.to_bits(), b.to_bits()))
            }
        };
    }
    vec![
        operation!("add", floats(), |s, d, a, b| s.add(d, a, b), |a, b| a + b),
        operation!("sub", floats(), |s, d, a, b| s.sub(d, a, b), |a, b| a - b),
        operation!("mul", floats(), |s, d, a, b| s.mul(d, a, b), |a, b| a * b),
        operation!("div", floats(), |s, d, a, b| s.div(d, a, b), |a, b| a / b),
        operation!("sqrt", floats(), |s, d, a, _| s.sqrt(d, a), |a, _| a.sqrt()),
        operation!("max", floats(), |s, d, a, b| s.max(d, a, b), |a, b| if a > b { a } else { b }),
        operation!("min", floats(), |s, d, a, b| s.min(d, a, b), |a, b| if a < b { a } else { b }),
        operation!("round", floats(), |s, d, a, _| s.round(d, a), |a, _| a.round_ties_even()),
        operation!("to_int", INTEGRAL_RANGE.to_vec(), |s, d, a, _| s.float_to_int(d, a), |a, _| {
            f32::from_bits(a.round_ties_even() as i32 as u32)
        }),
        operation!("from_int", bits(), |s, d, a, _| s.int_to_float(d, a), |a, _| a.to_bits() as i32 as f32),
        operation!("add_bits", bits(), |s, d, a, b| s.add_bits(d, a, b), on_bits!(u32::wrapping_add)),
        operation!("and", bits(), |s, d, a, b| s.and(d, a, b), on_bits!(|a, b| a & b)),
        operation!("or", bits(), |s, d, a, b| s.or(d, a, b), on_bits!(|a, b| a | b)),
        operation!("xor", bits(), |s, d, a, b| s.xor(d, a, b), on_bits!(|a, b| a ^ b)),
        operation!("shl 23", bits(), |s, d, a, _| s.shl(d, a, 23), on_bits!(|a, _| a << 23)),
        operation!("shl 0", bits(), |s, d, a, _| s.shl(d, a, 0), on_bits!(|a, _| a)),
        operation!("shr 31", bits(), |s, d, a, _| s.shr(d, a, 31), on_bits!(|a, _| a >> 31)),
        operation!("copy", floats(), |s, d, a, _| s.copy(d, a), |a, _| a),
    ]
}

/// Takes `count` registers, the last of those there are: high numbers need other encodings than low ones.
fn last_registers(asm: &mut dyn VectorAsm, count: usize) -> Vec<V> {
    let all: Vec<V> = (0..asm.registers()).map(|_| asm.vec()).collect();
    all[all.len() - count..].to_vec()
}

fn first_registers(asm: &mut dyn VectorAsm, count: usize) -> Vec<V> {
    (0..count).map(|_| asm.vec()).collect()
}

/// `emit` on every vector of two inputs; `[dst, a, b]` says which of three registers each operand is.
fn map_vectors(asm: &mut dyn VectorAsm, registers: &[V], [dst, a, b]: [usize; 3], operation: &Operation) {
    let [x, y, out, count] = std::array::from_fn(|index| asm.arg(index));
    let step = 4 * asm.lanes() as i64;
    let looped = asm.loop_begin(count);
    asm.load(registers[a], x.at(0));
    if b != a {
        asm.load(registers[b], y.at(0));
    }
    (operation.emit)(asm, registers[dst], registers[a], registers[b]);
    asm.store(out.at(0), registers[dst]);
    for pointer in [x, y, out] {
        asm.add_imm(pointer, step);
    }
    asm.loop_end(looped);
}

#[test]
fn operations_agree_with_the_scalar_model() {
    for isa in Isa::ALL {
        for operation in operations() {
            let [x, y] = pairs(&operation.values);
            for alias in [[2, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 0], [1, 0, 0]] {
                for registers in [first_registers, last_registers] {
                    let data = Data {
                        inputs: vec![x.clone(), y.clone()],
                        outputs: vec![vec![7.0; x.len()]],
                        ints: vec![(x.len() / isa.lanes()) as u64],
                    };
                    let out = run(isa, &data, &mut |asm| {
                        let registers = registers(asm, 3);
                        map_vectors(asm, &registers, alias, &operation);
                    });
                    let second = if alias[1] == alias[2] { &x } else { &y };
                    let want: Vec<f32> = x.iter().zip(second).map(|(&a, &b)| (operation.model)(a, b)).collect();
                    assert_same(&out[0], &want, &format!("{isa} {} {alias:?}", operation.name));
                }
            }
        }
    }
}

/// Of two zeros either may come out.
#[test]
fn bounds_and_the_larger_keep_nan() {
    type Emit = fn(&mut dyn VectorAsm, V, V, V);
    let nan_or = |nan: bool, number: f32| if nan { f32::NAN } else { number };
    let check = |name: &str, emit: Emit, [x, y]: &[Vec<f32>; 2], model: &dyn Fn(f32, f32) -> f32| {
        for isa in Isa::ALL {
            for alias in [[2, 0, 1], [0, 0, 1], [1, 0, 1]] {
                let operation = Operation { name: "", values: Vec::new(), emit, model: |a, _| a };
                let data = Data {
                    inputs: vec![x.clone(), y.clone()],
                    outputs: vec![vec![7.0; x.len()]],
                    ints: vec![(x.len() / isa.lanes()) as u64],
                };
                let out = run(isa, &data, &mut |asm| {
                    let registers = last_registers(asm, 3);
                    map_vectors(asm, &registers, alias, &operation);
                });
                for ((&got, &x), &y) in out[0].iter().zip(x).zip(y) {
                    let want = model(x, y);
                    assert!(
                        got == want || (got.is_nan() && want.is_nan()),
                        "{isa} {name}({x}, {y}) is {got}, not {want}"
                    );
                }
            }
        }
    };
    let [x, y] = pairs(&FLOATS);
    check("max_nan", |s, d, a, b| s.max_nan(d, a, b), &[x.clone(), y.clone()], &|a, b| {
        nan_or(a.is_nan() || b.is_nan(), a.max(b))
    });
    // A bound is a number.
    let bounds = [x, y.into_iter().map(|bound| if bound.is_nan() { 6.0 } else { bound }).collect()];
    check("at_least", |s, d, a, b| s.at_least(d, a, b), &bounds, &|a, bound| nan_or(a.is_nan(), a.max(bound)));
    check("at_most", |s, d, a, b| s.at_most(d, a, b), &bounds, &|a, bound| nan_or(a.is_nan(), a.min(bound)));
}

#[test]
fn copies_that_are_loaded_are_all_the_same() {
    let x = noise(16, 5);
    for isa in Isa::ALL {
        let lanes = isa.lanes();
        let data = Data { inputs: vec![x.clone()], outputs: vec![vec![7.0; 3 * lanes]], ints: vec![] };
        let out = run(isa, &data, &mut |asm| {
            let all = last_registers(asm, 3);
            asm.load_copies(&all, asm.arg(0).at(0));
            for (index, &v) in all.iter().enumerate() {
                asm.store(asm.arg(1).at((index * 4 * lanes) as i32), v);
            }
        });
        assert_same(&out[0], &x[..lanes].repeat(3), &isa.to_string());
    }
}

#[test]
fn select_agrees_with_the_scalar_model() {
    type Holds = fn(f32, f32) -> bool;
    let comparisons: [(Compare, Holds); 5] = [
        (Compare::Lt, |a, b| a < b),
        (Compare::Le, |a, b| a <= b),
        (Compare::Gt, |a, b| a > b),
        (Compare::Ge, |a, b| a >= b),
        (Compare::Eq, |a, b| a == b),
    ];
    let [x, y] = pairs(&FLOATS);
    let (yes, no) = (noise(x.len(), 1), noise(x.len(), 2));
    for isa in Isa::ALL {
        for (cmp, holds) in comparisons {
            for dst in 0..5 {
                let data = Data {
                    inputs: vec![x.clone(), y.clone(), yes.clone(), no.clone()],
                    outputs: vec![vec![7.0; x.len()]],
                    ints: vec![(x.len() / isa.lanes()) as u64],
                };
                let out = run(isa, &data, &mut |asm| {
                    let v = last_registers(asm, 5);
                    let pointers: [R; 5] = std::array::from_fn(|index| asm.arg(index));
                    let looped = asm.loop_begin(asm.arg(5));
                    for index in 0..4 {
                        asm.load(v[index], pointers[index].at(0));
                    }
                    asm.select(cmp, v[dst], v[0], v[1], v[2], v[3]);
                    asm.store(pointers[4].at(0), v[dst]);
                    for pointer in pointers {
                        asm.add_imm(pointer, 4 * asm.lanes() as i64);
                    }
                    asm.loop_end(looped);
                });
                let want: Vec<f32> = (0..x.len()).map(|i| if holds(x[i], y[i]) { yes[i] } else { no[i] }).collect();
                assert_same(&out[0], &want, &format!("{isa} select {cmp:?} into operand {dst}"));
            }
        }
    }
}

/// acc = a * b + acc from a register, from memory, from a broadcast element; acc = acc * a + b.
fn four_fmas(asm: &mut dyn VectorAsm) {
    let [x, y, out] = std::array::from_fn(|index| asm.arg(index));
    let v = last_registers(asm, 3);
    asm.load(v[0], x.at(0));
    asm.load(v[1], y.at(0));
    asm.splat(v[2], 0.1);
    asm.fma(v[2], v[0], v[1]);
    asm.store(out.at(0), v[2]);
    asm.fma_load(v[2], v[0], y.at(4));
    asm.store(out.at(4 * asm.lanes() as i32), v[2]);
    asm.fma_broadcast(v[2], v[1], x.at(8));
    asm.store(out.at(8 * asm.lanes() as i32), v[2]);
    asm.horner(v[2], v[0], v[1]);
    asm.store(out.at(12 * asm.lanes() as i32), v[2]);
    // All operands the same.
    asm.fma(v[2], v[2], v[2]);
    asm.store(out.at(16 * asm.lanes() as i32), v[2]);
}

fn four_fmas_model(lanes: usize, x: &[f32], y: &[f32], fma: fn(f32, f32, f32) -> f32) -> Vec<f32> {
    let mut acc = vec![0.1; lanes];
    let mut want = Vec::new();
    let mut step = |f: &dyn Fn(usize, f32) -> f32| {
        acc = acc.iter().enumerate().map(|(lane, &old)| f(lane, old)).collect();
        want.extend_from_slice(&acc);
    };
    step(&|lane, old| fma(x[lane], y[lane], old));
    step(&|lane, old| fma(x[lane], y[lane + 1], old));
    step(&|lane, old| fma(y[lane], x[2], old));
    step(&|lane, old| fma(old, x[lane], y[lane]));
    step(&|_, old| fma(old, old, old));
    want
}

fn fma_data(lanes: usize) -> Data {
    Data { inputs: vec![noise(17, 3), noise(17, 4)], outputs: vec![vec![0.0; 5 * lanes]], ints: vec![] }
}

#[test]
fn fma_rounds_once() {
    #[cfg(target_arch = "x86_64")]
    let fused_here = std::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let fused_here = true;
    for isa in Isa::ALL.into_iter().filter(|&isa| isa != Isa::Clif || fused_here) {
        let data = fma_data(isa.lanes());
        let want = four_fmas_model(isa.lanes(), &data.inputs[0], &data.inputs[1], f32::mul_add);
        assert_same(&run(isa, &data, &mut four_fmas)[0], &want, &format!("{isa} fma"));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn fma_multiplies_and_adds_where_the_target_has_none() {
    let targets = Targets::new(Triple::host(), None, false).unwrap();
    let data = fma_data(4);
    let want = four_fmas_model(4, &data.inputs[0], &data.inputs[1], |a, b, c| a * b + c);
    let out = run_native(CodeModule::jit_for(targets, false).unwrap(), Isa::Clif, data, &mut four_fmas);
    assert_same(&out[0], &want, "fma without FMA");
}

#[test]
fn splat_and_broadcast_fill_all_lanes() {
    for isa in Isa::ALL {
        let lanes = isa.lanes();
        for value in [0.0, -0.0, 1.0, f32::INFINITY, 1e-40] {
            let data = Data { inputs: vec![vec![5.0, value]], outputs: vec![vec![7.0; 2 * lanes]], ints: vec![] };
            let out = run(isa, &data, &mut |asm| {
                let v = last_registers(asm, 2);
                asm.splat(v[0], value);
                asm.broadcast(v[1], asm.arg(0).at(4));
                asm.store(asm.arg(1).at(0), v[0]);
                asm.store(asm.arg(1).at(4 * lanes as i32), v[1]);
            });
            assert_same(&out[0], &vec![value; 2 * lanes], &format!("{isa} splat {value}"));
        }
    }
}

#[test]
fn partial_accesses_touch_no_other_memory() {
    for isa in Isa::ALL {
        for count in 1..=isa.lanes() {
            // Input and output end where the partial vector ends: the emulator refuses a byte more.
            let data = Data {
                inputs: vec![noise(count, 5)],
                outputs: vec![vec![7.0; isa.lanes()], vec![7.0; 2 + count], vec![7.0; count + 3]],
                ints: vec![],
            };
            let out = run(isa, &data, &mut |asm| {
                let v = last_registers(asm, 1)[0];
                asm.load_first(v, asm.arg(0).at(0), count);
                asm.store(asm.arg(1).at(0), v);
                asm.store_first(asm.arg(2).at(8), v, count);
                asm.store_first(asm.arg(3).at(0), v, count);
            });
            let input = &data.inputs[0];
            let padded: Vec<f32> = input.iter().copied().chain(std::iter::repeat(0.0)).take(isa.lanes()).collect();
            let what = format!("{isa}, {count} lanes");
            assert_same(&out[0], &padded, &what);
            assert_same(&out[1], &[&[7.0, 7.0], &input[..]].concat(), &what);
            assert_same(&out[2], &[&input[..], &[7.0; 3]].concat(), &what);
        }
    }
}

/// Partial accesses that end where the accessible memory ends: the second page of the mapping lies behind the end of
/// its file, so that touching it kills the process.
#[cfg(target_os = "linux")]
#[test]
fn partial_accesses_may_end_at_the_end_of_memory() {
    const PAGE: usize = 1 << 16;
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE as u64).unwrap();
    // SAFETY: nobody else knows the file.
    let mut map = unsafe { memmap2::MmapOptions::new().len(2 * PAGE).map_mut(&file).unwrap() };
    for isa in Isa::available().into_iter().map(Isa::from) {
        for count in 1..=isa.lanes() {
            let values = noise(count, count as u32);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
            map[PAGE - 8 * count..PAGE - 4 * count].copy_from_slice(&bytes);
            let mut module = CodeModule::jit(false).unwrap();
            let tile = module.define_tile("copy", isa, 1, &mut |asm| {
                let v = last_registers(asm, 1)[0];
                asm.load_first(v, asm.arg(0).at(-8 * count as i32), count);
                asm.store_first(asm.arg(0).at(-4 * count as i32), v, count);
                asm.load_first(v, asm.arg(0).at(-4 * count as i32), count);
            });
            let code = module.finish_jit().unwrap();
            let end = map.as_mut_ptr().wrapping_add(PAGE).expose_provenance() as u64;
            // SAFETY: the tile copies within the first page.
            unsafe { call(&code, isa, tile.unwrap(), &[end]) };
            assert_eq!(map[PAGE - 4 * count..PAGE], bytes, "{isa}, {count} lanes");
        }
    }
}

#[test]
fn seven_nested_loops_use_every_integer_register() {
    for isa in Isa::ALL {
        // Six arguments: the output and five counters, of which the innermost loops are made.
        let data = Data { outputs: vec![vec![0.0; isa.lanes()]], ints: vec![1, 2, 3, 1, 2], ..Data::default() };
        let out = run(isa, &data, &mut |asm| {
            let (sum, one) = (asm.vec(), asm.vec());
            asm.splat(sum, 0.0);
            asm.splat(one, 1.0);
            let ints: Vec<R> = (0..7).map(|_| asm.int()).collect();
            let mut loops = Vec::new();
            for (index, &counter) in ints.iter().enumerate() {
                match index {
                    0 => asm.set_int(counter, 2),
                    6 => asm.copy_int(counter, asm.arg(3)),
                    _ => asm.copy_int(counter, asm.arg(index)),
                }
                loops.push(asm.loop_begin(counter));
            }
            asm.add(sum, sum, one);
            for looped in loops.into_iter().rev() {
                asm.loop_end(looped);
            }
            asm.store(asm.arg(0).at(0), sum);
        });
        // 2 * (1 * 2 * 3 * 1 * 2) * 3
        assert_same(&out[0], &vec![72.0; isa.lanes()], &format!("{isa} loops"));
    }
}

#[test]
fn integer_arithmetic_moves_pointers() {
    for isa in Isa::ALL {
        for distance in [16, 0x7f, 0x80, -0x80, -0x81, 0x7fff_ffff, 0x8000_0000, -0x8000_0001, 1 << 40, i64::MIN] {
            let data =
                Data { inputs: vec![noise(16, 6)], outputs: vec![vec![0.0; isa.lanes()]], ints: vec![distance as u64] };
            let out = run(isa, &data, &mut |asm| {
                let (pointer, back) = (asm.int(), asm.int());
                let v = asm.vec();
                asm.copy_int(pointer, asm.arg(0));
                asm.add_imm(pointer, distance);
                // There and back, by the constant and by its negation from a register.
                asm.set_int(back, distance.wrapping_neg());
                asm.add_int(pointer, back);
                asm.add_imm(pointer, distance.wrapping_neg());
                asm.add_int(pointer, asm.arg(2));
                asm.load(v, pointer.at(0));
                asm.store(asm.arg(1).at(0), v);
            });
            assert_same(&out[0], &data.inputs[0][..isa.lanes()], &format!("{isa} {distance:#x}"));
        }
    }
}

#[test]
fn copy_word_copies_any_bits_and_nothing_else() {
    for isa in Isa::ALL {
        let data = Data {
            inputs: vec![vec![1.5, f32::from_bits(0x7fa0_1234), 2.5]],
            outputs: vec![vec![9.0; 3]],
            ..Data::default()
        };
        let out = run(isa, &data, &mut |asm| asm.copy_word(asm.arg(1).at(8), asm.arg(0).at(4)));
        assert_same(&out[0], &[9.0, 9.0, f32::from_bits(0x7fa0_1234)], &format!("{isa}"));
    }
}

#[test]
fn load_int_reads_pointers_and_conditional_parts_are_skipped() {
    for isa in Isa::ALL {
        let input = noise(16, 7);
        for flag in [0, 1, u64::MAX, 1 << 32] {
            let mut build = |asm: &mut dyn VectorAsm| {
                let (table, out, flag) = (asm.arg(0), asm.arg(1), asm.arg(2));
                let pointer = asm.int();
                let v = asm.vec();
                asm.splat(v, 3.0);
                asm.load_int(pointer, table.at(8));
                let part = asm.if_nonzero(flag);
                asm.load(v, pointer.at(0));
                asm.end_if(part);
                let part = asm.if_zero(flag);
                asm.splat(v, 5.0);
                asm.end_if(part);
                asm.store(out.at(0), v);
            };
            let mut out = vec![0.0; isa.lanes()];
            let table = [0, input.as_ptr().expose_provenance() as u64];
            if isa.on_host().is_some() {
                let mut module = CodeModule::jit(false).unwrap();
                let tile = module.define_tile("tile", isa, 3, &mut build).unwrap();
                let code = module.finish_jit().unwrap();
                let mut regions = Regions::new();
                let args = [regions.words(&table), regions.output(&mut out), flag];
                // SAFETY: the tile reads the table and the input and writes the output.
                unsafe { call(&code, isa, tile, &args) };
            } else {
                let mut regions = Regions::new();
                regions.input(&input);
                let args = [regions.words(&table), regions.output(&mut out), flag];
                emulate(&x64::assemble(isa, 3, &mut build), &args, &mut regions).unwrap();
            }
            let want = if flag == 0 { vec![5.0; isa.lanes()] } else { input[..isa.lanes()].to_vec() };
            assert_same(&out, &want, &format!("{isa} flag {flag:#x}"));
        }
    }
}

/// A register tile: `pixels` x `vectors` accumulators, its loop over the depth unrolled.
#[derive(Clone, Copy, Debug)]
struct Tile {
    pixels: usize,
    vectors: usize,
    unroll: usize,
    /// Whether an input element is broadcast once into a register, or for each vector anew.
    broadcast_once: bool,
}

/// out[p][v] = sum over c of input[p][c] * weights[c][v]. Arguments: input, weights, out, depth / unroll.
fn matrix_tile(asm: &mut dyn VectorAsm, tile: Tile, depth: usize) {
    let [input, weights, out, counter] = std::array::from_fn(|index| asm.arg(index));
    let bytes = 4 * asm.lanes() as i32;
    let acc = first_registers(asm, tile.pixels * tile.vectors);
    let w = first_registers(asm, tile.vectors);
    let element = tile.broadcast_once.then(|| asm.vec());
    acc.iter().for_each(|&v| asm.splat(v, 0.0));
    let looped = asm.loop_begin(counter);
    for channel in 0..tile.unroll {
        for (v, &weight) in w.iter().enumerate() {
            asm.load(weight, weights.at(bytes * (channel * tile.vectors + v) as i32));
        }
        for (pixel, acc) in acc.chunks(tile.vectors).enumerate() {
            let mem = input.at(4 * (pixel * depth + channel) as i32);
            if let Some(element) = element {
                asm.broadcast(element, mem);
                acc.iter().zip(&w).for_each(|(&acc, &weight)| asm.fma(acc, weight, element));
            } else {
                acc.iter().zip(&w).for_each(|(&acc, &weight)| asm.fma_broadcast(acc, weight, mem));
            }
        }
    }
    asm.add_imm(input, 4 * tile.unroll as i64);
    asm.add_imm(weights, i64::from(bytes) * (tile.unroll * tile.vectors) as i64);
    asm.loop_end(looped);
    for (index, &v) in acc.iter().enumerate() {
        asm.store(out.at(bytes * index as i32), v);
    }
}

#[test]
fn a_convolution_tile_is_written_once() {
    let depth = 18;
    for (isa, tile) in [
        (Isa::Clif, Tile { pixels: 4, vectors: 2, unroll: 2, broadcast_once: false }),
        (Isa::Avx2, Tile { pixels: 6, vectors: 2, unroll: 2, broadcast_once: true }),
        (Isa::Avx512, Tile { pixels: 14, vectors: 2, unroll: 2, broadcast_once: false }),
    ] {
        let width = tile.vectors * isa.lanes();
        let data = Data {
            inputs: vec![noise(tile.pixels * depth, 8), noise(depth * width, 9)],
            outputs: vec![vec![7.0; tile.pixels * width]],
            ints: vec![(depth / tile.unroll) as u64],
        };
        let out = run(isa, &data, &mut |asm| matrix_tile(asm, tile, depth));
        let (input, weights) = (&data.inputs[0], &data.inputs[1]);
        for (index, &got) in out[0].iter().enumerate() {
            let (pixel, channel) = (index / width, index % width);
            let term = |c: usize| f64::from(input[pixel * depth + c]) * f64::from(weights[c * width + channel]);
            let want: f64 = (0..depth).map(term).sum();
            assert!((f64::from(got) - want).abs() < 1e-5, "{isa} element {index}: {got}, not {want}");
        }
    }
}

#[test]
fn a_nest_calls_tiles() {
    for isa in Isa::available().into_iter().map(Isa::from) {
        let mut module = CodeModule::jit(true).unwrap();
        let tile = module
            .define_tile("twice", isa, 1, &mut |asm| {
                let v = asm.vec();
                asm.load(v, asm.arg(0).at(0));
                asm.add(v, v, v);
                asm.store(asm.arg(0).at(0), v);
            })
            .unwrap();
        assert_eq!(module.get("twice"), Some(tile));
        assert_eq!(module.get("thrice"), None);
        // Rows from the first argument's table [begin, end), each three vectors apart, once in two rows.
        let nest = module
            .define_nest("nest", Linkage::Export, 2, |nest| {
                let (begin, end) = (nest.load(nest.arg(1), 0), nest.load(nest.arg(1), 8));
                nest.for_range(begin, end, |nest, row| {
                    let two = nest.iconst(2);
                    let odd = nest.urem(row, two);
                    nest.if_nonzero(odd, |nest| {
                        let offset = nest.mul_imm(row, 12 * isa.lanes() as i64);
                        let pointer = nest.add(nest.arg(0), offset);
                        nest.call(tile, &[pointer]);
                    });
                });
            })
            .unwrap();
        assert!(module.define_tile("twice", isa, 1, &mut |_| {}).is_err(), "a name is defined once");
        assert_eq!(module.text().len(), 2);
        assert!(module.text().iter().all(|text| !text.assembly.is_empty()), "{:?}", module.text());
        let code = module.finish_jit().unwrap();

        let row = 3 * isa.lanes();
        let mut data = vec![1.0f32; 6 * row];
        let mut want = data.clone();
        for touched in [1, 3] {
            want[touched * row..][..isa.lanes()].fill(2.0);
        }
        let mut regions = Regions::new();
        let args = [regions.output(&mut data), regions.words(&[0, 5])];
        // SAFETY: the nest touches the first vector of rows 1 and 3 of six.
        unsafe { call(&code, Isa::Clif, nest, &args) };
        assert_same(&data, &want, &isa.to_string());
    }
}
