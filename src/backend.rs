//! From the plan to code and constants; shared by the session in memory and by object files.

use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::{WeightSource, values};
use crate::kernels::Constant;
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

/// The packed weights and tables of a step, in the order of its kernel's operands.
pub fn constants(plan: &Plan, step: &Step, weights: &dyn WeightSource) -> Vec<Constant> {
    let params: Vec<_> = step.params.iter().map(|&id| values(&plan.graph, id, weights)).collect();
    step.kernel.family().constants(&params)
}
