//! The vector assembler for x86-64: 256-bit (AVX2, FMA3, F16C) and 512-bit (AVX-512 F, DQ, BW and VL) tiles as finished machine code.
//!
//! A tile follows the System V calling convention, is independent of its position, needs no relocation, and ends in
//! `vzeroupper; ret`. The 512-bit code uses EVEX encodings alone, so all 32 registers are the same to it.

use iced_x86::{Code, Encoder, Formatter, IcedError, Instruction, IntelFormatter, MemoryOperand, Register};
use target_lexicon::Architecture;

use super::Isa;
use super::vector::{ARGS, Compare, INTS, Loop, Mem, Pool, R, V, VectorAsm};
use crate::tensor::Half;
use codes::{AVX2, AVX512, Codes};

mod codes;

/// Alignment in bytes of a tile and of the loops in it.
pub const ALIGNMENT: usize = 32;

/// The arguments' registers, then those of `VectorAsm::int`. RAX is the assembler's own.
const INT_REGISTERS: [Register; ARGS + INTS] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
    Register::RBP,
];
/// The first of `INT_REGISTERS` that the caller expects back unchanged.
const FIRST_CALLEE_SAVED: usize = 8;

/// The AVX2 assembler's own register, for masks and broadcast operands. A tile may hold it while it needs neither.
const AVX2_TEMP: Register = Register::YMM15;
/// The AVX-512 assembler's own mask register.
const MASK: Register = Register::K1;

/// Rounds to nearest, ties to even, whatever MXCSR says, and raises no inexact exception.
const ROUND_NEAREST: i32 = 8;
/// The comparison predicate that holds where an operand is NaN.
const UNORDERED: i32 = 3;
/// The truth table of `vpternlogd` that gives ones.
const ALWAYS: i32 = 0xff;

/// The machine code of the tile that `build` describes, to be placed at a multiple of [`ALIGNMENT`] bytes.
///
/// # Panics
/// Where the tile breaks the interface's rules: too many registers or arguments, parts that are not closed, or an
/// `isa` that is not of x86-64.
pub fn assemble(isa: Isa, args: usize, build: &mut dyn FnMut(&mut dyn VectorAsm)) -> Vec<u8> {
    let mut asm = X64Asm::new(isa, args);
    build(&mut asm);
    asm.finish()
}

/// The instructions of a finished tile, one a line with its offset. The constants behind the last are left out.
pub fn disassemble(bytes: &[u8]) -> String {
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    for instruction in &mut iced_x86::Decoder::new(64, bytes, 0) {
        text.push_str(&format!("{:6x}  ", instruction.ip()));
        formatter.format(&instruction, &mut text);
        text.push('\n');
        if instruction.code() == Code::Retnq {
            break;
        }
    }
    text
}

/// A part opened and not yet closed.
enum Open {
    Loop {
        counter: Register,
        head: usize,
    },
    /// A forward jump whose instruction ends at `jump_end`.
    If {
        jump_end: usize,
    },
}

struct X64Asm {
    isa: Isa,
    codes: &'static Codes,
    encoder: Encoder,
    /// Bytes encoded so far.
    len: usize,
    args: usize,
    ints: usize,
    pool: Pool,
    int_pool: Pool,
    open: Vec<Open>,
    /// Jumps to patch: where the instruction ends, and where it goes.
    jumps: Vec<(usize, usize)>,
    /// Loads from the mask table to patch: where the instruction ends, and the offset in the table.
    mask_loads: Vec<(usize, usize)>,
    /// The numbers that `splat_bits` reads from behind the code, each once.
    numbers: Vec<u32>,
    /// Loads of them to patch: where the instruction ends, and the index of the number.
    number_loads: Vec<(usize, usize)>,
}

impl X64Asm {
    fn new(isa: Isa, args: usize) -> Self {
        assert!(args <= ARGS, "a tile has at most {ARGS} arguments");
        let codes = match isa {
            Isa::Clif => panic!("the x64 assembler makes avx2 and avx512 tiles"),
            Isa::Avx2 => &AVX2,
            Isa::Avx512 => &AVX512,
        };
        let pool = Pool::new(isa.plain_registers(Architecture::X86_64));
        let encoder = Encoder::new(64);
        let (open, jumps, mask_loads) = (Vec::new(), Vec::new(), Vec::new());
        let (numbers, number_loads) = (Vec::new(), Vec::new());
        let int_pool = Pool::new(INTS);
        Self {
            isa,
            codes,
            encoder,
            len: 0,
            args,
            ints: 0,
            pool,
            int_pool,
            open,
            jumps,
            mask_loads,
            numbers,
            number_loads,
        }
    }

    /// Opens a part that `skip` jumps over, by whether `r` is zero.
    fn open_part(&mut self, r: R, skip: Code) -> Loop {
        self.emit(Instruction::with2(Code::Test_rm64_r64, int(r), int(r)));
        self.emit(Instruction::with_branch(skip, 0));
        self.open.push(Open::If { jump_end: self.len });
        Loop(self.open.len())
    }

    fn emit(&mut self, instruction: Result<Instruction, IcedError>) {
        let instruction = instruction.expect("operands match the encoding");
        self.len += self.encoder.encode(&instruction, self.len as u64).expect("operands can be encoded");
    }

    /// Fills up to a multiple of `ALIGNMENT`.
    fn align(&mut self) {
        let fill = long_nops(self.len.next_multiple_of(ALIGNMENT) - self.len);
        fill.iter().for_each(|&byte| self.encoder.write_u8(byte));
        self.len += fill.len();
    }

    /// The finished code: prologue, body, epilogue, mask table, numbers.
    fn finish(mut self) -> Vec<u8> {
        assert!(self.open.is_empty(), "a loop or conditional part of the tile is not closed");
        let saved = &INT_REGISTERS[FIRST_CALLEE_SAVED..(ARGS + self.ints).max(FIRST_CALLEE_SAVED)];
        for &register in saved.iter().rev() {
            self.emit(Instruction::with1(Code::Pop_r64, register));
        }
        self.emit(Ok(Instruction::with(Code::VEX_Vzeroupper)));
        self.emit(Ok(Instruction::with(Code::Retnq)));

        let mut body = self.encoder.take_buffer();
        let table = body.len();
        if !self.mask_loads.is_empty() {
            body.extend(mask_table());
        }
        let numbers = body.len();
        body.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes()));
        let to_table = self.mask_loads.iter().map(|&(end, offset)| (end, table + offset));
        let to_numbers = self.number_loads.iter().map(|&(end, index)| (end, numbers + 4 * index));
        for (end, target) in self.jumps.iter().copied().chain(to_table).chain(to_numbers) {
            let distance = i32::try_from(target as i64 - end as i64).expect("a tile is smaller than 2 GiB");
            body[end - 4..end].copy_from_slice(&distance.to_le_bytes());
        }

        // Everything in the body is relative, so the prologue, known only now, can go before it.
        let mut code = prologue(saved);
        code.extend(body);
        code
    }

    fn vector(&self, v: V) -> Register {
        self.codes.first + u32::from(v.0)
    }

    fn op2(&mut self, code: Code, dst: V, a: V) {
        self.emit(Instruction::with2(code, self.vector(dst), self.vector(a)));
    }

    fn op3(&mut self, code: Code, dst: V, a: V, b: V) {
        self.emit(Instruction::with3(code, self.vector(dst), self.vector(a), self.vector(b)));
    }

    fn op2_imm(&mut self, code: Code, dst: V, a: V, imm: i32) {
        self.emit(Instruction::with3(code, self.vector(dst), self.vector(a), imm));
    }

    /// The AVX2 assembler's own register.
    fn temp(&self) -> Register {
        assert!(self.isa != Isa::Avx2 || !self.pool.is_taken(15), "a tile that masks or compares holds every register");
        AVX2_TEMP
    }

    /// The comparison's result: a mask of lanes in `AVX2_TEMP` or in `MASK`.
    fn compare(&mut self, predicate: i32, a: V, b: V) {
        let (code, mask) = match self.isa {
            Isa::Avx512 => (Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae, MASK),
            _ => (Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, self.temp()),
        };
        self.emit(Instruction::with4(code, mask, self.vector(a), self.vector(b), predicate));
    }

    fn assert_bytes(&self) {
        assert!(self.isa == Isa::Avx512, "only tiles of 512 bits move bytes");
    }

    /// Puts the mask of the first `count` lanes into `AVX2_TEMP` or `MASK`.
    fn mask_first(&mut self, count: usize) {
        assert!((1..=self.lanes()).contains(&count), "a partial access has 1 to {} lanes", self.lanes());
        if self.isa == Isa::Avx512 {
            self.emit(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, (1u32 << count) - 1));
            self.emit(Instruction::with2(Code::VEX_Kmovw_kr_r32, MASK, Register::EAX));
        } else {
            let rip_relative = MemoryOperand::with_base_displ(Register::RIP, 0);
            self.emit(Instruction::with2(self.codes.load, self.temp(), rip_relative));
            self.mask_loads.push((self.len, (self.lanes() - count) * 4));
        }
    }
}

/// Eight lanes of ones, then eight of zeros: a window of it is the mask of the first 1 to 8 lanes.
fn mask_table() -> impl Iterator<Item = u8> {
    [[0xff; 32], [0; 32]].into_iter().flatten()
}

/// Saves `registers`, filled up to a multiple of `ALIGNMENT` so that the body stays aligned.
fn prologue(registers: &[Register]) -> Vec<u8> {
    let mut encoder = Encoder::new(64);
    for &register in registers {
        let push = Instruction::with1(Code::Push_r64, register).expect("push takes a register");
        encoder.encode(&push, 0).expect("push can be encoded");
    }
    let mut code = encoder.take_buffer();
    code.extend(long_nops(code.len().next_multiple_of(ALIGNMENT) - code.len()));
    code
}

/// `count` bytes of the no-operations that Intel's and AMD's optimisation manuals recommend.
fn long_nops(count: usize) -> Vec<u8> {
    const NOP9: [u8; 9] = [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
    const SHORTER: [&[u8]; 9] = [
        &[],
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0],
        &[0x0f, 0x1f, 0x44, 0, 0],
        &[0x66, 0x0f, 0x1f, 0x44, 0, 0],
        &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
        &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
    ];
    [&NOP9.repeat(count / 9), SHORTER[count % 9]].concat()
}

fn int(r: R) -> Register {
    INT_REGISTERS[usize::from(r.0)]
}

fn memory(mem: Mem) -> MemoryOperand {
    MemoryOperand::with_base_displ(int(mem.base), i64::from(mem.offset))
}

impl VectorAsm for X64Asm {
    fn lanes(&self) -> usize {
        self.isa.lanes()
    }

    fn registers(&self) -> usize {
        self.isa.registers(Architecture::X86_64)
    }

    fn arg(&self, index: usize) -> R {
        assert!(index < self.args, "the tile has {} arguments", self.args);
        R(index as u8)
    }

    fn int(&mut self) -> R {
        let index = self.int_pool.take();
        self.ints = self.ints.max(usize::from(index) + 1);
        R(ARGS as u8 + index)
    }

    fn free_int(&mut self, r: R) {
        self.int_pool.give_back(r.0 - ARGS as u8);
    }

    fn vec(&mut self) -> V {
        V(self.pool.take())
    }

    fn free(&mut self, v: V) {
        self.pool.give_back(v.0);
    }

    fn copy_int(&mut self, dst: R, src: R) {
        self.emit(Instruction::with2(Code::Mov_r64_rm64, int(dst), int(src)));
    }

    fn set_int(&mut self, dst: R, value: i64) {
        self.emit(match i32::try_from(value) {
            Ok(value) => Instruction::with2(Code::Mov_rm64_imm32, int(dst), value),
            Err(_) => Instruction::with2(Code::Mov_r64_imm64, int(dst), value),
        });
    }

    fn add_imm(&mut self, dst: R, value: i64) {
        if let Ok(value) = i8::try_from(value) {
            self.emit(Instruction::with2(Code::Add_rm64_imm8, int(dst), i32::from(value)));
        } else if let Ok(value) = i32::try_from(value) {
            self.emit(Instruction::with2(Code::Add_rm64_imm32, int(dst), value));
        } else {
            self.emit(Instruction::with2(Code::Mov_r64_imm64, Register::RAX, value));
            self.emit(Instruction::with2(Code::Add_r64_rm64, int(dst), Register::RAX));
        }
    }

    fn add_int(&mut self, dst: R, src: R) {
        self.emit(Instruction::with2(Code::Add_r64_rm64, int(dst), int(src)));
    }

    fn load_int(&mut self, dst: R, mem: Mem) {
        self.emit(Instruction::with2(Code::Mov_r64_rm64, int(dst), memory(mem)));
    }

    fn loop_begin(&mut self, counter: R) -> Loop {
        self.align();
        self.open.push(Open::Loop { counter: int(counter), head: self.len });
        Loop(self.open.len())
    }

    fn loop_end(&mut self, looped: Loop) {
        assert_eq!(looped.0, self.open.len(), "loops and conditional parts close innermost first");
        let Some(Open::Loop { counter, head }) = self.open.pop() else { panic!("loop_end closes a loop") };
        self.emit(Instruction::with1(Code::Dec_rm64, counter));
        self.emit(Instruction::with_branch(Code::Jne_rel32_64, 0));
        self.jumps.push((self.len, head));
    }

    fn if_nonzero(&mut self, r: R) -> Loop {
        self.open_part(r, Code::Je_rel32_64)
    }

    fn if_zero(&mut self, r: R) -> Loop {
        self.open_part(r, Code::Jne_rel32_64)
    }

    fn end_if(&mut self, part: Loop) {
        assert_eq!(part.0, self.open.len(), "loops and conditional parts close innermost first");
        let Some(Open::If { jump_end }) = self.open.pop() else { panic!("end_if closes a conditional part") };
        self.jumps.push((jump_end, self.len));
    }

    fn splat_bits(&mut self, dst: V, bits: u32) {
        if bits == 0 {
            return self.op3(self.codes.xor, dst, dst, dst);
        }
        // One load instead of an integer constant, its move and its broadcast.
        let known = self.numbers.iter().position(|&number| number == bits);
        let index = known.unwrap_or_else(|| {
            self.numbers.push(bits);
            self.numbers.len() - 1
        });
        let rip_relative = MemoryOperand::with_base_displ(Register::RIP, 0);
        self.emit(Instruction::with2(self.codes.broadcast, self.vector(dst), rip_relative));
        self.number_loads.push((self.len, index));
    }

    fn set_lanes(&mut self, dst: V, bits: &[u32]) {
        assert_eq!(bits.len(), self.lanes(), "a number for each lane");
        let known = self.numbers.windows(bits.len()).position(|numbers| numbers == bits);
        let index = known.unwrap_or(self.numbers.len());
        if known.is_none() {
            self.numbers.extend(bits);
        }
        let rip_relative = MemoryOperand::with_base_displ(Register::RIP, 0);
        self.emit(Instruction::with2(self.codes.load, self.vector(dst), rip_relative));
        self.number_loads.push((self.len, index));
    }

    fn copy(&mut self, dst: V, src: V) {
        if dst != src {
            self.op2(self.codes.copy, dst, src);
        }
    }

    fn prefetch(&mut self, mem: Mem) {
        self.emit(Instruction::with1(Code::Prefetcht1_m8, memory(mem)));
    }

    fn prefetch_to_write(&mut self, mem: Mem) {
        self.emit(Instruction::with1(Code::Prefetchw_m8, memory(mem)));
    }

    fn load(&mut self, dst: V, mem: Mem) {
        self.emit(Instruction::with2(self.codes.load, self.vector(dst), memory(mem)));
    }

    fn load_first(&mut self, dst: V, mem: Mem, count: usize) {
        if count == self.lanes() {
            return self.load(dst, mem);
        }
        self.mask_first(count);
        let vector = self.vector(dst);
        self.emit(if self.isa == Isa::Avx512 {
            Instruction::with2(self.codes.load, vector, memory(mem)).map(|load| {
                let mut load = masked(load);
                load.set_zeroing_masking(true);
                load
            })
        } else {
            Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, vector, AVX2_TEMP, memory(mem))
        });
    }

    fn broadcast(&mut self, dst: V, mem: Mem) {
        self.emit(Instruction::with2(self.codes.broadcast, self.vector(dst), memory(mem)));
    }

    fn store(&mut self, mem: Mem, src: V) {
        self.emit(Instruction::with2(self.codes.store, memory(mem), self.vector(src)));
    }

    fn store_first(&mut self, mem: Mem, src: V, count: usize) {
        // A masked store takes AMD's cores a dozen cycles.
        if count == self.lanes() {
            return self.store(mem, src);
        }
        self.mask_first(count);
        let vector = self.vector(src);
        self.emit(if self.isa == Isa::Avx512 {
            Instruction::with2(self.codes.store, memory(mem), vector).map(masked)
        } else {
            Instruction::with3(Code::VEX_Vmaskmovps_m256_ymm_ymm, memory(mem), AVX2_TEMP, vector)
        });
    }

    fn copy_word(&mut self, to: Mem, from: Mem) {
        self.emit(Instruction::with2(Code::Mov_r32_rm32, Register::EAX, memory(from)));
        self.emit(Instruction::with2(Code::Mov_rm32_r32, memory(to), Register::EAX));
    }

    fn fma(&mut self, acc: V, a: V, b: V) {
        self.op3(self.codes.fma, acc, a, b);
    }

    fn horner(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.horner, dst, a, b);
    }

    fn fma_load(&mut self, acc: V, a: V, mem: Mem) {
        self.emit(Instruction::with3(self.codes.fma, self.vector(acc), self.vector(a), memory(mem)));
    }

    fn fma_broadcast(&mut self, acc: V, a: V, mem: Mem) {
        let (acc, a) = (self.vector(acc), self.vector(a));
        if self.isa == Isa::Avx512 {
            let embedded = MemoryOperand { is_broadcast: true, ..memory(mem) };
            self.emit(Instruction::with3(self.codes.fma, acc, a, embedded));
        } else {
            self.emit(Instruction::with2(self.codes.broadcast, self.temp(), memory(mem)));
            self.emit(Instruction::with3(self.codes.fma, acc, a, AVX2_TEMP));
        }
    }

    fn add(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.add, dst, a, b);
    }

    fn sub(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.sub, dst, a, b);
    }

    fn mul(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.mul, dst, a, b);
    }

    fn div(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.div, dst, a, b);
    }

    fn sqrt(&mut self, dst: V, a: V) {
        self.op2(self.codes.sqrt, dst, a);
    }

    fn max(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.max, dst, a, b);
    }

    fn min(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.min, dst, a, b);
    }

    fn max_nan(&mut self, dst: V, a: V, b: V) {
        // The maximum is b where either is NaN; where a is, all ones make it NaN.
        self.compare(UNORDERED, a, a);
        self.max(dst, a, b);
        let vector = self.vector(dst);
        self.emit(if self.isa == Isa::Avx512 {
            let ones = Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8;
            Instruction::with4(ones, vector, vector, vector, ALWAYS).map(masked)
        } else {
            Instruction::with3(self.codes.or, vector, vector, AVX2_TEMP)
        });
    }

    fn select(&mut self, cmp: Compare, dst: V, a: V, b: V, yes: V, no: V) {
        // The quiet, ordered predicates.
        self.compare(
            match cmp {
                Compare::Lt => 0x11,
                Compare::Le => 0x12,
                Compare::Gt => 0x1e,
                Compare::Ge => 0x1d,
                Compare::Eq => 0x00,
            },
            a,
            b,
        );
        let (dst, yes, no) = (self.vector(dst), self.vector(yes), self.vector(no));
        self.emit(if self.isa == Isa::Avx512 {
            Instruction::with3(Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32, dst, no, yes).map(masked)
        } else {
            Instruction::with4(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, dst, no, yes, AVX2_TEMP)
        });
    }

    fn round(&mut self, dst: V, a: V) {
        self.op2_imm(self.codes.round, dst, a, ROUND_NEAREST);
    }

    fn float_to_int(&mut self, dst: V, a: V) {
        self.op2(self.codes.to_int, dst, a);
    }

    fn int_to_float(&mut self, dst: V, a: V) {
        self.op2(self.codes.from_int, dst, a);
    }

    fn add_bits(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.add_bits, dst, a, b);
    }

    fn sub_bits(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.sub_bits, dst, a, b);
    }

    fn mul_bits(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.mul_bits, dst, a, b);
    }

    fn dot_bytes(&mut self, acc: V, a: V, b: V) {
        self.op3(self.codes.dot_bytes, acc, a, b);
    }

    fn dot_halves(&mut self, acc: V, a: V, b: V) {
        self.op3(self.codes.dot_halves, acc, a, b);
    }

    fn load_bytes(&mut self, dst: V, mem: Mem) {
        self.emit(Instruction::with2(self.codes.load_bytes, self.vector(dst), memory(mem)));
    }

    fn load_byte_halves(&mut self, dst: V, mem: Mem) {
        self.emit(Instruction::with2(self.codes.bytes_to_halves, self.vector(dst), memory(mem)));
    }

    fn load_signed_halves(&mut self, dst: V, mem: Mem) {
        self.emit(Instruction::with2(self.codes.signed_bytes_to_halves, self.vector(dst), memory(mem)));
    }

    fn load_wide(&mut self, dst: V, mem: Mem, half: Half) {
        match half {
            // Denormals of 16 bits are no denormals of 32: MXCSR does not matter (Intel SDM volume 2, VCVTPH2PS).
            Half::F16 => self.emit(Instruction::with2(self.codes.load_f16, self.vector(dst), memory(mem))),
            Half::Bf16 => {
                self.emit(Instruction::with2(self.codes.load_halves, self.vector(dst), memory(mem)));
                self.shl(dst, dst, 16);
            }
        }
    }

    fn broadcast_byte(&mut self, dst: V, mem: Mem) {
        self.emit(Instruction::with2(self.codes.broadcast_byte, self.vector(dst), memory(mem)));
        self.shr(dst, dst, 24);
    }

    fn copy_byte(&mut self, to: Mem, from: Mem) {
        self.emit(Instruction::with2(Code::Movzx_r32_rm8, Register::EAX, memory(from)));
        self.emit(Instruction::with2(Code::Mov_rm8_r8, memory(to), Register::AL));
    }

    fn look_up_byte(&mut self, to: Mem, from: Mem, table: R) {
        self.emit(Instruction::with2(Code::Movzx_r32_rm8, Register::EAX, memory(from)));
        let entry = MemoryOperand::with_base_index(int(table), Register::RAX);
        self.emit(Instruction::with2(Code::Movzx_r32_rm8, Register::EAX, entry));
        self.emit(Instruction::with2(Code::Mov_rm8_r8, memory(to), Register::AL));
    }

    fn permute_lanes(&mut self, dst: V, index: V, src: V) {
        self.op3(self.codes.permute_lanes, dst, index, src);
    }

    fn narrow_lanes(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.narrow_lanes, dst, a, b);
    }

    fn narrow_halves(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.narrow_halves, dst, a, b);
    }

    fn add_halves(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.add_halves, dst, a, b);
    }

    fn sub_halves(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.sub_halves, dst, a, b);
    }

    fn max_bytes(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.max_bytes, dst, a, b);
    }

    fn multiply_halves(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.multiply_halves, dst, a, b);
    }

    fn multiply_bytes_load(&mut self, dst: V, a: V, mem: Mem) {
        let (dst, a) = (self.vector(dst), self.vector(a));
        self.emit(Instruction::with3(self.codes.multiply_bytes, dst, a, memory(mem)));
    }

    fn multiply_halves_load(&mut self, dst: V, a: V, mem: Mem) {
        let (dst, a) = (self.vector(dst), self.vector(a));
        self.emit(Instruction::with3(self.codes.multiply_halves, dst, a, memory(mem)));
    }

    fn shr_halves(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 16, "a half has 16 bits");
        self.op2_imm(self.codes.shr_halves, dst, a, i32::from(by));
    }

    fn dot_pairs(&mut self, acc: V, a: V, b: V) {
        self.assert_bytes();
        self.op3(Code::EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32, acc, a, b);
    }

    fn dot_pairs_broadcast(&mut self, acc: V, a: V, mem: Mem) {
        self.assert_bytes();
        let (acc, a) = (self.vector(acc), self.vector(a));
        let embedded = MemoryOperand { is_broadcast: true, ..memory(mem) };
        self.emit(Instruction::with3(Code::EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32, acc, a, embedded));
    }

    fn narrow_to_bf16(&mut self, dst: V, a: V, b: V) {
        self.assert_bytes();
        // The second operand becomes the lower half.
        self.op3(Code::EVEX_Vcvtne2ps2bf16_zmm_k1z_zmm_zmmm512b32, dst, b, a);
    }

    fn permute_bytes(&mut self, dst: V, index: V, mem: Mem) {
        self.assert_bytes();
        let (dst, index) = (self.vector(dst), self.vector(index));
        self.emit(Instruction::with3(Code::EVEX_Vpermb_zmm_k1z_zmm_zmmm512, dst, index, memory(mem)));
    }

    fn look_up(&mut self, dst: V, index: V, table: [V; 4]) {
        self.assert_bytes();
        self.copy(dst, index);
        // By the highest bit: the other half of the bytes are still indices after the first.
        self.emit(Instruction::with2(Code::EVEX_Vpmovb2m_kr_zmm, MASK, self.vector(dst)));
        for [low, high] in [[table[2], table[3]], [table[0], table[1]]] {
            let [dst, low, high] = [dst, low, high].map(|v| self.vector(v));
            self.emit(Instruction::with3(Code::EVEX_Vpermi2b_zmm_k1z_zmm_zmmm512, dst, low, high).map(masked));
            self.emit(Instruction::with2(Code::VEX_Knotq_kr_kr, MASK, MASK));
        }
    }

    fn and(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.and, dst, a, b);
    }

    fn or(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.or, dst, a, b);
    }

    fn xor(&mut self, dst: V, a: V, b: V) {
        self.op3(self.codes.xor, dst, a, b);
    }

    fn shl(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 32, "a lane has 32 bits");
        self.op2_imm(self.codes.shl, dst, a, i32::from(by));
    }

    fn shr_signed(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 32, "a lane has 32 bits");
        self.op2_imm(self.codes.shr_signed, dst, a, i32::from(by));
    }

    fn shr(&mut self, dst: V, a: V, by: u8) {
        assert!(by < 32, "a lane has 32 bits");
        self.op2_imm(self.codes.shr, dst, a, i32::from(by));
    }
}

/// The instruction under `MASK`.
fn masked(mut instruction: Instruction) -> Instruction {
    instruction.set_op_mask(MASK);
    instruction
}
