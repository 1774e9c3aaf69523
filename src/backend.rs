//! From the plan to code and constants; shared by the session in memory and by object files.

use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::{self, Values, WeightSource};
use crate::kernels::Code;
use crate::schedule::{Plan, Step};
use std::collections::HashMap;

/// What a step calls.
#[derive(Clone, Debug)]
pub struct StepFunctions<F> {
    pub kernel: F,
    /// That of [`Step::kernel_of_turns`].
    pub turns: F,
    /// Those of [`Step::joint`].
    pub joint: Vec<F>,
}

impl<F: Copy> StepFunctions<F> {
    pub fn map<G>(&self, f: impl Fn(F) -> G) -> StepFunctions<G> {
        let joint = self.joint.iter().map(|&function| f(function)).collect();
        StepFunctions { kernel: f(self.kernel), turns: f(self.turns), joint }
    }
}

/// Emits the kernels of all steps; steps with equal code share a function.
pub fn generate(plan: &Plan, isa: Isa, module: &mut CodeModule) -> Result<Vec<StepFunctions<FuncId>>, CodeError> {
    Generator { isa, module, known: &mut HashMap::new() }.steps(&plan.steps)
}

/// The same for several plans, each for the instruction set of its target.
pub fn generate_all(plans: &[Plan], module: &mut CodeModule) -> Result<Vec<Vec<StepFunctions<FuncId>>>, CodeError> {
    let mut known = HashMap::new();
    let of_plan = |plan: &Plan| Generator { isa: plan.target.isa, module, known: &mut known }.steps(&plan.steps);
    plans.iter().map(of_plan).collect()
}

struct Generator<'a> {
    isa: Isa,
    module: &'a mut CodeModule,
    known: &'a mut HashMap<Code, Shared>,
}

impl Generator<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<Vec<StepFunctions<FuncId>>, CodeError> {
        let of_step = |step: &Step| {
            let kernel = self.function(step.kernel.code())?;
            let turns = step.banded.as_ref().map_or(Ok(kernel), |banded| self.function(banded.code()))?;
            let joint = step.joint.iter().map(|joint| self.function(joint.kernel.code())).collect::<Result<_, _>>()?;
            Ok(StepFunctions { kernel, turns, joint })
        };
        steps.iter().map(of_step).collect()
    }

    /// The function of this code, made where it is not known yet.
    fn function(&mut self, code: Code) -> Result<FuncId, CodeError> {
        let Generator { isa, module, known } = self;
        let name = format!("{}_{}", code.name(), known.len());
        if let Some(shared) = known.get_mut(&code) {
            if let Some(digests) = shared.unchecked.take() {
                module.assert_same(&digests, |module| code.generate(&name, *isa, module))?;
            }
            return Ok(shared.function);
        }
        let (function, digests) = module.digests_of(|module| code.generate(&name, *isa, module))?;
        known.insert(code, Shared { function, unchecked: Some(digests) });
        Ok(function)
    }
}

/// A function that several steps may call.
struct Shared {
    function: FuncId,
    /// See [`CodeModule::assert_same`]; gone when the first that shares it has been checked.
    unchecked: Option<Vec<u64>>,
}

/// The values of a step's parameters, for the constants of its kernel.
pub fn params<'a>(plan: &'a Plan, step: &Step, weights: &'a dyn WeightSource) -> Vec<Values<'a>> {
    step.params.iter().map(|&id| weights::lazy_values(&plan.graph, id, weights)).collect()
}

/// Says that the values of a step's parameters were used.
pub fn release(plan: &Plan, step: &Step, weights: &dyn WeightSource) {
    step.params.iter().for_each(|&id| weights::release(&plan.graph, id, weights));
}
