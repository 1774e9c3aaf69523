//! What can go wrong on the way to machine code.

use cranelift_codegen::CodegenError;
use cranelift_module::ModuleError;
use target_lexicon::Triple;

use super::Isa;

/// Why code could not be made. Nothing here is the model's fault: the target is wrong, or svertka is.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    #[error("target `{0}` is not supported")]
    Target(String),
    #[error("the CPU `native` is this one, which has nothing to do with {triple}: name a CPU")]
    Native { triple: Triple },
    #[error("unknown CPU or feature `{0}`")]
    Cpu(String),
    #[error("no {bytes} bytes of address space for code")]
    Memory { bytes: usize },
    #[error("{isa} tiles need an x86-64 target, not {triple}")]
    Isa { isa: Isa, triple: Triple },
    #[error("code generation failed: {0}")]
    Cranelift(String),
}

impl From<ModuleError> for CodeError {
    fn from(error: ModuleError) -> Self {
        CodeError::Cranelift(error.to_string())
    }
}

impl From<CodegenError> for CodeError {
    fn from(error: CodegenError) -> Self {
        match error {
            CodegenError::Verifier(findings) => CodeError::Cranelift(findings.to_string()),
            other => CodeError::Cranelift(other.to_string()),
        }
    }
}
