//! The floating-point mode of kernels: numbers round to the nearest, exceptions are masked, and denormals, which are up
//! to a hundred times slower than other numbers and carry no information in a network, count as zero.
//!
//! Rust and C code rely on the mode that they were compiled for, so no kernel leaves its own behind, and none depends on
//! what its caller has set. Machine code, as `CodeModule::define_bytes` takes it: no Cranelift function can do this.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use target_lexicon::Architecture;

/// MXCSR (Intel SDM volume 1, section 10.2.3): flush to zero, denormals are zero, all exceptions masked.
const MXCSR: i32 = 1 << 15 | 1 << 6 | 0x3f << 7;
/// The bits of MXCSR that say what has happened, not what is to be done.
const MXCSR_STATUS: i32 = 0x3f;

/// `u64 enter(void)` sets the mode of kernels and returns the one before; `void leave(u64 mode)` sets that again.
/// `None` for architectures whose mode is left as it is. Changing the mode costs more than to ask for it, so neither does
/// where it would change nothing.
pub(super) fn functions(architecture: Architecture) -> Option<[Vec<u8>; 2]> {
    match architecture {
        Architecture::X86_64 => Some(x64().expect("operands can be encoded")),
        Architecture::Aarch64(_) => Some(aarch64()),
        _ => None,
    }
}

/// Under the System V calling convention.
fn x64() -> Result<[Vec<u8>; 2], IcedError> {
    let mut enter = CodeAssembler::new(64)?;
    let mut done = enter.create_label();
    enter.push(rax)?;
    enter.stmxcsr(dword_ptr(rsp))?;
    enter.mov(eax, dword_ptr(rsp))?;
    enter.mov(ecx, eax)?;
    enter.and(ecx, !MXCSR_STATUS)?;
    enter.cmp(ecx, MXCSR)?;
    enter.je(done)?;
    enter.mov(dword_ptr(rsp), MXCSR)?;
    enter.ldmxcsr(dword_ptr(rsp))?;
    enter.set_label(&mut done)?;
    enter.pop(rcx)?;
    enter.ret()?;

    let mut leave = CodeAssembler::new(64)?;
    let mut done = leave.create_label();
    leave.mov(eax, edi)?;
    leave.and(eax, !MXCSR_STATUS)?;
    leave.cmp(eax, MXCSR)?;
    leave.je(done)?;
    leave.push(rdi)?;
    leave.ldmxcsr(dword_ptr(rsp))?;
    leave.pop(rdi)?;
    leave.set_label(&mut done)?;
    leave.ret()?;
    Ok([enter.assemble(0)?, leave.assemble(0)?])
}

/// FPCR (Arm Architecture Reference Manual, section C5.2.8): FZ, which is bit 24, and nothing else.
fn aarch64() -> [Vec<u8>; 2] {
    let enter = [
        0xd53b_4400, // mrs x0, fpcr
        0x52a0_2001, // mov w1, #1 << 24
        0xeb01_001f, // cmp x0, x1
        0x5400_0040, // b.eq 8
        0xd51b_4401, // msr fpcr, x1
        0xd65f_03c0, // ret
    ];
    let leave = [
        0x52a0_2001, // mov w1, #1 << 24
        0xeb01_001f, // cmp x0, x1
        0x5400_0040, // b.eq 8
        0xd51b_4400, // msr fpcr, x0
        0xd65f_03c0, // ret
    ];
    let bytes = |code: &[u32]| code.iter().flat_map(|word| word.to_le_bytes()).collect();
    [bytes(&enter), bytes(&leave)]
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::vector::VectorAsm;
    use super::super::{CodeModule, FuncId, Isa, JitCode};
    use std::arch::asm;

    fn mxcsr() -> u32 {
        let mut value = 0u32;
        // SAFETY: stores the 32-bit MXCSR to a live local.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack)) };
        value
    }

    /// Runs the kernel `id` of `code` on `data` in the mode `before`; the mode behind it.
    fn run_in_mode(before: u32, code: &JitCode, id: FuncId, data: &mut [f32]) -> u32 {
        let (usual, mut after) = (mxcsr(), 0u32);
        // SAFETY: the kernel was defined with this signature and reads and writes the 64 bytes of `data`. The mode is
        // changed and restored in one piece of assembly, so that no Rust code runs in it; the called code keeps the
        // registers that the System V calling convention lets it keep.
        unsafe {
            asm!(
                "ldmxcsr [r12]",
                "call r13",
                "stmxcsr [r14]",
                "ldmxcsr [r15]",
                in("r12") &before,
                in("r13") code.address(id),
                in("r14") &mut after,
                in("r15") &usual,
                in("rdi") data.as_mut_ptr(),
                in("rsi") 0u64,
                in("rdx") 1u64,
                clobber_abi("sysv64"),
            );
        }
        after
    }

    /// A kernel that divides each lane by 3; its first argument is their address.
    fn third(module: &mut CodeModule, isa: Isa) -> FuncId {
        let mut build = |asm: &mut dyn VectorAsm| {
            let [x, three] = [asm.vec(), asm.vec()];
            asm.load(x, asm.arg(0).at(0));
            asm.splat(three, 3.0);
            asm.div(x, x, three);
            asm.store(asm.arg(0).at(0), x);
        };
        let tile = module.define_tile("third", isa, 1, &mut build).unwrap();
        module.define_kernel("kernel", |n| n.call(tile, &[n.arg(0)])).unwrap()
    }

    const DEFAULT: u32 = 0x1f80;
    const UPWARD: u32 = DEFAULT | 2 << 13;
    const FLUSHING: u32 = DEFAULT | 1 << 15 | 1 << 6;
    /// Stops at the first inexact result.
    const UNMASKED: u32 = DEFAULT & !(1 << 12);

    #[test]
    fn kernels_run_in_their_mode_and_leave_the_callers() {
        for isa in Isa::available() {
            let mut module = CodeModule::jit(false).unwrap();
            let kernel = third(&mut module, isa.into());
            let code = module.finish_jit().unwrap();
            for before in [DEFAULT, UPWARD, FLUSHING, UNMASKED] {
                let mut data = [1.0f32; 16];
                data[1] = 2.0 * f32::MIN_POSITIVE;
                data[2] = f32::MIN_POSITIVE / 2.0;
                let after = run_in_mode(before, &code, kernel, &mut data);
                assert_eq!(after & !0x3f, before, "{isa}, {before:#x}");
                assert_eq!(data[..3], [1.0 / 3.0, 0.0, 0.0], "{isa}, {before:#x}: rounded to nearest and flushed");
            }
        }
    }

    /// The emulator flushes by itself: it runs in the mode of Rust code.
    #[test]
    fn emulated_kernels_flush_and_do_not_change_the_mode() {
        for isa in [Isa::Avx2, Isa::Avx512] {
            let mut module = CodeModule::jit_emulated().unwrap();
            let kernel = third(&mut module, isa);
            let code = module.finish_jit().unwrap();
            let mut data = [2.0 * f32::MIN_POSITIVE; 16];
            data[0] = -f32::MIN_POSITIVE / 2.0;
            let region = super::super::emulator::Region {
                start: data.as_mut_ptr().expose_provenance(),
                len: size_of_val(&data),
                writable: true,
            };
            let emulation = code.emulation().unwrap();
            // SAFETY: `data` is not touched before the kernel has ended.
            unsafe { emulation.lend(vec![region]) };
            assert_eq!(run_in_mode(DEFAULT, &code, kernel, &mut data) & !0x3f, DEFAULT);
            emulation.check().unwrap();
            assert!(data[..isa.lanes()].iter().all(|&x| x == 0.0), "{isa}: {data:?}");
            assert!(data[0].is_sign_negative());
        }
    }
}
