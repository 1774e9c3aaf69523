//! An emulator of exactly the instructions that the x64 assembler emits: wide tiles are checked on machines that cannot
//! run them, and every access is checked against the memory that was lent.
//!
//! A tile is also held to its contract: callee-saved registers and stack as they were, upper halves clean on return,
//! no instruction that the assembler is not known to emit.

use std::borrow::Cow;
use std::marker::PhantomData;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};

use super::x64;
use crate::tensor::Half;

/// Instructions after which a tile counts as endless.
const STEP_LIMIT: u64 = 1 << 34;
/// What registers hold on entry.
const POISON: u32 = 0x7fba_dbad;

/// Why a tile cannot be emulated further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {offset:#x}, `{instruction}`: {reason}")]
pub struct Fault {
    pub offset: usize,
    pub instruction: String,
    pub reason: String,
}

/// The memory a tile may touch.
#[derive(Default)]
pub struct Regions<'a> {
    regions: Cow<'a, [Region]>,
    lent: PhantomData<&'a mut [f32]>,
}

/// `len` bytes from the exposed address `start`.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub start: usize,
    pub len: usize,
    pub writable: bool,
}

impl<'a> Regions<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// # Safety
    /// For as long as the result is used the memory must be there, what is writable must be initialised, and no one
    /// else may write what the tile touches or touch what the tile writes.
    pub unsafe fn of(regions: &'a [Region]) -> Self {
        Self { regions: Cow::Borrowed(regions), lent: PhantomData }
    }

    /// Lends memory to be read; returns its address.
    pub fn input(&mut self, data: &'a [f32]) -> u64 {
        self.lend(data.as_ptr().cast_mut().cast(), size_of_val(data), false)
    }

    /// Lends a table of 64-bit words to be read; returns its address.
    pub fn words(&mut self, data: &'a [u64]) -> u64 {
        self.lend(data.as_ptr().cast_mut().cast(), size_of_val(data), false)
    }

    /// Lends memory to be read and written; returns its address.
    pub fn output(&mut self, data: &'a mut [f32]) -> u64 {
        self.lend(data.as_mut_ptr().cast(), size_of_val(data), true)
    }

    fn lend(&mut self, start: *mut u8, len: usize, writable: bool) -> u64 {
        let start = start.expose_provenance();
        self.regions.to_mut().push(Region { start, len, writable });
        start as u64
    }

    /// The pointer to `len` bytes at `address`, if they lie within one region.
    fn find(&self, address: u64, len: usize, write: bool) -> Result<*mut u8, String> {
        let inside = |region: &Region| {
            let offset = address.wrapping_sub(region.start as u64);
            (region.writable || !write) && offset.checked_add(len as u64).is_some_and(|end| end <= region.len as u64)
        };
        match self.regions.iter().any(inside) {
            true => Ok(std::ptr::with_exposed_provenance_mut(address as usize)),
            false => Err(format!("{} of {len} bytes outside the lent memory", if write { "write" } else { "read" })),
        }
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), String> {
        let source = self.find(address, into.len(), false)?;
        // SAFETY: `find` has checked that the bytes lie in a region, which `self` may access for as long as it lives;
        // `into` is the emulator's own.
        unsafe { source.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), String> {
        let target = self.find(address, bytes.len(), true)?;
        // SAFETY: as in `read`; only regions that may be written are, and any bits are a valid f32.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }
}

/// Runs the tile `code` with `args` on `memory`, in the floating-point mode of Rust code.
pub fn emulate(code: &[u8], args: &[u64], memory: &mut Regions) -> Result<(), Fault> {
    Program::decode(code.into(), Denormals::Keep).run(args, memory).map(|_| ())
}

/// What instructions do with numbers between zero and the smallest normal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denormals {
    Keep,
    /// They count as zero, as in the mode of kernels. A result is taken for a denormal after it was rounded as one.
    Flush,
}

impl Denormals {
    /// A number as an instruction takes it and gives it.
    #[inline(always)]
    fn pass(self, x: f32) -> f32 {
        if self == Denormals::Flush && x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x }
    }
}

/// A decoded tile.
pub struct Program {
    code: Box<[u8]>,
    instructions: Vec<Instruction>,
    denormals: Denormals,
}

impl Program {
    /// Decodes up to the return; constants follow it. Instructions know the address at which `code` really lies, so
    /// that operands relative to RIP need no translation.
    pub fn decode(code: Box<[u8]>, denormals: Denormals) -> Self {
        let mut instructions = Vec::new();
        for instruction in &mut Decoder::with_ip(64, &code, code.as_ptr().addr() as u64, DecoderOptions::NONE) {
            instructions.push(instruction);
            if instruction.code() == Code::Retnq {
                break;
            }
        }
        assert!(!instructions.is_empty(), "a tile has code");
        Self { code, instructions, denormals }
    }

    /// Runs the tile with `args` on `memory`; how many instructions that took.
    pub fn run(&self, args: &[u64], memory: &mut Regions) -> Result<u64, Fault> {
        let mut machine = Machine::new(self, args, memory);
        let mut index = 0;
        for count in 1..=STEP_LIMIT {
            let instruction = &self.instructions[index];
            let fault = |reason: String| self.fault(instruction, reason);
            match machine.step(instruction).map_err(fault)? {
                Next::Follow => index += 1,
                Next::Jump(target) => index = self.index_of(target).map_err(fault)?,
                Next::Return => return Ok(count),
            }
            if index == self.instructions.len() {
                return Err(fault("runs past the end of the code".into()));
            }
        }
        Err(self.fault(&self.instructions[index], "the tile does not end".into()))
    }

    fn index_of(&self, address: u64) -> Result<usize, String> {
        let index = self.instructions.binary_search_by_key(&address, Instruction::ip);
        index.map_err(|_| "jumps into the middle of an instruction".into())
    }

    fn fault(&self, instruction: &Instruction, reason: String) -> Fault {
        let offset = (instruction.ip() - self.code.as_ptr().addr() as u64) as usize;
        let line = x64::disassemble(&self.code[offset..]).lines().next().unwrap_or_default().to_string();
        Fault { offset, instruction: line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "), reason }
    }
}

enum Next {
    Follow,
    Jump(u64),
    Return,
}

type Lanes = [u32; 16];

struct Machine<'a, 'm> {
    memory: &'a mut Regions<'m>,
    code: &'a [u8],
    denormals: Denormals,
    ints: [u64; 16],
    entry_ints: [u64; 16],
    vectors: [Lanes; 32],
    masks: [u64; 8],
    zero_flag: bool,
    stack: Vec<u64>,
    upper_halves_dirty: bool,
}

const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];
const CALLEE_SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

impl<'a, 'm> Machine<'a, 'm> {
    fn new(program: &'a Program, args: &[u64], memory: &'a mut Regions<'m>) -> Self {
        let mut ints = std::array::from_fn(|index| u64::from(POISON) << 32 | index as u64);
        for (register, &value) in ARGUMENTS.iter().zip(args) {
            ints[register.number()] = value;
        }
        Self {
            memory,
            code: &program.code,
            denormals: program.denormals,
            ints,
            entry_ints: ints,
            vectors: [[POISON; 16]; 32],
            masks: [0; 8],
            zero_flag: false,
            stack: Vec::new(),
            upper_halves_dirty: false,
        }
    }

    fn step(&mut self, i: &Instruction) -> Result<Next, String> {
        use Code::*;
        match i.code() {
            Retnq => return self.check_return().map(|()| Next::Return),
            Jne_rel32_64 if !self.zero_flag => return Ok(Next::Jump(i.near_branch_target())),
            Je_rel32_64 if self.zero_flag => return Ok(Next::Jump(i.near_branch_target())),
            Jne_rel32_64 | Je_rel32_64 | Prefetcht1_m8 | Prefetchw_m8 | Nopd | Nopw | Nop_rm16 | Nop_rm32 => {}

            Push_r64 => self.stack.push(self.int(i.op0_register())),
            Pop_r64 => {
                let value = self.stack.pop().ok_or("the stack is empty")?;
                self.set_int(i.op0_register(), value);
            }
            Mov_r32_imm32 => self.set_int(i.op0_register().full_register(), u64::from(i.immediate32())),
            Mov_rm64_imm32 | Mov_r64_imm64 | Mov_r64_rm64 => {
                let value = self.int_source(i)?;
                self.set_int(i.op0_register(), value);
            }
            Mov_r32_rm32 => {
                let word = self.load_lane(self.address(i))?;
                self.set_int(i.op0_register().full_register(), u64::from(word));
            }
            Mov_rm32_r32 => {
                let word = self.int(i.op1_register().full_register()) as u32;
                self.memory.write(self.address(i), &word.to_le_bytes())?;
            }
            Movzx_r32_rm8 => {
                let mut byte = [0];
                self.memory.read(self.address(i), &mut byte)?;
                self.set_int(i.op0_register().full_register(), byte[0].into());
            }
            Mov_rm8_r8 => {
                let byte = self.int(i.op1_register().full_register()) as u8;
                self.memory.write(self.address(i), &[byte])?;
            }
            Add_rm64_imm8 | Add_rm64_imm32 | Add_r64_rm64 => {
                let sum = self.int(i.op0_register()).wrapping_add(self.int_source(i)?);
                self.set_flagged(i.op0_register(), sum);
            }
            Dec_rm64 => self.set_flagged(i.op0_register(), self.int(i.op0_register()).wrapping_sub(1)),
            Test_rm64_r64 => self.zero_flag = self.int(i.op0_register()) & self.int(i.op1_register()) == 0,
            VEX_Kmovw_kr_r32 => {
                self.masks[i.op0_register().number()] = self.int(i.op1_register().full_register()) & 0xffff;
            }
            VEX_Vzeroupper => {
                for vector in &mut self.vectors[..16] {
                    vector[4..].fill(0);
                }
                self.upper_halves_dirty = false;
            }

            VEX_Vmaskmovps_m256_ymm_ymm => {
                let mask = sign_bits(&self.vectors[i.op1_register().number()]);
                self.store(i, mask, &self.vectors[i.op2_register().number()].clone())?;
            }
            VEX_Vmovups_ymmm256_ymm | EVEX_Vmovups_zmmm512_k1z_zmm => {
                let mask = self.op_mask(i);
                self.store(i, mask, &self.vectors[i.op1_register().number()].clone())?;
            }
            VEX_Vmaskmovps_ymm_ymm_m256 => {
                let mask = sign_bits(&self.vectors[i.op1_register().number()]);
                let value = self.load(i, mask)?;
                self.set_vector(i.op0_register(), value);
            }
            VEX_Vmovups_ymm_ymmm256 | EVEX_Vmovups_zmm_k1z_zmmm512 => {
                let mask = self.op_mask(i);
                let value = self.load(i, mask)?;
                self.set_vector_masked(i, value)?;
            }
            VEX_Vbroadcastss_ymm_m32 | EVEX_Vbroadcastss_zmm_k1z_xmmm32 => {
                let value = [self.load_lane(self.address(i))?; 16];
                self.set_vector_masked(i, value)?;
            }

            VEX_Vpmovzxbd_ymm_xmmm64 | EVEX_Vpmovzxbd_zmm_k1z_xmmm128 => {
                let mut bytes = [0; 16];
                self.memory.read(self.address(i), &mut bytes[..lanes(i)])?;
                self.set_vector_masked(i, bytes.map(u32::from))?;
            }
            VEX_Vpmovzxbw_ymm_xmmm128 | EVEX_Vpmovzxbw_zmm_k1z_ymmm256 => self.load_bytes(i, u16::from)?,
            VEX_Vpmovsxbw_ymm_xmmm128 | EVEX_Vpmovsxbw_zmm_k1z_ymmm256 => {
                self.load_bytes(i, |byte| i16::from(byte as i8) as u16)?;
            }
            VEX_Vpmovzxwd_ymm_xmmm128 | EVEX_Vpmovzxwd_zmm_k1z_ymmm256 => {
                let halves = self.load_halves(i)?;
                self.set_vector_masked(i, halves.map(u32::from))?;
            }
            VEX_Vcvtph2ps_ymm_xmmm128 | EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae => {
                let halves = self.load_halves(i)?;
                self.set_vector_masked(i, halves.map(|bits| Half::F16.widen(bits).to_bits()))?;
            }
            VEX_Vpbroadcastb_ymm_xmmm8 | EVEX_Vpbroadcastb_zmm_k1z_xmmm8 => {
                let mut byte = [0];
                self.memory.read(self.address(i), &mut byte)?;
                self.set_vector_masked(i, [u32::from_le_bytes([byte[0]; 4]); 16])?;
            }
            EVEX_Vpmovb2m_kr_zmm => {
                let bytes = bytes(&self.vectors[i.op1_register().number()]);
                self.masks[i.op0_register().number()] = (0..64).map(|b| u64::from(bytes[b] >> 7) << b).sum();
            }
            VEX_Knotq_kr_kr => self.masks[i.op0_register().number()] = !self.masks[i.op1_register().number()],
            EVEX_Vpermi2b_zmm_k1z_zmm_zmmm512 => self.look_up(i)?,

            VEX_Vcmpps_ymm_ymm_ymmm256_imm8 => {
                let mask = self.compare(i)?;
                self.set_vector(i.op0_register(), std::array::from_fn(|l| if mask >> l & 1 != 0 { !0 } else { 0 }));
            }
            EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae => {
                self.masks[i.op0_register().number()] = (self.compare(i)? & self.op_mask(i)).into();
            }
            VEX_Vblendvps_ymm_ymm_ymmm256_ymm => {
                let mask = sign_bits(&self.vectors[i.op3_register().number()]);
                self.blend(i, mask)?;
            }
            EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32 => self.blend(i, self.op_mask(i))?,
            _ => self.lanewise(i)?,
        }
        Ok(Next::Follow)
    }

    /// The instructions that compute every lane from the same lane of their operands.
    fn lanewise(&mut self, i: &Instruction) -> Result<(), String> {
        use Code::*;
        let denormals = self.denormals;
        let take = move |a: u32| denormals.pass(f32::from_bits(a));
        let float1 = |f: fn(f32) -> f32| move |a| denormals.pass(f(take(a))).to_bits();
        let float2 = |f: fn(f32, f32) -> f32| move |a, b| denormals.pass(f(take(a), take(b))).to_bits();
        match i.code() {
            VEX_Vfmadd231ps_ymm_ymm_ymmm256 | EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er => self.multiply_add(i),
            VEX_Vfmadd213ps_ymm_ymm_ymmm256 | EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er => self.horner(i),
            VEX_Vpdpbusd_ymm_ymm_ymmm256 | EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32 => self.dot(i, |a, b| {
                let product = |k: usize| i32::from(a.to_le_bytes()[k]) * i32::from(b.to_le_bytes()[k] as i8);
                (0..4).map(product).sum::<i32>() as u32
            }),
            EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32 => self.dot_pairs(i),
            EVEX_Vcvtne2ps2bf16_zmm_k1z_zmm_zmmm512b32 => self.narrow_to_bf16(i),
            VEX_Vpdpwssd_ymm_ymm_ymmm256 | EVEX_Vpdpwssd_zmm_k1z_zmm_zmmm512b32 => self.dot(i, products_of_halves),
            VEX_Vaddps_ymm_ymm_ymmm256 | EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er => self.binary(i, float2(|a, b| a + b)),
            VEX_Vsubps_ymm_ymm_ymmm256 | EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er => self.binary(i, float2(|a, b| a - b)),
            VEX_Vmulps_ymm_ymm_ymmm256 | EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er => self.binary(i, float2(|a, b| a * b)),
            VEX_Vdivps_ymm_ymm_ymmm256 | EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er => self.binary(i, float2(|a, b| a / b)),
            VEX_Vmaxps_ymm_ymm_ymmm256 | EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae => {
                self.binary(i, float2(|a, b| if a > b { a } else { b }))
            }
            VEX_Vminps_ymm_ymm_ymmm256 | EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae => {
                self.binary(i, float2(|a, b| if a < b { a } else { b }))
            }
            VEX_Vpaddd_ymm_ymm_ymmm256 | EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32 => self.binary(i, u32::wrapping_add),
            VEX_Vpsubd_ymm_ymm_ymmm256 | EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32 => self.binary(i, u32::wrapping_sub),
            VEX_Vpmulld_ymm_ymm_ymmm256 | EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32 => self.binary(i, u32::wrapping_mul),
            VEX_Vpermd_ymm_ymm_ymmm256 | EVEX_Vpermd_zmm_k1z_zmm_zmmm512b32 => {
                let source = self.vector_source(i, 2)?;
                let index = self.vectors[i.op1_register().number()];
                self.set_vector_masked(i, index.map(|l| source[l as usize % lanes(i)]))
            }
            EVEX_Vpermb_zmm_k1z_zmm_zmmm512 => {
                let source = bytes(&self.vector_source(i, 2)?);
                let index = bytes(&self.vectors[i.op1_register().number()]);
                self.set_vector_masked(i, from_bytes(index.map(|b| source[usize::from(b % 64)])))
            }
            VEX_Vpackssdw_ymm_ymm_ymmm256 | EVEX_Vpackssdw_zmm_k1z_zmm_zmmm512b32 => self.narrow_lanes(i),
            VEX_Vpackuswb_ymm_ymm_ymmm256 | EVEX_Vpackuswb_zmm_k1z_zmm_zmmm512 => self.narrow_halves(i),
            VEX_Vpaddsw_ymm_ymm_ymmm256 | EVEX_Vpaddsw_zmm_k1z_zmm_zmmm512 => {
                self.binary(i, |a, b| on_halves(a, b, |a, b| (a as i16).saturating_add(b as i16) as u16))
            }
            VEX_Vpsubsw_ymm_ymm_ymmm256 | EVEX_Vpsubsw_zmm_k1z_zmm_zmmm512 => {
                self.binary(i, |a, b| on_halves(a, b, |a, b| (a as i16).saturating_sub(b as i16) as u16))
            }
            VEX_Vpmaddwd_ymm_ymm_ymmm256 | EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512 => self.binary(i, products_of_halves),
            VEX_Vpmaddubsw_ymm_ymm_ymmm256 | EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512 => self.binary(i, |a, b| {
                on_halves(a, b, |a, b| {
                    let [a, b] = [a.to_le_bytes().map(i32::from), b.to_le_bytes().map(|b| i32::from(b as i8))];
                    (a[0] * b[0] + a[1] * b[1]).clamp(i16::MIN.into(), i16::MAX.into()) as u16
                })
            }),
            VEX_Vpsrlw_ymm_ymm_imm8 | EVEX_Vpsrlw_zmm_k1z_zmmm512_imm8 => {
                let by = u32::from(i.immediate8());
                self.unary(i, |a| (a & 0xffff) >> by | a >> 16 >> by << 16)
            }
            VEX_Vpmaxub_ymm_ymm_ymmm256 | EVEX_Vpmaxub_zmm_k1z_zmm_zmmm512 => {
                self.binary(i, |a, b| u32::from_le_bytes(zip(a.to_le_bytes(), b.to_le_bytes(), u8::max)))
            }
            VEX_Vpand_ymm_ymm_ymmm256 | EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32 => self.binary(i, |a, b| a & b),
            VEX_Vpor_ymm_ymm_ymmm256 | EVEX_Vpord_zmm_k1z_zmm_zmmm512b32 => self.binary(i, |a, b| a | b),
            VEX_Vpxor_ymm_ymm_ymmm256 | EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32 => self.binary(i, |a, b| a ^ b),
            EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8 if i.immediate8() == 0xff => self.binary(i, |_, _| !0),

            VEX_Vmovaps_ymm_ymmm256 | EVEX_Vmovaps_zmm_k1z_zmmm512 => self.unary(i, |a| a),
            VEX_Vsqrtps_ymm_ymmm256 | EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er => self.unary(i, float1(f32::sqrt)),
            VEX_Vroundps_ymm_ymmm256_imm8 | EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae if i.immediate8() == 8 => {
                self.unary(i, float1(f32::round_ties_even))
            }
            VEX_Vcvtps2dq_ymm_ymmm256 | EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er => self.unary(i, to_int),
            VEX_Vcvtdq2ps_ymm_ymmm256 | EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er => {
                self.unary(i, |a| (a as i32 as f32).to_bits())
            }
            VEX_Vpslld_ymm_ymm_imm8 | EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8 => {
                let by = u32::from(i.immediate8());
                self.unary(i, |a| a.checked_shl(by).unwrap_or(0))
            }
            VEX_Vpsrad_ymm_ymm_imm8 | EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8 => {
                let by = u32::from(i.immediate8());
                self.unary(i, |a| ((a as i32) >> by) as u32)
            }
            VEX_Vpsrld_ymm_ymm_imm8 | EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8 => {
                let by = u32::from(i.immediate8());
                self.unary(i, |a| a.checked_shr(by).unwrap_or(0))
            }
            _ => Err("the assembler is not known to emit this".into()),
        }
    }

    fn check_return(&self) -> Result<(), String> {
        let changed = |register: &&Register| self.ints[register.number()] != self.entry_ints[register.number()];
        if let Some(register) = CALLEE_SAVED.iter().find(changed) {
            return Err(format!("{register:?} is not restored"));
        }
        if !self.stack.is_empty() {
            return Err("the stack is not restored".into());
        }
        if self.upper_halves_dirty {
            return Err("vzeroupper is missing".into());
        }
        Ok(())
    }

    fn int(&self, register: Register) -> u64 {
        self.ints[register.number()]
    }

    fn set_int(&mut self, register: Register, value: u64) {
        self.ints[register.number()] = value;
    }

    fn set_flagged(&mut self, register: Register, value: u64) {
        self.set_int(register, value);
        self.zero_flag = value == 0;
    }

    /// The last operand of an integer instruction.
    fn int_source(&self, i: &Instruction) -> Result<u64, String> {
        match i.op1_kind() {
            OpKind::Register => Ok(self.int(i.op1_register())),
            OpKind::Memory => {
                let mut word = [0; 8];
                self.memory.read(self.address(i), &mut word)?;
                Ok(u64::from_le_bytes(word))
            }
            _ => Ok(i.immediate(1)),
        }
    }

    fn address(&self, i: &Instruction) -> u64 {
        let base = match i.memory_base() {
            // The decoder has already added RIP.
            Register::RIP => i.memory_displacement64(),
            base => self.int(base).wrapping_add(i.memory_displacement64()),
        };
        match i.memory_index() {
            Register::None => base,
            index => base.wrapping_add(self.int(index)),
        }
    }

    fn load_lanes(&self, address: u64, lanes: &mut [u32]) -> Result<(), String> {
        let bytes = bytemuck::cast_slice_mut(lanes);
        // The constants behind the code.
        let offset = address.wrapping_sub(self.code.as_ptr().addr() as u64) as usize;
        if let Some(constants) = self.code.get(offset..offset.saturating_add(bytes.len())) {
            bytes.copy_from_slice(constants);
            return Ok(());
        }
        self.memory.read(address, bytes)
    }

    fn load_lane(&self, address: u64) -> Result<u32, String> {
        let mut lane = [0];
        self.load_lanes(address, &mut lane)?;
        Ok(lane[0])
    }

    /// Two bytes for each lane, as halves.
    fn load_bytes(&mut self, i: &Instruction, half: fn(u8) -> u16) -> Result<(), String> {
        let mut bytes = [0; 32];
        self.memory.read(self.address(i), &mut bytes[..2 * lanes(i)])?;
        let lane = |l: usize| u32::from(half(bytes[2 * l])) | u32::from(half(bytes[2 * l + 1])) << 16;
        self.set_vector_masked(i, std::array::from_fn(lane))
    }

    /// A half for each lane.
    fn load_halves(&self, i: &Instruction) -> Result<[u16; 16], String> {
        let mut bytes = [0; 32];
        self.memory.read(self.address(i), &mut bytes[..2 * lanes(i)])?;
        Ok(std::array::from_fn(|l| u16::from_le_bytes([bytes[2 * l], bytes[2 * l + 1]])))
    }

    /// The memory operand's lanes under `mask`; zero elsewhere.
    fn load(&self, i: &Instruction, mask: u16) -> Result<Lanes, String> {
        let address = self.address(i);
        if i.is_broadcast() {
            return Ok([self.load_lane(address)?; 16]);
        }
        let (mut value, lanes) = ([0; 16], lanes(i));
        if mask == !0 && self.load_lanes(address, &mut value[..lanes]).is_ok() {
            return Ok(value);
        }
        for lane in (0..lanes).filter(|lane| mask >> lane & 1 != 0) {
            value[lane] = self.load_lane(address.wrapping_add(4 * lane as u64))?;
        }
        Ok(value)
    }

    fn store(&mut self, i: &Instruction, mask: u16, value: &Lanes) -> Result<(), String> {
        let (address, lanes) = (self.address(i), lanes(i));
        if mask == !0 && self.memory.write(address, bytemuck::cast_slice(&value[..lanes])).is_ok() {
            return Ok(());
        }
        for lane in (0..lanes).filter(|lane| mask >> lane & 1 != 0) {
            self.memory.write(address.wrapping_add(4 * lane as u64), &value[lane].to_le_bytes())?;
        }
        Ok(())
    }

    /// Operand `index`, a vector register or memory.
    fn vector_source(&self, i: &Instruction, index: u32) -> Result<Lanes, String> {
        match i.op_kind(index) {
            OpKind::Register => Ok(self.vectors[i.op_register(index).number()]),
            _ => self.load(i, !0),
        }
    }

    /// Writes the lanes that `register` has and clears those above.
    fn set_vector(&mut self, register: Register, mut value: Lanes) {
        value[register.size() / 4..].fill(0);
        self.vectors[register.number()] = value;
        self.upper_halves_dirty = true;
    }

    /// The lanes the instruction's mask operand lets through; all without one.
    fn op_mask(&self, i: &Instruction) -> u16 {
        match i.op_mask() {
            Register::None => !0,
            mask => self.masks[mask.number()] as u16,
        }
    }

    fn set_vector_masked(&mut self, i: &Instruction, mut value: Lanes) -> Result<(), String> {
        let mask = self.op_mask(i);
        if mask != !0 {
            let old = self.vectors[i.op0_register().number()];
            for lane in (0..16).filter(|lane| mask >> lane & 1 == 0) {
                value[lane] = if i.zeroing_masking() { 0 } else { old[lane] };
            }
        }
        if i.rounding_control() != iced_x86::RoundingControl::None || i.suppress_all_exceptions() {
            return Err("the assembler is not known to override the rounding mode".into());
        }
        self.set_vector(i.op0_register(), value);
        Ok(())
    }

    fn unary(&mut self, i: &Instruction, f: impl Fn(u32) -> u32) -> Result<(), String> {
        let a = self.vector_source(i, 1)?;
        self.set_vector_masked(i, a.map(f))
    }

    fn binary(&mut self, i: &Instruction, f: impl Fn(u32, u32) -> u32) -> Result<(), String> {
        let a = self.vectors[i.op1_register().number()];
        let b = self.vector_source(i, 2)?;
        self.set_vector_masked(i, std::array::from_fn(|l| f(a[l], b[l])))
    }

    fn multiply_add(&mut self, i: &Instruction) -> Result<(), String> {
        let sum = self.vectors[i.op0_register().number()];
        let a = self.vectors[i.op1_register().number()];
        let b = self.vector_source(i, 2)?;
        self.set_vector_masked(i, fused_multiply_add(&a, &b, &sum, self.denormals))
    }

    /// Adds products of the elements of each lane.
    fn dot(&mut self, i: &Instruction, products: fn(u32, u32) -> u32) -> Result<(), String> {
        let sums = self.vectors[i.op0_register().number()];
        let a = self.vectors[i.op1_register().number()];
        let b = self.vector_source(i, 2)?;
        self.set_vector_masked(i, std::array::from_fn(|l| sums[l].wrapping_add(products(a[l], b[l]))))
    }

    /// Intel SDM volume 2, VDPBF16PS: denormals are 0 whatever MXCSR says.
    fn dot_pairs(&mut self, i: &Instruction) -> Result<(), String> {
        let sums = self.vectors[i.op0_register().number()];
        let a = self.vectors[i.op1_register().number()];
        let b = self.vector_source(i, 2)?;
        let [low, high] = [|x: u32| x << 16, |x: u32| x & 0xffff_0000];
        let sums = fused_multiply_add(&a.map(high), &b.map(high), &sums, Denormals::Flush);
        self.set_vector_masked(i, fused_multiply_add(&a.map(low), &b.map(low), &sums, Denormals::Flush))
    }

    /// The second operand, then the first, as numbers of bf16.
    fn narrow_to_bf16(&mut self, i: &Instruction) -> Result<(), String> {
        let (a, b) = (self.vectors[i.op1_register().number()], self.vector_source(i, 2)?);
        let narrow = |x: u32| u32::from(Half::Bf16.narrow(Denormals::Flush.pass(f32::from_bits(x))));
        let pair = |l: usize| {
            let (from, first) = if l < 8 { (&b, 2 * l) } else { (&a, 2 * l - 16) };
            narrow(from[first]) | narrow(from[first + 1]) << 16
        };
        self.set_vector_masked(i, std::array::from_fn(pair))
    }

    fn narrow_lanes(&mut self, i: &Instruction) -> Result<(), String> {
        let (a, b) = (self.vectors[i.op1_register().number()], self.vector_source(i, 2)?);
        let half = |lane: u32| (lane as i32).clamp(i16::MIN.into(), i16::MAX.into()) as u16;
        let pair = |l: usize| {
            let from = if l % 4 < 2 { &a } else { &b };
            let first = l / 4 * 4 + l % 2 * 2;
            u32::from(half(from[first])) | u32::from(half(from[first + 1])) << 16
        };
        self.set_vector_masked(i, std::array::from_fn(pair))
    }

    fn narrow_halves(&mut self, i: &Instruction) -> Result<(), String> {
        let (a, b) = (self.vectors[i.op1_register().number()], self.vector_source(i, 2)?);
        let byte = |half: u32| (half as u16 as i16).clamp(0, 255) as u32;
        let quad = |l: usize| {
            let from = if l % 4 < 2 { &a } else { &b };
            let first = l / 4 * 4 + l % 2 * 2;
            let [low, high] = [0, 1].map(|k| byte(from[first + k]) | byte(from[first + k] >> 16) << 8);
            low | high << 16
        };
        self.set_vector_masked(i, std::array::from_fn(quad))
    }

    /// Bytes that the mask lets through, of two vectors; the old ones, which are their numbers, stay elsewhere.
    fn look_up(&mut self, i: &Instruction) -> Result<(), String> {
        let index = bytes(&self.vectors[i.op0_register().number()]);
        let (low, high) = (bytes(&self.vectors[i.op1_register().number()]), bytes(&self.vector_source(i, 2)?));
        let mask = self.masks[i.op_mask().number()];
        let byte = |b: usize| {
            let number = usize::from(index[b] % 128);
            let found = if number < 64 { low[number] } else { high[number - 64] };
            if mask >> b & 1 != 0 { found } else { index[b] }
        };
        self.set_vector(i.op0_register(), from_bytes(std::array::from_fn(byte)));
        Ok(())
    }

    fn horner(&mut self, i: &Instruction) -> Result<(), String> {
        let x = self.vectors[i.op0_register().number()];
        let a = self.vectors[i.op1_register().number()];
        let b = self.vector_source(i, 2)?;
        self.set_vector_masked(i, fused_multiply_add(&x, &a, &b, self.denormals))
    }

    fn compare(&self, i: &Instruction) -> Result<u16, String> {
        let holds: fn(f32, f32) -> bool = match i.immediate8() {
            0x00 => |a, b| a == b,
            0x03 => |a, b| a.is_nan() || b.is_nan(),
            0x11 => |a, b| a < b,
            0x12 => |a, b| a <= b,
            0x1d => |a, b| a >= b,
            0x1e => |a, b| a > b,
            _ => return Err("the assembler is not known to emit this predicate".into()),
        };
        let a = self.vectors[i.op1_register().number()];
        let b = self.vector_source(i, 2)?;
        let take = |a: u32| self.denormals.pass(f32::from_bits(a));
        let bit = |l: usize| u16::from(holds(take(a[l]), take(b[l]))) << l;
        Ok((0..16).map(bit).sum())
    }

    /// Operand 2 where `mask` is set, else operand 1. A mask does not merge here, it chooses.
    fn blend(&mut self, i: &Instruction, mask: u16) -> Result<(), String> {
        let a = self.vectors[i.op1_register().number()];
        let b = self.vector_source(i, 2)?;
        self.set_vector(i.op0_register(), std::array::from_fn(|l| if mask >> l & 1 != 0 { b[l] } else { a[l] }));
        Ok(())
    }
}

fn bytes(lanes: &Lanes) -> [u8; 64] {
    std::array::from_fn(|b| (lanes[b / 4] >> (b % 4 * 8)) as u8)
}

fn from_bytes(bytes: [u8; 64]) -> Lanes {
    std::array::from_fn(|l| u32::from_le_bytes(std::array::from_fn(|b| bytes[4 * l + b])))
}

fn zip<T: Copy, const N: usize>(a: [T; N], b: [T; N], f: fn(T, T) -> T) -> [T; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// The sum of the products of the halves of two lanes, which have signs.
fn products_of_halves(a: u32, b: u32) -> u32 {
    let product = |by: u32| i32::from((a >> by) as i16) * i32::from((b >> by) as i16);
    product(0).wrapping_add(product(16)) as u32
}

/// `f` of both halves of a lane.
fn on_halves(a: u32, b: u32, f: fn(u16, u16) -> u16) -> u32 {
    let [low, high] = zip([a as u16, (a >> 16) as u16], [b as u16, (b >> 16) as u16], f);
    u32::from(low) | u32::from(high) << 16
}

/// a * b + c, rounded once.
fn fused_multiply_add(a: &Lanes, b: &Lanes, c: &Lanes, denormals: Denormals) -> Lanes {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn with_instruction(a: &Lanes, b: &Lanes, c: &Lanes, denormals: Denormals) -> Lanes {
        lanewise(a, b, c, denormals)
    }
    #[inline(always)]
    fn lanewise(a: &Lanes, b: &Lanes, c: &Lanes, denormals: Denormals) -> Lanes {
        let take = |a: u32| denormals.pass(f32::from_bits(a));
        std::array::from_fn(|l| denormals.pass(take(a[l]).mul_add(take(b[l]), take(c[l]))).to_bits())
    }
    // Without the instruction each lane is a call of a library function.
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { with_instruction(a, b, c, denormals) };
    }
    lanewise(a, b, c, denormals)
}

/// Lanes of the instruction's vector operands.
fn lanes(i: &Instruction) -> usize {
    let is_vector = |register: &Register| register.is_vector_register();
    let registers = [i.op0_register(), i.op1_register(), i.op2_register()];
    registers.iter().find(|register| is_vector(register)).map_or(0, |register| register.size() / 4)
}

fn sign_bits(mask: &Lanes) -> u16 {
    (0..16).map(|l| ((mask[l] >> 31) as u16) << l).sum()
}

/// Ties to even; the "integer indefinite" where the result does not fit.
fn to_int(a: u32) -> u32 {
    let value = f32::from_bits(a).round_ties_even();
    if (-2147483648.0..2147483648.0).contains(&value) { value as i32 as u32 } else { 0x8000_0000 }
}
