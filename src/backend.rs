//! From the plan to code and constants; shared by the session in memory and by object files.

use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::{self, Values, WeightSource};
use crate::kernels::Code;
use crate::schedule::{Plan, Step};
use std::collections::HashMap;

/// Emits the kernels of all steps, but for those that the portable kernels do; steps with equal code share a function.
pub fn generate(plan: &Plan, isa: Isa, module: &mut CodeModule) -> Result<Vec<Option<FuncId>>, CodeError> {
    generate_steps(&plan.steps, isa, module, &mut HashMap::new())
}

/// The same for several plans, each for the instruction set of its target.
pub fn generate_all(plans: &[Plan], module: &mut CodeModule) -> Result<Vec<Vec<FuncId>>, CodeError> {
    let mut known = HashMap::new();
    let of_plan = |plan: &Plan| {
        if plan.steps.iter().any(|step| step.kernel.is_whole()) {
            return Err(CodeError::Whole);
        }
        let functions = generate_steps(&plan.steps, plan.target.isa, module, &mut known)?;
        Ok(functions.into_iter().flatten().collect())
    };
    plans.iter().map(of_plan).collect()
}

fn generate_steps(
    steps: &[Step],
    isa: Isa,
    module: &mut CodeModule,
    known: &mut HashMap<Code, Shared>,
) -> Result<Vec<Option<FuncId>>, CodeError> {
    let mut functions = Vec::new();
    for step in steps {
        if step.kernel.is_portable() {
            functions.push(None);
            continue;
        }
        let code = step.kernel.code();
        let name = format!("{}_{}", code.name(), known.len());
        let function = match known.get_mut(&code) {
            Some(shared) => {
                if let Some(digests) = shared.unchecked.take() {
                    module.assert_same(&digests, |module| code.generate(&name, isa, module))?;
                }
                shared.function
            }
            None => {
                let (function, digests) = module.digests_of(|module| code.generate(&name, isa, module))?;
                known.insert(code, Shared { function, unchecked: Some(digests) });
                function
            }
        };
        functions.push(Some(function));
    }
    Ok(functions)
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
