//! The functions of a plan's steps.

use super::session::SessionError;
use crate::backend::{self, StepFunctions};
use crate::codegen::emulated::Emulation;
use crate::codegen::{CodeModule, Isa, JitCode};
use crate::kernels::Operand;
use crate::portable;
use crate::schedule::{Pass, Plan, Step};
use std::ops::Range;

type KernelFn = unsafe extern "C" fn(*const Operand, i64, i64);

pub(super) enum Code {
    Jit { functions: Vec<StepFunctions<KernelFn>>, memory: Box<JitCode> },
    Portable,
}

impl Code {
    /// One function for each distinct conf.
    pub fn jit(plan: &Plan, isa: Isa, mut module: CodeModule) -> Result<Code, SessionError> {
        let functions = backend::generate(plan, isa, &mut module)?;
        let memory = module.finish_jit()?;
        let pointer = |id| {
            // SAFETY: `backend::generate` defined the function with this signature; it lives as long as `memory` beside it.
            unsafe { std::mem::transmute::<*const u8, KernelFn>(memory.address(id)) }
        };
        let functions = functions.iter().map(|functions| functions.map(pointer)).collect();
        Ok(Code::Jit { functions, memory: Box::new(memory) })
    }

    /// How a step is done by so many samples; there are portable kernels for one sample at a time alone.
    pub fn passes<'s>(&self, step: &'s Step, samples: usize) -> impl Iterator<Item = Pass> + use<'s> {
        let joint = match self {
            Code::Jit { .. } => step.joint.as_slice(),
            Code::Portable => &[],
        };
        Pass::all(joint, samples)
    }

    /// # Safety
    /// `operands` are those that the plan gave step `index`, which is `step`, or of its kernel for several samples with
    /// this index; `tasks` lies in that kernel's tasks.
    pub unsafe fn call(
        &self,
        index: usize,
        step: &Step,
        joint: Option<usize>,
        operands: &[Operand],
        tasks: Range<usize>,
    ) {
        match self {
            Code::Jit { functions, .. } => {
                let functions = &functions[index];
                let function = joint.map_or(functions.kernel, |joint| functions.joint[joint]);
                // SAFETY: the caller's.
                unsafe { function(operands.as_ptr(), tasks.start as i64, tasks.end as i64) }
            }
            // SAFETY: the caller's.
            Code::Portable => unsafe { portable::run(&step.kernel, operands, tasks.start, tasks.end) },
        }
    }

    /// # Safety
    /// `operands` are those that the plan gave step `index`, which is `step`, for tasks of a turn of its stage; `tasks` lies in
    /// those of [`Step::kernel_of_turns`].
    pub unsafe fn call_turn(&self, index: usize, step: &Step, operands: &[Operand], tasks: Range<usize>) {
        match self {
            // SAFETY: the caller's.
            Code::Jit { functions, .. } => unsafe {
                (functions[index].turns)(operands.as_ptr(), tasks.start as i64, tasks.end as i64);
            },
            // SAFETY: the caller's.
            Code::Portable => unsafe { portable::run(step.kernel_of_turns(), operands, tasks.start, tasks.end) },
        }
    }

    pub fn emulation(&self) -> Option<&Emulation> {
        match self {
            Code::Jit { memory, .. } => memory.emulation(),
            Code::Portable => None,
        }
    }
}
