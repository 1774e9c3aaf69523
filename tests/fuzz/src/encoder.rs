//! The x86-64 assembler by round trip: what it encodes is decoded, encoded again, and must be the same bytes; jumps must
//! lead to where an instruction begins.

use iced_x86::{Decoder, DecoderOptions, Encoder, FlowControl, Instruction, Mnemonic};
use std::collections::HashSet;
use svertka::codegen::Isa;
use svertka::codegen::vector::{Compare, Loop, Mem, R, V, VectorAsm};
use svertka::codegen::x64;

/// Loops and conditions within each other.
const DEPTH: usize = 4;

/// # Panics
/// If a tile is not what was meant to be encoded.
pub fn run(bytes: &[u8]) {
    for isa in [Isa::Avx2, Isa::Avx512] {
        check(&x64::assemble(isa, 6, &mut |asm| Tile::new(asm).build(&mut Bytes(bytes))));
    }
}

fn check(code: &[u8]) {
    let (mut begins, mut targets) = (HashSet::new(), Vec::new());
    for instruction in &mut Decoder::new(64, code, DecoderOptions::NONE) {
        assert!(!instruction.is_invalid(), "no instruction at {:#x}", instruction.ip());
        check_bytes(code, &instruction);
        begins.insert(instruction.ip());
        match instruction.flow_control() {
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                targets.push(instruction.near_branch_target());
            }
            _ => {}
        }
        if instruction.mnemonic() == Mnemonic::Ret {
            let lost = targets.iter().find(|target| !begins.contains(target));
            assert_eq!(lost, None, "a jump into the middle of an instruction");
            return;
        }
    }
    panic!("a tile that does not return");
}

fn check_bytes(code: &[u8], instruction: &Instruction) {
    let mut encoder = Encoder::new(64);
    encoder.encode(instruction, instruction.ip()).expect("it was decoded");
    let begin = instruction.ip() as usize;
    assert_eq!(encoder.take_buffer(), code[begin..begin + instruction.len()], "{instruction:?}");
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % n
    }

    fn word(&mut self) -> u32 {
        (0..4).fold(0, |word, _| word << 8 | u32::from(self.next().unwrap_or(0)))
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

enum Open {
    Loop(Loop),
    If(Loop),
}

/// A tile whose instructions and operands are chosen by bytes, within the rules of the interface.
struct Tile<'a> {
    asm: &'a mut dyn VectorAsm,
    vectors: Vec<V>,
    ints: Vec<R>,
    open: Vec<Open>,
}

impl<'a> Tile<'a> {
    fn new(asm: &'a mut dyn VectorAsm) -> Tile<'a> {
        // One is left for comparisons and broadcast operands.
        let vectors = (0..asm.registers() - 1).map(|_| asm.vec()).collect();
        let ints = (0..6).map(|index| asm.arg(index)).collect::<Vec<_>>();
        let more = [asm.int(), asm.int()];
        Tile { asm, vectors, ints: [ints, more.to_vec()].concat(), open: Vec::new() }
    }

    fn build(mut self, bytes: &mut Bytes) {
        while let Some(kind) = bytes.next() {
            self.step(kind, bytes);
        }
        while let Some(open) = self.open.pop() {
            self.close(open);
        }
    }

    fn close(&mut self, open: Open) {
        match open {
            Open::Loop(part) => self.asm.loop_end(part),
            Open::If(part) => self.asm.end_if(part),
        }
    }

    fn mem(&self, bytes: &mut Bytes) -> Mem {
        let offset = bytes.of(&[0, 4, 64, 124, 128, -4, -64, 512, 8128, 8192, 1 << 20, i32::MAX, i32::MIN]);
        bytes.of(&self.ints).at(offset)
    }

    fn step(&mut self, kind: u8, bytes: &mut Bytes) {
        let [a, b, c, d, e] = [(); 5].map(|()| bytes.of(&self.vectors));
        let [r, s] = [(); 2].map(|()| bytes.of(&self.ints));
        let (mem, to) = (self.mem(bytes), self.mem(bytes));
        let count = 1 + bytes.below(self.asm.lanes());
        let asm = &mut *self.asm;
        match kind % 40 {
            0 => asm.load(a, mem),
            1 => asm.load_first(a, mem, count),
            2 => asm.store(mem, a),
            3 => asm.store_first(mem, a, count),
            4 => asm.broadcast(a, mem),
            5 => asm.copy_word(to, mem),
            6 => asm.splat_bits(a, bytes.word()),
            7 => asm.copy(a, b),
            8 => asm.prefetch(mem),
            9 => asm.fma(a, b, c),
            10 => asm.horner(a, b, c),
            11 => asm.fma_load(a, b, mem),
            12 => asm.fma_broadcast(a, b, mem),
            13 => asm.add(a, b, c),
            14 => asm.sub(a, b, c),
            15 => asm.mul(a, b, c),
            16 => asm.div(a, b, c),
            17 => asm.sqrt(a, b),
            18 => asm.max(a, b, c),
            19 => asm.min(a, b, c),
            20 => asm.max_nan(a, b, c),
            21 => {
                let compare = bytes.of(&[Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge, Compare::Eq]);
                asm.select(compare, a, b, c, d, e);
            }
            22 => asm.copy_int(r, s),
            23 => asm.set_int(r, i64::from(bytes.word()) << bytes.below(32)),
            24 => asm.add_imm(r, i64::from(bytes.word() as i32)),
            25 => asm.add_int(r, s),
            26 => asm.load_int(r, mem),
            27 | 28 if self.open.len() < DEPTH => {
                let part = if kind % 40 == 27 { Open::Loop(asm.loop_begin(r)) } else { Open::If(asm.if_nonzero(r)) };
                self.open.push(part);
            }
            29 | 30 => {
                if let Some(open) = self.open.pop() {
                    self.close(open);
                }
            }
            31 => asm.round(a, b),
            32 => asm.float_to_int(a, b),
            33 => asm.int_to_float(a, b),
            34 => asm.add_bits(a, b, c),
            35 => asm.and(a, b, c),
            36 => asm.or(a, b, c),
            37 => asm.xor(a, b, c),
            38 => asm.shl(a, b, bytes.below(32) as u8),
            39 => asm.shr(a, b, bytes.below(32) as u8),
            _ => {}
        }
    }
}
