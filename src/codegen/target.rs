//! The machine that code is made for, as Cranelift sees it.

use cranelift::prelude::*;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::Flags;
use target_lexicon::{Architecture, CallingConvention, Triple};

use super::CodeError;

/// One machine under two settings, for the two kinds of function that Cranelift compiles. Neither is optimised.
#[derive(Clone)]
pub(super) struct Targets {
    /// Registers are allocated in a single pass: nests run for no time beside the tiles that they call, but the
    /// start-up of a network waits for their compilation (almost three times as long with the optimiser and the
    /// allocator for tiles).
    pub(super) nests: OwnedTargetIsa,
    /// The optimiser moves all loads of a tile before its arithmetic, whatever order the kernel chose, and runs out of
    /// registers. A 4x2 tile unrolled by four runs almost twice as fast in the order it was written.
    pub(super) tiles: OwnedTargetIsa,
}

impl Targets {
    /// This machine, for code at a fixed address.
    pub(super) fn host() -> Result<Self, CodeError> {
        #[cfg(target_arch = "x86_64")]
        if !std::is_x86_feature_detected!("sse4.1") {
            return Err(CodeError::Target("x86-64 without SSE 4.1, which rounding vectors needs".into()));
        }
        let host = cranelift_native::builder().map_err(|error| CodeError::Target(error.to_string()))?;
        Self::finish(&host, false)
    }

    /// The machine of `triple` and `cpu`, as [`CodeModule::object`](super::CodeModule::object) says.
    ///
    /// # Errors
    /// For what nobody has tried: other architectures than x86-64 and AArch64, calling conventions of which the generated
    /// functions know nothing (Windows), and the CPU `native` of another architecture than this machine's.
    pub(super) fn new(triple: Triple, cpu: Option<&str>, pic: bool) -> Result<Self, CodeError> {
        let known = matches!(triple.architecture, Architecture::X86_64 | Architecture::Aarch64(_));
        if !known || triple.default_calling_convention() == Ok(CallingConvention::WindowsFastcall) {
            return Err(CodeError::Target(triple.to_string()));
        }
        let mut builder = isa::lookup(triple.clone()).map_err(|_| CodeError::Target(triple.to_string()))?;
        if triple.architecture == Architecture::X86_64 {
            // Rounding vectors needs SSE 4.1.
            builder.enable("x86-64-v2").expect("Cranelift knows x86-64-v2");
        }
        match cpu {
            None => {}
            Some("native") if triple.architecture != Triple::host().architecture => {
                return Err(CodeError::Native { triple });
            }
            Some("native") => {
                let error = |error: &str| CodeError::Target(error.to_string());
                cranelift_native::infer_native_flags(&mut builder).map_err(error)?;
            }
            Some(cpu) => builder.enable(cpu).map_err(|_| CodeError::Cpu(cpu.to_string()))?,
        }
        Self::finish(&builder, pic)
    }

    fn finish(builder: &isa::Builder, pic: bool) -> Result<Self, CodeError> {
        Ok(Self { nests: finish_isa(builder, pic, "single_pass")?, tiles: finish_isa(builder, pic, "backtracking")? })
    }
}

fn finish_isa(builder: &isa::Builder, pic: bool, allocator: &str) -> Result<OwnedTargetIsa, CodeError> {
    let flag = |on| if on { "true" } else { "false" };
    let values = [
        ("opt_level", "none"),
        ("regalloc_algorithm", allocator),
        ("is_pic", flag(pic)),
        ("enable_verifier", flag(cfg!(debug_assertions))),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
        ("use_colocated_libcalls", "false"),
    ];
    let mut flags = settings::builder();
    for (name, value) in values {
        flags.set(name, value).expect("Cranelift knows its settings");
    }
    Ok(builder.finish(Flags::new(flags))?)
}
