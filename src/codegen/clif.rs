//! The vector assembler over Cranelift: 128-bit vectors, on every instruction set that Cranelift has.

use cranelift::prelude::*;
use cranelift_codegen::ir::Endianness;
use cranelift_codegen::isa::TargetIsa;
use target_lexicon::Architecture;

use super::Isa;
use super::vector::{ARGS, Compare, INTS, Loop, Mem, Pool, R, V, VectorAsm};
use crate::tensor::Half;

const F32X4: Type = types::F32X4;
const I32X4: Type = types::I32X4;
const I16X8: Type = types::I16X8;
const I8X16: Type = types::I8X16;
const LANES: usize = 4;

/// What the tile needs to know of the machine it is compiled for.
#[derive(Clone, Copy)]
pub(super) struct Machine {
    registers: usize,
    fused: bool,
    /// The larger and the smaller of two numbers, NaN where either is, are an instruction, and what reads memory is beside
    /// what multiplies, which copies registers too.
    arm: bool,
}

impl Machine {
    pub(super) fn of(isa: &dyn TargetIsa) -> Machine {
        let architecture = isa.triple().architecture;
        let x64 = architecture == Architecture::X86_64;
        let has_fma = || isa.isa_flags().iter().any(|flag| flag.name == "has_fma" && flag.as_bool() == Some(true));
        let arm = matches!(architecture, Architecture::Aarch64(_));
        Machine { registers: Isa::Clif.registers(architecture), fused: !x64 || has_fma(), arm }
    }
}

/// A part opened and not yet closed.
struct Open {
    /// The loop's counter and first block; `None` for a conditional part.
    looped: Option<(Variable, Block)>,
    after: Block,
}

/// A tile that is being written into `builder`'s function.
pub(super) struct ClifAsm<'a, 'f> {
    builder: &'a mut FunctionBuilder<'f>,
    machine: Machine,
    args: usize,
    /// The arguments, then those that can be asked for.
    ints: Vec<Variable>,
    vectors: Vec<Variable>,
    pool: Pool,
    int_pool: Pool,
    open: Vec<Open>,
}

impl<'a, 'f> ClifAsm<'a, 'f> {
    /// Starts the tile whose signature `builder`'s function already has.
    pub(super) fn new(builder: &'a mut FunctionBuilder<'f>, machine: Machine) -> Self {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let arguments = builder.block_params(entry).to_vec();
        assert!(arguments.len() <= ARGS, "a tile has at most {ARGS} arguments");
        let mut ints = Vec::new();
        for &argument in &arguments {
            let variable = builder.declare_var(types::I64);
            builder.def_var(variable, argument);
            ints.push(variable);
        }
        ints.extend((0..INTS).map(|_| builder.declare_var(types::I64)));
        let vectors = (0..machine.registers).map(|_| builder.declare_var(F32X4)).collect();
        let pool = Pool::new(machine.registers);
        let int_pool = Pool::new(INTS);
        Self { builder, machine, args: arguments.len(), ints, vectors, pool, int_pool, open: Vec::new() }
    }

    /// Ends the tile.
    pub(super) fn finish(self) {
        assert!(self.open.is_empty(), "a loop or conditional part of the tile is not closed");
        self.builder.ins().return_(&[]);
    }

    /// Opens a part that runs where `r` is not zero, or where it is.
    fn open_part(&mut self, r: R, nonzero: bool) -> Loop {
        let (part, after) = (self.builder.create_block(), self.builder.create_block());
        let condition = self.int_value(r);
        let (then, otherwise) = if nonzero { (part, after) } else { (after, part) };
        self.builder.ins().brif(condition, then, &[], otherwise, &[]);
        self.builder.switch_to_block(part);
        self.builder.seal_block(part);
        self.open.push(Open { looped: None, after });
        Loop(self.open.len())
    }

    fn int_value(&mut self, r: R) -> Value {
        self.builder.use_var(self.ints[usize::from(r.0)])
    }

    fn set_int_value(&mut self, r: R, value: Value) {
        self.builder.def_var(self.ints[usize::from(r.0)], value);
    }

    fn get(&mut self, v: V) -> Value {
        self.builder.use_var(self.vectors[usize::from(v.0)])
    }

    fn set(&mut self, v: V, value: Value) {
        self.builder.def_var(self.vectors[usize::from(v.0)], value);
    }

    /// The bits as a vector of another type.
    fn get_as(&mut self, ty: Type, v: V) -> Value {
        let value = self.get(v);
        self.builder.ins().bitcast(ty, bits(), value)
    }

    fn get_bits(&mut self, v: V) -> Value {
        self.get_as(I32X4, v)
    }

    fn set_bits(&mut self, v: V, value: Value) {
        let value = self.builder.ins().bitcast(F32X4, bits(), value);
        self.set(v, value);
    }

    /// The sums of the products of two halves of each lane.
    fn sums_of_products(&mut self, a: Value, b: Value) -> Value {
        // The form that Cranelift's x64 back end turns into one pmaddwd.
        let mut product = |widen: fn(&mut FunctionBuilder, Value) -> Value| {
            let (a, b) = (widen(self.builder, a), widen(self.builder, b));
            self.builder.ins().imul(a, b)
        };
        let low = product(|builder, half| builder.ins().swiden_low(half));
        let high = product(|builder, half| builder.ins().swiden_high(half));
        self.builder.ins().iadd_pairwise(low, high)
    }

    fn load_value(&mut self, ty: Type, mem: Mem) -> Value {
        let base = self.int_value(mem.base);
        self.builder.ins().load(ty, memory(), base, mem.offset)
    }

    fn broadcast_value(&mut self, mem: Mem) -> Value {
        let scalar = self.load_value(types::F32, mem);
        self.builder.ins().splat(F32X4, scalar)
    }

    fn multiply_add(&mut self, acc: V, a: V, b: Value) {
        let (a, sum) = (self.get(a), self.get(acc));
        // Cranelift's x64 back end overwrites the first factor: `b`, which is more often at its last use.
        let value = self.multiplied_and_added(b, a, sum);
        self.set(acc, value);
    }

    /// x * y + sum
    fn multiplied_and_added(&mut self, x: Value, y: Value, sum: Value) -> Value {
        if self.machine.fused {
            return self.builder.ins().fma(x, y, sum);
        }
        let product = self.builder.ins().fmul(x, y);
        self.builder.ins().fadd(product, sum)
    }

    /// `if cc(x, y) { yes } else { no }`; Cranelift knows this form as maxps, minps and blends.
    fn choose(&mut self, cc: FloatCC, [x, y]: [Value; 2], [yes, no]: [Value; 2]) -> Value {
        let mask = self.builder.ins().fcmp(cc, x, y);
        let mask = self.builder.ins().bitcast(F32X4, bits(), mask);
        self.builder.ins().bitselect(mask, yes, no)
    }
}

/// Accesses do not trap (the caller of the tile answers for them) and need no alignment.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Lanes of other sizes share the bits of a vector from the first on, as in memory.
fn bits() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

/// The instructions that are one Cranelift instruction over f32 values.
macro_rules! float_op {
    ($($name:ident($($operand:ident),+) = $op:ident;)*) => {$(
        fn $name(&mut self, dst: V, $($operand: V),+) {
            $(let $operand = self.get($operand);)+
            let value = self.builder.ins().$op($($operand),+);
            self.set(dst, value);
        }
    )*};
}

/// The same over the bits as lanes of a type.
macro_rules! bits_op {
    ($($name:ident = $op:ident of $ty:ident;)*) => {$(
        fn $name(&mut self, dst: V, a: V, b: V) {
            let (a, b) = (self.get_as($ty, a), self.get_as($ty, b));
            let value = self.builder.ins().$op(a, b);
            self.set_bits(dst, value);
        }
    )*};
}

impl VectorAsm for ClifAsm<'_, '_> {
    fn lanes(&self) -> usize {
        LANES
    }

    fn registers(&self) -> usize {
        self.machine.registers
    }

    fn arg(&self, index: usize) -> R {
        assert!(index < self.args, "the tile has {} arguments", self.args);
        R(index as u8)
    }

    fn int(&mut self) -> R {
        R(self.args as u8 + self.int_pool.take())
    }

    fn free_int(&mut self, r: R) {
        self.int_pool.give_back(r.0 - self.args as u8);
    }

    fn vec(&mut self) -> V {
        V(self.pool.take())
    }

    fn free(&mut self, v: V) {
        self.pool.give_back(v.0);
    }

    fn copy_int(&mut self, dst: R, src: R) {
        let value = self.int_value(src);
        self.set_int_value(dst, value);
    }

    fn set_int(&mut self, dst: R, value: i64) {
        let value = self.builder.ins().iconst(types::I64, value);
        self.set_int_value(dst, value);
    }

    fn add_imm(&mut self, dst: R, value: i64) {
        let old = self.int_value(dst);
        let new = self.builder.ins().iadd_imm_s(old, value);
        self.set_int_value(dst, new);
    }

    fn add_int(&mut self, dst: R, src: R) {
        let (old, value) = (self.int_value(dst), self.int_value(src));
        let new = self.builder.ins().iadd(old, value);
        self.set_int_value(dst, new);
    }

    fn load_int(&mut self, dst: R, mem: Mem) {
        let value = self.load_value(types::I64, mem);
        self.set_int_value(dst, value);
    }

    fn loop_begin(&mut self, counter: R) -> Loop {
        let (head, after) = (self.builder.create_block(), self.builder.create_block());
        self.builder.ins().jump(head, &[]);
        self.builder.switch_to_block(head);
        self.open.push(Open { looped: Some((self.ints[usize::from(counter.0)], head)), after });
        Loop(self.open.len())
    }

    fn loop_end(&mut self, looped: Loop) {
        assert_eq!(looped.0, self.open.len(), "loops and conditional parts close innermost first");
        let open = self.open.pop().expect("a part is open");
        let (counter, head) = open.looped.expect("loop_end closes a loop");
        let count = self.builder.use_var(counter);
        let left = self.builder.ins().iadd_imm_s(count, -1);
        self.builder.def_var(counter, left);
        self.builder.ins().brif(left, head, &[], open.after, &[]);
        self.builder.seal_block(head);
        self.builder.switch_to_block(open.after);
        self.builder.seal_block(open.after);
    }

    fn if_nonzero(&mut self, r: R) -> Loop {
        self.open_part(r, true)
    }

    fn if_zero(&mut self, r: R) -> Loop {
        self.open_part(r, false)
    }

    fn end_if(&mut self, part: Loop) {
        assert_eq!(part.0, self.open.len(), "loops and conditional parts close innermost first");
        let open = self.open.pop().expect("a part is open");
        assert!(open.looped.is_none(), "end_if closes a conditional part");
        self.builder.ins().jump(open.after, &[]);
        self.builder.switch_to_block(open.after);
        self.builder.seal_block(open.after);
    }

    fn splat_bits(&mut self, dst: V, bits: u32) {
        let scalar = self.builder.ins().f32const(Ieee32::with_bits(bits));
        let value = self.builder.ins().splat(F32X4, scalar);
        self.set(dst, value);
    }

    fn copy(&mut self, dst: V, src: V) {
        let value = self.get(src);
        self.set(dst, value);
    }

    fn load_copies(&mut self, all: &[V], mem: Mem) {
        self.load(all[0], mem);
        for &v in &all[1..] {
            if self.machine.arm { self.load(v, mem) } else { self.copy(v, all[0]) }
        }
    }

    fn load(&mut self, dst: V, mem: Mem) {
        let value = self.load_value(F32X4, mem);
        self.set(dst, value);
    }

    fn load_first(&mut self, dst: V, mem: Mem, count: usize) {
        assert!((1..=LANES).contains(&count), "a partial load reads 1 to {LANES} lanes");
        if count == LANES {
            return self.load(dst, mem);
        }
        self.splat_bits(dst, 0);
        for lane in 0..count {
            let scalar = self.load_value(types::F32, Mem { base: mem.base, offset: mem.offset + 4 * lane as i32 });
            let vector = self.get(dst);
            let value = self.builder.ins().insertlane(vector, scalar, lane as u8);
            self.set(dst, value);
        }
    }

    fn broadcast(&mut self, dst: V, mem: Mem) {
        let value = self.broadcast_value(mem);
        self.set(dst, value);
    }

    fn store(&mut self, mem: Mem, src: V) {
        let (base, value) = (self.int_value(mem.base), self.get(src));
        self.builder.ins().store(memory(), value, base, mem.offset);
    }

    fn store_first(&mut self, mem: Mem, src: V, count: usize) {
        assert!((1..=LANES).contains(&count), "a partial store writes 1 to {LANES} lanes");
        if count == LANES {
            return self.store(mem, src);
        }
        let (base, vector) = (self.int_value(mem.base), self.get(src));
        for lane in 0..count {
            let scalar = self.builder.ins().extractlane(vector, lane as u8);
            self.builder.ins().store(memory(), scalar, base, mem.offset + 4 * lane as i32);
        }
    }

    fn copy_word(&mut self, to: Mem, from: Mem) {
        let word = self.load_value(types::I32, from);
        let base = self.int_value(to.base);
        self.builder.ins().store(memory(), word, base, to.offset);
    }

    fn fma(&mut self, acc: V, a: V, b: V) {
        let b = self.get(b);
        self.multiply_add(acc, a, b);
    }

    fn horner(&mut self, dst: V, a: V, b: V) {
        let (x, a, b) = (self.get(dst), self.get(a), self.get(b));
        let value = self.multiplied_and_added(x, a, b);
        self.set(dst, value);
    }

    fn fma_load(&mut self, acc: V, a: V, mem: Mem) {
        let b = self.load_value(F32X4, mem);
        self.multiply_add(acc, a, b);
    }

    fn fma_broadcast(&mut self, acc: V, a: V, mem: Mem) {
        let b = self.broadcast_value(mem);
        self.multiply_add(acc, a, b);
    }

    float_op! {
        add(a, b) = fadd;
        sub(a, b) = fsub;
        mul(a, b) = fmul;
        div(a, b) = fdiv;
        sqrt(a) = sqrt;
        round(a) = nearest;
    }

    fn max(&mut self, dst: V, a: V, b: V) {
        let (a, b) = (self.get(a), self.get(b));
        // The form that Cranelift's x64 back end turns into one maxps; with `a > b` it would not.
        let value = self.choose(FloatCC::LessThan, [b, a], [a, b]);
        self.set(dst, value);
    }

    fn min(&mut self, dst: V, a: V, b: V) {
        let (a, b) = (self.get(a), self.get(b));
        let value = self.choose(FloatCC::LessThan, [a, b], [a, b]);
        self.set(dst, value);
    }

    fn at_least(&mut self, dst: V, a: V, bound: V) {
        if !self.machine.arm {
            return self.max(dst, bound, a);
        }
        let (a, bound) = (self.get(a), self.get(bound));
        let value = self.builder.ins().fmax(a, bound);
        self.set(dst, value);
    }

    fn at_most(&mut self, dst: V, a: V, bound: V) {
        if !self.machine.arm {
            return self.min(dst, bound, a);
        }
        let (a, bound) = (self.get(a), self.get(bound));
        let value = self.builder.ins().fmin(a, bound);
        self.set(dst, value);
    }

    fn max_nan(&mut self, dst: V, a: V, b: V) {
        if self.machine.arm {
            return self.at_least(dst, a, b);
        }
        let (a, b) = (self.get(a), self.get(b));
        let larger = self.choose(FloatCC::LessThan, [b, a], [a, b]);
        // `larger` is b where either is NaN; where a is, all ones make it NaN.
        let nan = self.builder.ins().fcmp(FloatCC::Unordered, a, a);
        let larger = self.builder.ins().bitcast(I32X4, bits(), larger);
        let bits = self.builder.ins().bor(larger, nan);
        self.set_bits(dst, bits);
    }

    fn select(&mut self, cmp: Compare, dst: V, a: V, b: V, yes: V, no: V) {
        let cc = match cmp {
            Compare::Lt => FloatCC::LessThan,
            Compare::Le => FloatCC::LessThanOrEqual,
            Compare::Gt => FloatCC::GreaterThan,
            Compare::Ge => FloatCC::GreaterThanOrEqual,
            Compare::Eq => FloatCC::Equal,
        };
        let operands = [self.get(a), self.get(b)];
        let choices = [self.get(yes), self.get(no)];
        let value = self.choose(cc, operands, choices);
        self.set(dst, value);
    }

    fn float_to_int(&mut self, dst: V, a: V) {
        let a = self.get(a);
        let integral = self.builder.ins().nearest(a);
        let value = self.builder.ins().fcvt_to_sint_sat(I32X4, integral);
        self.set_bits(dst, value);
    }

    fn int_to_float(&mut self, dst: V, a: V) {
        let a = self.get_bits(a);
        let value = self.builder.ins().fcvt_from_sint(F32X4, a);
        self.set(dst, value);
    }

    bits_op! {
        add_bits = iadd of I32X4;
        sub_bits = isub of I32X4;
        mul_bits = imul of I32X4;
        and = band of I32X4;
        or = bor of I32X4;
        xor = bxor of I32X4;
        narrow_lanes = snarrow of I32X4;
        narrow_halves = unarrow of I16X8;
        add_halves = sadd_sat of I16X8;
        sub_halves = ssub_sat of I16X8;
        max_bytes = umax of I8X16;
    }

    fn load_bytes(&mut self, dst: V, mem: Mem) {
        let bytes = self.broadcast_value(mem);
        let bytes = self.builder.ins().bitcast(I8X16, bits(), bytes);
        let halves = self.builder.ins().uwiden_low(bytes);
        let lanes = self.builder.ins().uwiden_low(halves);
        self.set_bits(dst, lanes);
    }

    fn load_signed_halves(&mut self, dst: V, mem: Mem) {
        let base = self.int_value(mem.base);
        let halves = self.builder.ins().sload8x8(memory(), base, mem.offset);
        self.set_bits(dst, halves);
    }

    fn load_byte_halves(&mut self, dst: V, mem: Mem) {
        let base = self.int_value(mem.base);
        let halves = self.builder.ins().uload8x8(memory(), base, mem.offset);
        self.set_bits(dst, halves);
    }

    fn load_wide(&mut self, dst: V, mem: Mem, half: Half) {
        assert!(Isa::Clif.widens(half), "Cranelift has no vectors of {half}");
        let base = self.int_value(mem.base);
        let lanes = self.builder.ins().uload16x4(memory(), base, mem.offset);
        let value = self.builder.ins().ishl_imm_u(lanes, 16);
        self.set_bits(dst, value);
    }

    fn broadcast_byte(&mut self, dst: V, mem: Mem) {
        let base = self.int_value(mem.base);
        let byte = self.builder.ins().uload8(types::I32, memory(), base, mem.offset);
        let lanes = self.builder.ins().splat(I32X4, byte);
        self.set_bits(dst, lanes);
    }

    fn copy_byte(&mut self, to: Mem, from: Mem) {
        let byte = self.load_value(types::I8, from);
        let base = self.int_value(to.base);
        self.builder.ins().store(memory(), byte, base, to.offset);
    }

    fn look_up_byte(&mut self, to: Mem, from: Mem, table: R) {
        let (from, number) = (self.int_value(from.base), from.offset);
        let number = self.builder.ins().uload8(types::I64, memory(), from, number);
        let table = self.int_value(table);
        let entry = self.builder.ins().iadd(table, number);
        let byte = self.builder.ins().load(types::I8, memory(), entry, 0);
        let base = self.int_value(to.base);
        self.builder.ins().store(memory(), byte, base, to.offset);
    }

    fn multiply_halves(&mut self, dst: V, a: V, b: V) {
        let (a, b) = (self.get_as(I16X8, a), self.get_as(I16X8, b));
        let sums = self.sums_of_products(a, b);
        self.set_bits(dst, sums);
    }

    fn multiply_halves_load(&mut self, dst: V, a: V, mem: Mem) {
        let (a, b) = (self.get_as(I16X8, a), self.load_value(I16X8, mem));
        let sums = self.sums_of_products(a, b);
        self.set_bits(dst, sums);
    }

    fn shr_halves(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 16, "a half has 16 bits");
        let a = self.get_as(I16X8, a);
        let value = self.builder.ins().ushr_imm_u(a, i64::from(by));
        self.set_bits(dst, value);
    }

    fn shl(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 32, "a lane has 32 bits");
        let a = self.get_bits(a);
        let value = self.builder.ins().ishl_imm_u(a, i64::from(by));
        self.set_bits(dst, value);
    }

    fn shr_signed(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 32, "a lane has 32 bits");
        let a = self.get_bits(a);
        let value = self.builder.ins().sshr_imm_u(a, i64::from(by));
        self.set_bits(dst, value);
    }

    fn shr(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 32, "a lane has 32 bits");
        let a = self.get_bits(a);
        let value = self.builder.ins().ushr_imm_u(a, i64::from(by));
        self.set_bits(dst, value);
    }
}
