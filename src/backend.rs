//! From the plan to code and constants; shared by the session in memory and by object files.

use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::{self, Values, WeightSource};
use crate::schedule::{Plan, Step};
use std::collections::HashMap;

/// Emits the kernels of all steps; steps with equal confs share one.
pub fn generate(plan: &Plan, isa: Isa, module: &mut CodeModule) -> Result<Vec<FuncId>, CodeError> {
    let mut known: HashMap<String, FuncId> = HashMap::new();
    let mut functions = Vec::new();
    for step in &plan.steps {
        let key = format!("{:?}", step.kernel);
        let id = match known.get(&key) {
            Some(&id) => id,
            None => {
                let name = format!("{}_{}", step.kernel.family().name(), known.len());
                let id = step.kernel.family().generate(&name, isa, module)?;
                known.insert(key, id);
                id
            }
        };
        functions.push(id);
    }
    Ok(functions)
}

/// The values of a step's parameters, for the constants of its kernel.
pub fn params<'a>(plan: &'a Plan, step: &Step, weights: &'a dyn WeightSource) -> Vec<Values<'a>> {
    step.params.iter().map(|&id| weights::lazy_values(&plan.graph, id, weights)).collect()
}

/// Says that the values of a step's parameters were used.
pub fn release(plan: &Plan, step: &Step, weights: &dyn WeightSource) {
    step.params.iter().for_each(|&id| weights::release(&plan.graph, id, weights));
}
