//! The function that no Cranelift function can be: it asks the CPU for its features. Machine code, as
//! `CodeModule::define_bytes` takes it.

use crate::codegen::{Bytes, CodeModule, Isa};
use crate::kernels::Target;
use crate::tensor::Products;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Feature bits of x86-64, by the place where CPUID and XGETBV tell them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// CPUID leaf 1, ECX.
    leaf1: u32,
    /// CPUID leaf 7, EBX and ECX.
    leaf7: [u32; 2],
    /// CPUID leaf 7, subleaf 1, EAX.
    leaf7_1: u32,
    /// CPUID leaf 0x80000001, ECX.
    extended: u32,
    /// State that the operating system keeps: XCR0.
    state: u32,
}

/// CPUID leaf 1, ECX: the operating system has enabled XGETBV.
const OSXSAVE: u32 = 1 << 27;
/// XCR0: XMM and YMM registers.
const AVX_STATE: u32 = 0b110;
/// XCR0: mask registers and ZMM registers too.
const AVX512_STATE: u32 = 0b1110_0110;

impl Features {
    /// What the functions of a module need, which may use all that Cranelift was allowed to, and the tiles of a target.
    pub(super) fn of(module: &CodeModule, target: Target) -> Features {
        let tiles: &[&str] = match target.isa {
            Isa::Clif => &[],
            Isa::Avx2 => &["has_avx2", "has_fma", "has_f16c"],
            Isa::Avx512 => {
                &["has_avx2", "has_fma", "has_f16c", "has_avx512f", "has_avx512dq", "has_avx512bw", "has_avx512vl"]
            }
        };
        let bytes: &[&str] = match (target.isa, target.bytes) {
            (_, Bytes::None | Bytes::Vectors) => &[],
            (Isa::Avx512, Bytes::Dots) => &["has_avx512vnni"],
            (Isa::Avx512, Bytes::Tables | Bytes::Bf16) => &["has_avx512vnni", "has_avx512vbmi"],
            (Isa::Clif | Isa::Avx2, _) => &["has_avx_vnni"],
        };
        let pairs: &[&str] = if target.products == Products::Bf16 { &["has_avx512bf16"] } else { &[] };
        let mut features = Features::default();
        module.features().iter().chain(tiles).chain(bytes).chain(pairs).for_each(|name| features.add(name));
        features
    }

    /// Adds a feature under Cranelift's name, or one like it; those of other kinds do not matter. Bits: Intel SDM volume 2, CPUID.
    fn add(&mut self, name: &str) {
        match name {
            "has_sse3" => self.leaf1 |= 1,
            "has_ssse3" => self.leaf1 |= 1 << 9,
            "has_fma" => self.add_vector(|f| &mut f.leaf1, 12, AVX_STATE),
            "has_cmpxchg16b" => self.leaf1 |= 1 << 13,
            "has_sse41" => self.leaf1 |= 1 << 19,
            "has_sse42" => self.leaf1 |= 1 << 20,
            "has_popcnt" => self.leaf1 |= 1 << 23,
            "has_avx" => self.add_vector(|f| &mut f.leaf1, 28, AVX_STATE),
            "has_f16c" => self.add_vector(|f| &mut f.leaf1, 29, AVX_STATE),
            "has_bmi1" => self.leaf7[0] |= 1 << 3,
            "has_avx2" => self.add_vector(|f| &mut f.leaf7[0], 5, AVX_STATE),
            "has_bmi2" => self.leaf7[0] |= 1 << 8,
            "has_avx512f" => self.add_vector(|f| &mut f.leaf7[0], 16, AVX512_STATE),
            "has_avx512dq" => self.add_vector(|f| &mut f.leaf7[0], 17, AVX512_STATE),
            "has_avx512bw" => self.add_vector(|f| &mut f.leaf7[0], 30, AVX512_STATE),
            "has_avx512vl" => self.add_vector(|f| &mut f.leaf7[0], 31, AVX512_STATE),
            "has_avx512vbmi" => self.add_vector(|f| &mut f.leaf7[1], 1, AVX512_STATE),
            "has_avx512vnni" => self.add_vector(|f| &mut f.leaf7[1], 11, AVX512_STATE),
            "has_avx512bitalg" => self.add_vector(|f| &mut f.leaf7[1], 12, AVX512_STATE),
            "has_avx512bf16" => self.add_vector(|f| &mut f.leaf7_1, 5, AVX512_STATE),
            "has_avx_vnni" => self.add_vector(|f| &mut f.leaf7_1, 4, AVX_STATE),
            "has_lzcnt" => self.extended |= 1 << 5,
            _ => {}
        }
    }

    /// A feature whose registers the operating system must save.
    fn add_vector(&mut self, word: fn(&mut Features) -> &mut u32, bit: u32, state: u32) {
        *word(self) |= 1 << bit;
        self.leaf1 |= OSXSAVE;
        self.state |= state;
    }

    /// `u64 missing_features(void)`: not zero on a CPU that lacks one.
    pub(super) fn check(&self) -> Vec<u8> {
        self.assemble_check().expect("operands can be encoded")
    }

    /// Collects the missing bits in R8D. An absent leaf is never asked for: each question needs the one before it to
    /// have found nothing missing, and CPUs with AVX2 have leaf 7.
    fn assemble_check(&self) -> Result<Vec<u8>, IcedError> {
        let mut asm = CodeAssembler::new(64)?;
        let mut done = asm.create_label();
        asm.push(rbx)?;
        asm.xor(r8d, r8d)?;
        cpuid(&mut asm, 1, 0)?;
        need(&mut asm, ecx, self.leaf1, done)?;
        if self.state != 0 {
            asm.xor(ecx, ecx)?;
            asm.xgetbv()?;
            need(&mut asm, eax, self.state, done)?;
        }
        if self.extended != 0 {
            cpuid(&mut asm, 0x8000_0001, 0)?;
            need(&mut asm, ecx, self.extended, done)?;
        }
        if self.leaf7 != [0, 0] || self.leaf7_1 != 0 {
            cpuid(&mut asm, 0, 0)?;
            asm.cmp(eax, 7)?;
            asm.setb(r8b)?;
            asm.jb(done)?;
            cpuid(&mut asm, 7, 0)?;
            need(&mut asm, ebx, self.leaf7[0], done)?;
            need(&mut asm, ecx, self.leaf7[1], done)?;
        }
        if self.leaf7_1 != 0 {
            cpuid(&mut asm, 7, 1)?;
            need(&mut asm, eax, self.leaf7_1, done)?;
        }
        asm.set_label(&mut done)?;
        asm.mov(eax, r8d)?;
        asm.pop(rbx)?;
        asm.ret()?;
        asm.assemble(0)
    }
}

/// Fills EAX, EBX, ECX and EDX.
fn cpuid(asm: &mut CodeAssembler, leaf: u32, subleaf: u32) -> Result<(), IcedError> {
    asm.mov(eax, leaf)?;
    asm.mov(ecx, subleaf)?;
    asm.cpuid()
}

/// Goes to `done` where one of `bits` is not in `word`.
fn need(asm: &mut CodeAssembler, word: AsmRegister32, bits: u32, done: CodeLabel) -> Result<(), IcedError> {
    if bits != 0 {
        // Of EAX, ECX and EDX a later question has no need, and EBX is asked before ECX.
        asm.not(word)?;
        asm.and(word, bits)?;
        asm.or(r8d, word)?;
        asm.jne(done)?;
    }
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn call(code: &[u8]) -> u64 {
        let mut module = CodeModule::jit(false).unwrap();
        let id = module.define_bytes("check", 0, code).unwrap();
        let code = module.finish_jit().unwrap();
        // SAFETY: the function was defined with this signature, and `code` lives.
        let function: extern "C" fn() -> u64 = unsafe { std::mem::transmute(code.address(id)) };
        function()
    }

    #[test]
    fn the_features_of_this_machine_are_found() {
        let module = CodeModule::object(target_lexicon::Triple::host(), Some("native"), false).unwrap();
        assert_eq!(call(&Features::of(&module, super::super::Cpu::named("native").unwrap().target()).check()), 0);
    }

    /// What a CPU has besides is asked for where it is used.
    #[test]
    fn products_of_bf16_ask_for_their_feature() {
        let module = CodeModule::object(target_lexicon::Triple::host(), Some("znver4"), false).unwrap();
        let target = super::super::Cpu::named("znver4").unwrap().target();
        let [real, bf16] =
            [Products::F32, Products::Bf16].map(|products| Features::of(&module, Target { products, ..target }));
        assert_eq!((real.leaf7_1, bf16.leaf7_1), (0, 1 << 5));
        assert_eq!(Features { leaf7_1: 0, ..bf16 }, real);
    }

    #[test]
    fn a_missing_feature_is_found() {
        // Reserved bits: no CPU has them.
        let absent = [
            Features { leaf1: 1 << 16, ..Features::default() },
            Features { leaf7: [0, 1 << 15], ..Features::default() },
            Features { extended: 1 << 18, ..Features::default() },
        ];
        for features in absent {
            assert_ne!(call(&features.check()), 0, "{features:?}");
        }
    }
}
