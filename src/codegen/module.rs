//! One module of functions, in memory (JIT) or in an object file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use cranelift::prelude::*;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{
    DataDescription, DataId, FuncId, FuncOrDataId, Linkage, Module, ModuleDeclarations, ModuleReloc, ModuleRelocTarget,
    default_libcall_names,
};
use cranelift_object::{ObjectBuilder, ObjectModule};
use target_lexicon::{Architecture, Triple};

use super::clif::{ClifAsm, Machine};
use super::emulated::Emulation;
use super::target::Targets;
use super::vector::VectorAsm;
use super::{CodeError, Isa, NestBuilder, mode, x64};
use crate::hash::fnv1a;

/// Address space reserved for a module's code; pages are committed as they are used.
const ARENA_BYTES: usize = 256 << 20;

/// What a function was made from and what it became.
#[derive(Clone, Debug)]
pub struct FunctionText {
    pub name: String,
    /// Cranelift's intermediate language; none for a wide tile and for finished code.
    pub clif: Option<String>,
    /// Cranelift's own syntax where it compiled the function, Intel syntax otherwise.
    pub assembly: String,
}

enum Output {
    Jit(Box<JITModule>),
    Object(Box<ObjectModule>),
}

/// Functions under construction, all of one target.
pub struct CodeModule {
    output: Output,
    targets: Targets,
    scratch: FunctionBuilderContext,
    defined: Vec<FuncId>,
    /// In order of definition; `None` where nobody asked for it.
    text: Option<Vec<FunctionText>>,
    /// Where wide tiles are emulated.
    emulation: Option<Arc<Emulation>>,
    /// The functions of [`mode`], from the first kernel on.
    mode: Option<[FuncId; 2]>,
    /// Hashes of the functions' bytes before relocation, in order of definition; kept with debug assertions only.
    digests: Vec<u64>,
}

impl CodeModule {
    /// A module that becomes code in memory, for the machine it runs on. `keep_text` keeps [`CodeModule::text`].
    pub fn jit(keep_text: bool) -> Result<Self, CodeError> {
        Self::jit_for(Targets::host()?, keep_text)
    }

    /// As [`CodeModule::jit`], but wide tiles run in the emulator, each time they are called.
    pub fn jit_emulated() -> Result<Self, CodeError> {
        Ok(Self { emulation: Some(Arc::default()), ..Self::jit(false)? })
    }

    /// A module in memory for targets that the host must be able to run.
    pub(super) fn jit_for(targets: Targets, keep_text: bool) -> Result<Self, CodeError> {
        let arena =
            ArenaMemoryProvider::new_with_size(ARENA_BYTES).map_err(|_| CodeError::Memory { bytes: ARENA_BYTES })?;
        let mut builder = JITBuilder::with_isa(targets.nests.clone(), default_libcall_names());
        builder.memory_provider(Box::new(arena));
        Ok(Self::new(Output::Jit(Box::new(JITModule::new(builder))), targets, keep_text))
    }

    /// A module that becomes a position-independent object file for `triple`. `cpu` is a name or feature flag of
    /// Cranelift's, as `x86-64-v3` or `haswell`, or `native` for what this machine has; without it x86-64 means
    /// `x86-64-v2`.
    pub fn object(triple: Triple, cpu: Option<&str>, keep_text: bool) -> Result<Self, CodeError> {
        let targets = Targets::new(triple, cpu, true)?;
        let builder = ObjectBuilder::new(targets.nests.clone(), "svertka", default_libcall_names())?;
        Ok(Self::new(Output::Object(Box::new(ObjectModule::new(builder))), targets, keep_text))
    }

    fn new(output: Output, targets: Targets, keep_text: bool) -> Self {
        let (text, scratch) = (keep_text.then(Vec::new), FunctionBuilderContext::new());
        let (defined, digests) = (Vec::new(), Vec::new());
        Self { output, targets, scratch, defined, text, emulation: None, mode: None, digests }
    }

    fn module(&self) -> &dyn Module {
        match &self.output {
            Output::Jit(module) => &**module,
            Output::Object(module) => &**module,
        }
    }

    /// The function of this name, so that callers with the same conf share one.
    pub fn get(&self, name: &str) -> Option<FuncId> {
        match self.module().declarations().get_name(name) {
            Some(FuncOrDataId::Func(id)) => Some(id),
            _ => None,
        }
    }

    /// The features of the target's CPU that Cranelift may use, under its own names, as `has_fma`.
    pub fn features(&self) -> Vec<&'static str> {
        let flags = self.targets.nests.isa_flags().into_iter();
        flags.filter(|flag| flag.as_bool() == Some(true)).map(|flag| flag.name).collect()
    }

    /// A module for the same machine whose code nobody will run.
    fn sibling(&self) -> Result<Self, CodeError> {
        let builder = ObjectBuilder::new(self.targets.nests.clone(), "svertka", default_libcall_names())?;
        Ok(Self::new(Output::Object(Box::new(ObjectModule::new(builder))), self.targets.clone(), false))
    }

    /// With debug assertions, hashes of what `define` adds to the module; else nothing.
    pub fn digests_of<T>(
        &mut self,
        define: impl FnOnce(&mut CodeModule) -> Result<T, CodeError>,
    ) -> Result<(T, Vec<u64>), CodeError> {
        let before = self.digests.len();
        let defined = define(self)?;
        Ok((defined, self.digests[before..].to_vec()))
    }

    /// With debug assertions, checks that `define` would add just what gave these digests, for all that can be compared:
    /// stubs of emulated tiles hold addresses.
    ///
    /// # Panics
    /// Where it would not: what it defines depends on more than whoever shares functions knows.
    pub fn assert_same(
        &self,
        digests: &[u64],
        define: impl FnOnce(&mut CodeModule) -> Result<FuncId, CodeError>,
    ) -> Result<(), CodeError> {
        if !cfg!(debug_assertions) || self.emulation.is_some() {
            return Ok(());
        }
        let (_, again) = self.sibling()?.digests_of(define)?;
        assert_eq!(digests, again, "kernels that share a function have different code");
        Ok(())
    }

    fn note_digest(&mut self, code: &[u8]) {
        if cfg!(debug_assertions) {
            self.digests.push(fnv1a(code));
        }
    }

    /// The texts of the functions defined so far; empty unless they were to be kept.
    pub fn text(&self) -> &[FunctionText] {
        self.text.as_deref().unwrap_or_default()
    }

    /// Defines a tile: a function of `args` 64-bit integers (at most six), private to the module.
    pub fn define_tile(
        &mut self,
        name: &str,
        isa: Isa,
        args: usize,
        build: &mut dyn FnMut(&mut dyn VectorAsm),
    ) -> Result<FuncId, CodeError> {
        match isa {
            Isa::Clif => self.define_clif_tile(name, args, build),
            Isa::Avx2 | Isa::Avx512 => match self.emulation.clone() {
                Some(emulation) => self.define_emulated_tile(&emulation, name, x64::assemble(isa, args, build), args),
                None => self.define_wide_tile(name, isa, args, build),
            },
        }
    }

    fn define_clif_tile(
        &mut self,
        name: &str,
        args: usize,
        build: &mut dyn FnMut(&mut dyn VectorAsm),
    ) -> Result<FuncId, CodeError> {
        let id = self.declare(name, Linkage::Local, self.signature(args))?;
        let target = self.targets.tiles.clone();
        self.compile(id, name, &*target, |mut builder, module| {
            let mut asm = ClifAsm::new(&mut builder, Machine::of(&*target));
            build(&mut asm);
            asm.finish();
            builder.finalize(module.target_config());
        })
    }

    fn define_wide_tile(
        &mut self,
        name: &str,
        isa: Isa,
        args: usize,
        build: &mut dyn FnMut(&mut dyn VectorAsm),
    ) -> Result<FuncId, CodeError> {
        let triple = self.targets.tiles.triple();
        if triple.architecture != Architecture::X86_64 {
            return Err(CodeError::Isa { isa, triple: triple.clone() });
        }
        let id = self.declare(name, Linkage::Local, self.signature_of_bytes(args))?;
        self.define_finished(id, name, &x64::assemble(isa, args, build))
    }

    /// Defines a function whose machine code is at hand: position-independent, without relocations, of `args` 64-bit
    /// integers, with one for a result; private to the module. On x86-64 its calling convention is System V's whatever
    /// the system, elsewhere the target's for C.
    pub fn define_bytes(&mut self, name: &str, args: usize, code: &[u8]) -> Result<FuncId, CodeError> {
        let id = self.declare(name, Linkage::Local, with_result(self.signature_of_bytes(args)))?;
        self.define_finished(id, name, code)
    }

    fn signature_of_bytes(&self, args: usize) -> Signature {
        let mut signature = self.signature(args);
        if self.targets.tiles.triple().architecture == Architecture::X86_64 {
            signature.call_conv = CallConv::SystemV;
        }
        signature
    }

    fn define_finished(&mut self, id: FuncId, name: &str, code: &[u8]) -> Result<FuncId, CodeError> {
        module_mut(&mut self.output).define_function_bytes(id, x64::ALIGNMENT as u64, code, &[])?;
        self.defined.push(id);
        self.note_digest(code);
        if let Some(text) = &mut self.text {
            let assembly = match self.targets.tiles.triple().architecture {
                Architecture::X86_64 => x64::disassemble(code),
                _ => words(code),
            };
            text.push(FunctionText { name: name.to_string(), clif: None, assembly });
        }
        Ok(id)
    }

    /// Defines read-only data at a multiple of `align` bytes, private to the module.
    pub fn define_data(&mut self, name: &str, align: u64, bytes: Vec<u8>) -> Result<DataId, CodeError> {
        self.define_static(name, align, false, |data| data.define(bytes.into_boxed_slice()))
    }

    /// Defines `bytes` > 0 writable bytes that are zero at first and take no place in an object file, private to the
    /// module.
    pub fn define_zeros(&mut self, name: &str, align: u64, bytes: usize) -> Result<DataId, CodeError> {
        self.define_static(name, align, true, |data| data.define_zeroinit(bytes))
    }

    fn define_static(
        &mut self,
        name: &str,
        align: u64,
        writable: bool,
        define: impl FnOnce(&mut DataDescription),
    ) -> Result<DataId, CodeError> {
        let module = module_mut(&mut self.output);
        let id = module.declare_data(name, Linkage::Local, writable, false)?;
        let mut data = DataDescription::new();
        define(&mut data);
        data.set_align(align);
        module.define_data(id, &data)?;
        Ok(id)
    }

    fn define_emulated_tile(
        &mut self,
        emulation: &Emulation,
        name: &str,
        code: Vec<u8>,
        args: usize,
    ) -> Result<FuncId, CodeError> {
        let id = self.declare(name, Linkage::Local, self.signature(args))?;
        let target = self.targets.tiles.clone();
        self.compile(id, name, &*target, |builder, module| emulation.define(name, code, args, builder, module))
    }

    /// Defines a loop nest: a function of `args` 64-bit integers under the target's C calling convention.
    /// `Linkage::Export` makes it visible outside the module.
    pub fn define_nest(
        &mut self,
        name: &str,
        linkage: Linkage,
        args: usize,
        build: impl FnOnce(&mut NestBuilder),
    ) -> Result<FuncId, CodeError> {
        let signature = self.signature(args);
        self.define_compiled(name, linkage, signature, |nest| {
            build(nest);
            None
        })
    }

    /// Defines a nest of three arguments that runs in the floating-point mode of kernels, whatever its caller's, which
    /// it leaves as it was; private to the module. The emulator, which is Rust code, sees to the mode by itself.
    pub fn define_kernel(&mut self, name: &str, build: impl FnOnce(&mut NestBuilder)) -> Result<FuncId, CodeError> {
        let mode = self.define_mode()?;
        self.define_nest(name, Linkage::Local, 3, |n| match mode {
            Some([enter, leave]) => {
                let before = n.call_value(enter, &[]);
                build(n);
                n.call(leave, &[before]);
            }
            None => build(n),
        })
    }

    fn define_mode(&mut self) -> Result<Option<[FuncId; 2]>, CodeError> {
        if self.mode.is_none()
            && self.emulation.is_none()
            && let Some([enter, leave]) = mode::functions(self.targets.nests.triple().architecture)
        {
            // They are no kernel's own, whichever is the first.
            let own = self.digests.len();
            let (enter, leave) =
                (self.define_bytes("mode.enter", 0, &enter)?, self.define_bytes("mode.leave", 1, &leave)?);
            self.digests.truncate(own);
            self.mode = Some([enter, leave]);
        }
        Ok(self.mode)
    }

    /// As [`CodeModule::define_nest`], with a 64-bit integer for a result: what `build` returns.
    pub fn define_function(
        &mut self,
        name: &str,
        linkage: Linkage,
        args: usize,
        build: impl FnOnce(&mut NestBuilder) -> Value,
    ) -> Result<FuncId, CodeError> {
        let signature = with_result(self.signature(args));
        self.define_compiled(name, linkage, signature, |nest| Some(build(nest)))
    }

    fn define_compiled(
        &mut self,
        name: &str,
        linkage: Linkage,
        signature: Signature,
        build: impl FnOnce(&mut NestBuilder) -> Option<Value>,
    ) -> Result<FuncId, CodeError> {
        let id = self.declare(name, linkage, signature)?;
        let target = self.targets.nests.clone();
        self.compile(id, name, &*target, |builder, module| {
            let mut nest = NestBuilder::new(builder, module);
            let result = build(&mut nest);
            nest.finish(result);
        })
    }

    fn signature(&self, args: usize) -> Signature {
        let mut signature = self.module().make_signature();
        signature.params.extend(std::iter::repeat_n(AbiParam::new(types::I64), args));
        signature
    }

    fn declare(&mut self, name: &str, linkage: Linkage, signature: Signature) -> Result<FuncId, CodeError> {
        Ok(module_mut(&mut self.output).declare_function(name, linkage, &signature)?)
    }

    /// Builds the declared function `id` and compiles it for `target`.
    fn compile(
        &mut self,
        id: FuncId,
        name: &str,
        target: &dyn TargetIsa,
        build: impl FnOnce(FunctionBuilder, &mut dyn Module),
    ) -> Result<FuncId, CodeError> {
        let module = module_mut(&mut self.output);
        let mut context = module.make_context();
        context.func.signature = module.declarations().get_function_decl(id).signature.clone();
        context.func.name = UserFuncName::user(0, id.as_u32());
        context.set_disasm(self.text.is_some());
        build(FunctionBuilder::new(&mut context.func, &mut self.scratch), module);
        let clif = self.text.is_some().then(|| context.func.display().to_string());

        // As Module::define_function does, but for a target of our choice.
        context.compile(target, &mut ControlPlane::default()).map_err(|error| error.inner)?;
        let compiled = context.compiled_code().expect("the function is compiled");
        let alignment = u64::from(compiled.buffer.alignment);
        let relocations = compiled.buffer.relocs().iter();
        let relocations: Vec<_> =
            relocations.map(|reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, id)).collect();
        module.define_function_bytes(id, alignment, compiled.code_buffer(), &relocations)?;

        self.defined.push(id);
        if let Some(text) = &mut self.text {
            let assembly = compiled.vcode.as_deref().unwrap_or_default();
            let assembly = with_names(assembly, &context.func, module.declarations());
            text.push(FunctionText { name: name.to_string(), clif, assembly });
        }
        self.note_digest(compiled.code_buffer());
        Ok(id)
    }

    /// Ends a [`CodeModule::jit`] module: makes its code executable (and no longer writable).
    ///
    /// # Panics
    /// Where the module was made with [`CodeModule::object`].
    pub fn finish_jit(self) -> Result<JitCode, CodeError> {
        let Output::Jit(mut module) = self.output else { panic!("an object module is finished with finish_object") };
        module.finalize_definitions()?;
        let address = |&id: &FuncId| (id, module.get_finalized_function(id).expose_provenance());
        let addresses = self.defined.iter().map(address).collect();
        Ok(JitCode { addresses, module: Mutex::new(Some(*module)), emulation: self.emulation })
    }

    /// Ends a [`CodeModule::object`] module: the bytes of the object file.
    ///
    /// # Panics
    /// Where the module was made with [`CodeModule::jit`].
    pub fn finish_object(self) -> Result<Vec<u8>, CodeError> {
        let Output::Object(module) = self.output else { panic!("a jit module is finished with finish_jit") };
        module.finish().emit().map_err(|error| CodeError::Cranelift(error.to_string()))
    }
}

fn with_result(mut signature: Signature) -> Signature {
    signature.returns.push(AbiParam::new(types::I64));
    signature
}

/// Assembly with the names of the functions and data that it mentions in place of Cranelift's numbers.
fn with_names(assembly: &str, function: &Function, declarations: &ModuleDeclarations) -> String {
    let mentioned = function.params.user_named_funcs().iter();
    // Backwards, since the name of number 1 is the begin of that of number 10.
    mentioned.rev().fold(assembly.to_string(), |text, (reference, name)| {
        let symbol = match ModuleRelocTarget::user(name.namespace, name.index) {
            target if ModuleDeclarations::is_function(&target) => {
                let id = FuncId::from_name(&target);
                declarations.get_function_decl(id).linkage_name(id)
            }
            target => {
                let id = DataId::from_name(&target);
                declarations.get_data_decl(id).linkage_name(id)
            }
        };
        text.replace(&reference.to_string(), &symbol)
    })
}

/// Instructions of 32 bits each, for which there is no disassembler here.
fn words(code: &[u8]) -> String {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("chunks of four"));
    code.chunks_exact(4).map(|bytes| format!("  .inst {:#010x}\n", word(bytes))).collect()
}

/// A free function, so that the other fields of `CodeModule` can be borrowed beside it.
fn module_mut(output: &mut Output) -> &mut dyn Module {
    match output {
        Output::Jit(module) => &mut **module,
        Output::Object(module) => &mut **module,
    }
}

/// Executable code in memory. Owns the memory: its functions may be called while it lives.
pub struct JitCode {
    addresses: HashMap<FuncId, usize>,
    /// Touched again only to free the memory; the mutex makes the whole `Sync`.
    module: Mutex<Option<JITModule>>,
    emulation: Option<Arc<Emulation>>,
}

impl JitCode {
    /// The address of a function: `extern "C"` (tiles of 256 and 512 bits: `extern "sysv64"`), as many `u64`
    /// arguments as it was defined with, no result. It must not be called after `self` is dropped.
    ///
    /// # Panics
    /// Where `function` is not of this module.
    pub fn address(&self, function: FuncId) -> *const u8 {
        std::ptr::with_exposed_provenance(self.addresses[&function])
    }

    /// What wide tiles run in, where the module was made with [`CodeModule::jit_emulated`].
    pub fn emulation(&self) -> Option<&Emulation> {
        self.emulation.as_deref()
    }
}

impl Drop for JitCode {
    fn drop(&mut self) {
        let module = self.module.get_mut().map_or_else(|poisoned| poisoned.into_inner().take(), Option::take);
        if let Some(module) = module {
            // SAFETY: no function runs or is called any more: the callers of `address` hold to its contract.
            unsafe { module.free_memory() };
        }
    }
}
