//! Loop nests and entry points: the functions around the tiles, of 64-bit integers alone, compiled by Cranelift.

use std::collections::HashMap;

use cranelift::prelude::*;
use cranelift_codegen::ir::{FuncRef, StackSlotData, StackSlotKind};
use cranelift_module::{DataId, FuncId, Module};

/// A function of 64-bit integers under construction.
pub struct NestBuilder<'a, 'f> {
    builder: FunctionBuilder<'f>,
    module: &'a mut dyn Module,
    args: Vec<Value>,
    callees: HashMap<FuncId, FuncRef>,
}

impl<'a, 'f> NestBuilder<'a, 'f> {
    /// Starts the nest whose signature `builder`'s function already has.
    pub(super) fn new(mut builder: FunctionBuilder<'f>, module: &'a mut dyn Module) -> Self {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let args = builder.block_params(entry).to_vec();
        Self { builder, module, args, callees: HashMap::new() }
    }

    pub(super) fn finish(mut self, result: Option<Value>) {
        self.builder.ins().return_(result.as_slice());
        self.builder.finalize(self.module.target_config());
    }

    /// Argument `index` of the function.
    pub fn arg(&self, index: usize) -> Value {
        self.args[index]
    }

    /// A constant.
    pub fn iconst(&mut self, value: i64) -> Value {
        self.builder.ins().iconst(types::I64, value)
    }

    /// a + b, modulo 2^64 as all arithmetic here.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().iadd(a, b)
    }

    pub fn add_imm(&mut self, a: Value, value: i64) -> Value {
        self.builder.ins().iadd_imm_s(a, value)
    }

    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().isub(a, b)
    }

    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().imul(a, b)
    }

    pub fn mul_imm(&mut self, a: Value, value: i64) -> Value {
        self.builder.ins().imul_imm_s(a, value)
    }

    /// Unsigned quotient; the divisor must not be zero.
    pub fn udiv(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().udiv(a, b)
    }

    /// Unsigned remainder; the divisor must not be zero.
    pub fn urem(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().urem(a, b)
    }

    /// Unsigned quotient.
    pub fn div_imm(&mut self, a: Value, b: i64) -> Value {
        let b = self.iconst(b);
        self.udiv(a, b)
    }

    /// Unsigned remainder.
    pub fn rem_imm(&mut self, a: Value, b: i64) -> Value {
        let b = self.iconst(b);
        self.urem(a, b)
    }

    /// pointer + index * stride
    pub fn offset_by(&mut self, pointer: Value, index: Value, stride: i64) -> Value {
        let offset = self.mul_imm(index, stride);
        self.add(pointer, offset)
    }

    pub fn smin(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().smin(a, b)
    }

    pub fn smax(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().smax(a, b)
    }

    /// The 64-bit word at `base + offset` bytes.
    pub fn load(&mut self, base: Value, offset: i32) -> Value {
        self.builder.ins().load(types::I64, MemFlagsData::new().with_notrap(), base, offset)
    }

    /// Writes the 64-bit word at `base + offset` bytes.
    pub fn store(&mut self, value: Value, base: Value, offset: i32) {
        self.builder.ins().store(MemFlagsData::new().with_notrap(), value, base, offset);
    }

    /// Copies the 32 bits at `from` to `to`.
    pub fn copy_half(&mut self, from: Value, to: Value) {
        let flags = MemFlagsData::new().with_notrap();
        let half = self.builder.ins().load(types::I32, flags, from, 0);
        self.builder.ins().store(flags, half, to, 0);
    }

    /// Runs `body` for begin, begin + 1, ... while it is below `end` (signed).
    pub fn for_range(&mut self, begin: Value, end: Value, body: impl FnOnce(&mut Self, Value)) {
        self.for_range_step(begin, end, 1, body);
    }

    /// Runs `body` for begin, begin + step, ... while it is below `end` (signed).
    pub fn for_range_step(&mut self, begin: Value, end: Value, step: i64, body: impl FnOnce(&mut Self, Value)) {
        assert!(step > 0, "a loop counts upwards");
        let [head, inside, after] = std::array::from_fn(|_| self.builder.create_block());
        let index = self.builder.append_block_param(head, types::I64);
        self.builder.ins().jump(head, &[begin.into()]);
        self.builder.switch_to_block(head);
        let more = self.builder.ins().icmp(IntCC::SignedLessThan, index, end);
        self.builder.ins().brif(more, inside, &[], after, &[]);

        self.builder.switch_to_block(inside);
        self.builder.seal_block(inside);
        body(self, index);
        let next = self.add_imm(index, step);
        self.builder.ins().jump(head, &[next.into()]);
        self.builder.seal_block(head);

        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
    }

    /// Runs `body` where `condition` is not zero.
    pub fn if_nonzero(&mut self, condition: Value, body: impl FnOnce(&mut Self)) {
        let [inside, after] = std::array::from_fn(|_| self.builder.create_block());
        self.builder.ins().brif(condition, inside, &[], after, &[]);
        self.builder.switch_to_block(inside);
        self.builder.seal_block(inside);
        body(self);
        self.builder.ins().jump(after, &[]);
        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
    }

    /// Runs `then` where `condition` is not zero, else `otherwise`.
    pub fn if_else(&mut self, condition: Value, then: impl FnOnce(&mut Self), otherwise: impl FnOnce(&mut Self)) {
        let [on_true, on_false, after] = std::array::from_fn(|_| self.builder.create_block());
        self.builder.ins().brif(condition, on_true, &[], on_false, &[]);
        self.builder.switch_to_block(on_true);
        self.builder.seal_block(on_true);
        then(self);
        self.builder.ins().jump(after, &[]);
        self.builder.switch_to_block(on_false);
        self.builder.seal_block(on_false);
        otherwise(self);
        self.builder.ins().jump(after, &[]);
        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
    }

    /// Returns `result` at once where `condition` is not zero; for functions with a result.
    pub fn return_if(&mut self, condition: Value, result: i64) {
        let [inside, after] = std::array::from_fn(|_| self.builder.create_block());
        self.builder.ins().brif(condition, inside, &[], after, &[]);
        self.builder.switch_to_block(inside);
        self.builder.seal_block(inside);
        let result = self.iconst(result);
        self.builder.ins().return_(&[result]);
        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
    }

    /// A condition: a < b, unsigned.
    pub fn less(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().icmp(IntCC::UnsignedLessThan, a, b)
    }

    /// A condition: a differs from b.
    pub fn differ(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().icmp(IntCC::NotEqual, a, b)
    }

    /// `then` where `condition` is not zero, else `otherwise`.
    pub fn select(&mut self, condition: Value, then: Value, otherwise: Value) -> Value {
        self.builder.ins().select(condition, then, otherwise)
    }

    /// a & b, of words or of conditions.
    pub fn and(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().band(a, b)
    }

    /// a | b
    pub fn or(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().bor(a, b)
    }

    /// a ^ b
    pub fn xor(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().bxor(a, b)
    }

    /// The bits of `a`, so many places further up; those that leave at the top come in at the bottom.
    pub fn rotl_imm(&mut self, a: Value, by: u32) -> Value {
        self.builder.ins().rotl_imm_u(a, i64::from(by))
    }

    /// The bits of `a`, so many places further down; zeros come in at the top.
    pub fn shr_imm(&mut self, a: Value, by: u32) -> Value {
        self.builder.ins().ushr_imm_u(a, i64::from(by))
    }

    /// The address of `bytes` bytes of stack, aligned to eight.
    pub fn stack(&mut self, bytes: u32) -> Value {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3);
        let slot = self.builder.create_sized_stack_slot(slot);
        self.builder.ins().stack_addr(types::I64, slot, 0)
    }

    /// The address of data of the same module.
    pub fn data_address(&mut self, data: DataId) -> Value {
        let global = self.module.declare_data_in_func(data, self.builder.func);
        self.builder.ins().symbol_value(types::I64, global)
    }

    /// The address of a function of the same module.
    pub fn function_address(&mut self, function: FuncId) -> Value {
        let callee = self.callee(function);
        self.builder.ins().func_addr(types::I64, callee)
    }

    /// Calls a tile or another nest of the same module.
    pub fn call(&mut self, function: FuncId, args: &[Value]) {
        let callee = self.callee(function);
        self.builder.ins().call(callee, args);
    }

    /// Calls a function of the same module that has a result.
    pub fn call_value(&mut self, function: FuncId, args: &[Value]) -> Value {
        let callee = self.callee(function);
        let call = self.builder.ins().call(callee, args);
        self.builder.inst_results(call)[0]
    }

    /// Calls the function at `address`: of 64-bit integers, without result, under the target's C calling convention.
    pub fn call_address(&mut self, address: Value, args: &[Value]) {
        let mut signature = self.module.make_signature();
        signature.params.extend(std::iter::repeat_n(AbiParam::new(types::I64), args.len()));
        let signature = self.builder.import_signature(signature);
        self.builder.ins().call_indirect(signature, address, args);
    }

    fn callee(&mut self, function: FuncId) -> FuncRef {
        let (module, func) = (&mut *self.module, &mut *self.builder.func);
        *self.callees.entry(function).or_insert_with(|| module.declare_func_in_func(function, func))
    }
}
