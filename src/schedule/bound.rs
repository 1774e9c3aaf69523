//! What a step takes a core at best: its arithmetic or its bytes, whichever is more. Unlike the roofline of
//! `svertka bench`, which was measured, this counts cycles at the rates of the [`Machine`] that the plan is for.

use super::{Plan, Step, View};
use crate::codegen::Bytes;
use crate::ir::{Graph, NodeId, ParamId};
use crate::kernels::{Kernel, Target};
use crate::machine::Machine;
use crate::tensor::DType;

/// The nearest memory that holds some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    First,
    Second,
    Third,
    Memory,
}

impl Level {
    fn holding(bytes: usize, machine: &Machine) -> Level {
        match bytes {
            _ if bytes <= machine.stays_first() => Level::First,
            _ if bytes <= machine.stays_second() => Level::Second,
            _ if bytes <= machine.caches.third => Level::Third,
            _ => Level::Memory,
        }
    }

    /// Cycles to move bytes that lie there, with the target's vectors.
    fn cycles(self, bytes: usize, target: &Target) -> usize {
        let loads = target.machine.loads(target.isa) * target.lanes * size_of::<f32>();
        let rate = match self {
            Level::First => loads,
            Level::Second => loads.min(target.machine.second_rate()),
            Level::Third => target.machine.third_rate(),
            Level::Memory => target.machine.memory_rate(),
        };
        bytes.div_ceil(rate)
    }

    fn name(self) -> &'static str {
        match self {
            Level::First => "L1",
            Level::Second => "L2",
            Level::Third => "L3",
            Level::Memory => "memory",
        }
    }
}

/// Of one sample, in cycles of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Multiply-adds of the layer, of Winograd convolution its own with its transforms.
    pub compute: usize,
    /// Reading inputs and weights, writing outputs.
    pub values: usize,
    pub weights: usize,
    values_from: Level,
    weights_from: Level,
}

impl Bound {
    /// Of a step, in a network whose weights take `all_weights` bytes: each run reads them all, so that they come from
    /// where they fit together.
    pub fn new(plan: &Plan, step: &Step, all_weights: usize) -> Bound {
        Bound::where_near(plan, step, all_weights, &|_| false)
    }

    /// The same where some of its values lie in the second level, whatever their size.
    pub fn where_near(plan: &Plan, step: &Step, all_weights: usize, near: &dyn Fn(&View) -> bool) -> Bound {
        let (target, lanes) = (&plan.target, plan.target.lanes);
        let holding = |bytes| Level::holding(bytes, &target.machine);
        let (near, far): (Vec<&View>, Vec<&View>) = step.views().partition(|&view| near(view));
        let [near, values] = [near, far]
            .map(|views| views.iter().map(|view| view.bytes(view.layout, lanes)).fold(0, usize::saturating_add));
        let (bytes, times) = weights(plan, step);
        let (values_from, weights_from) = (holding(values), holding(all_weights));
        let again = holding(bytes).cycles(bytes, target).saturating_mul(times - 1);
        Bound {
            compute: compute(plan, step),
            values: values_from.cycles(values, target).saturating_add(Level::Second.cycles(near, target)),
            weights: weights_from.cycles(bytes, target).saturating_add(again),
            values_from,
            weights_from,
        }
    }

    /// The least cycles that the step takes.
    pub fn cycles(self) -> usize {
        self.compute.max(self.moving())
    }

    fn moving(self) -> usize {
        self.values.saturating_add(self.weights)
    }

    /// `compute`, or the memory from which most of the time goes.
    pub fn limit(self) -> &'static str {
        match (self.compute >= self.moving(), self.weights > self.values) {
            (true, _) => "compute",
            (_, true) => self.weights_from.name(),
            (_, false) => self.values_from.name(),
        }
    }

    /// How many times as long it takes as the other of arithmetic and bytes; `None` where there is no other.
    pub fn over(self) -> Option<f64> {
        let other = self.compute.min(self.moving());
        (other > 0).then(|| self.cycles() as f64 / other as f64)
    }
}

/// Bytes of all weights that a run reads.
pub fn all_weights(plan: &Plan) -> usize {
    plan.steps.iter().map(|step| weights(plan, step).0).fold(0, usize::saturating_add)
}

/// Bytes of the weights, and how many times a sample reads them.
fn weights(plan: &Plan, step: &Step) -> (usize, usize) {
    match &step.kernel {
        Kernel::Winograd(conf) => conf.code.weights_read(),
        Kernel::WholeWinograd(conf) => conf.code.weights_read(),
        _ => {
            let halved = step.nodes().filter(|&id| multiplies_bf16(&plan.graph, id));
            let halved: Vec<ParamId> = halved.flat_map(|id| plan.graph[id].params.clone()).collect();
            let bytes = |id: &ParamId| plan.graph[*id].bytes() as usize / if halved.contains(id) { 2 } else { 1 };
            (step.params.iter().map(bytes).fold(0, usize::saturating_add), 1)
        }
    }
}

/// Whether a layer multiplies numbers of bf16, two in an instruction.
pub fn multiplies_bf16(graph: &Graph, id: NodeId) -> bool {
    graph[id].operands().iter().any(|&operand| graph[operand].ty.dtype == DType::Bf16)
}

fn compute(plan: &Plan, step: &Step) -> usize {
    let target = &plan.target;
    let (fma, products) = (target.machine.fma(target.isa), target.machine.products(target.isa));
    let products = match &step.kernel {
        Kernel::Winograd(conf) => return conf.code.least_cycles(fma),
        Kernel::WholeWinograd(conf) => return conf.code.least_cycles(target),
        // One instruction has the products of the four bytes of each lane, or of their halves.
        Kernel::Dots(_) if target.bytes >= Bytes::Dots => 4 * products,
        Kernel::Depthwise(_) if target.bytes >= Bytes::Tables => 4 * products,
        Kernel::Dots(_) | Kernel::Depthwise(_) => 2 * products,
        _ => fma,
    };
    let nodes = step.nodes().filter(|_| step.purpose.is_none());
    let macs = |id: NodeId| match plan.graph.macs(id) {
        macs if multiplies_bf16(&plan.graph, id) => (macs as f64 * target.machine.pairs()) as u64,
        macs => macs,
    };
    let macs = nodes.map(macs).fold(0, u64::saturating_add) as usize;
    macs.div_ceil(target.lanes * products)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::model;
    use crate::machine::Known;

    fn bounds(text: &str, target: Target) -> Vec<(String, Bound)> {
        let plan = crate::schedule::plan(model(text), target);
        let all = all_weights(&plan);
        let of_step = |step: &Step| (plan.graph[step.node].origin.path.clone(), Bound::new(&plan, step, all));
        plan.steps.iter().map(of_step).filter(|(path, _)| !path.is_empty()).collect()
    }

    fn znver3() -> Target {
        Target::on(Known::named("znver3").unwrap(), None).unwrap()
    }

    const MODEL: &str = "\
model bounds
input image: f32[N, 64, 56, 56]
net {
  square: conv 3x3, 64, half
  deep: conv 3x3, 64, groups 64, half
  half: maxpool 2x2, stride 2
  flatten | fc: dense 1000
}
";

    #[test]
    fn arithmetic_is_counted_by_the_kernel_and_bytes_by_where_they_lie() {
        let target = Target { exact: true, ..znver3() };
        let direct = bounds(MODEL, target);
        let named = |bounds: &[(String, Bound)], name: &str| {
            bounds.iter().find(|(path, _)| path == name).unwrap_or_else(|| panic!("no {name}")).1
        };
        let square = named(&direct, "square");
        assert_eq!(square.compute, 64 * 64 * 9 * 56 * 56 / 16);
        // In and out do not stay in the core's own caches together; 100 MB of weights stay in none.
        let (values, own) = (2 * 64 * 56 * 56 * 4_usize, 64 * 64 * 9 * 4_usize);
        assert_eq!((square.values, square.weights), (values.div_ceil(27), own / 4));
        assert_eq!((square.limit(), square.cycles()), ("compute", square.compute));
        let moving = (square.values + square.weights) as f64;
        assert_eq!(square.over(), Some(square.compute as f64 / moving));

        let half = named(&direct, "half");
        assert_eq!((half.compute, half.limit(), half.over()), (0, "L3", None));
        let fc = named(&direct, "fc");
        assert_eq!((fc.compute, fc.limit()), (64 * 28 * 28 * 1000 / 16, "memory"));
        assert!((4.0 * 0.99..4.0 * 4.1).contains(&fc.over().unwrap()), "{fc:?}");

        // 6x6 numbers for 4x4 outputs: 36 products where there are 144, and the transforms.
        let winograd = bounds(MODEL, Target { exact: false, force_winograd: Some([4, 4]), ..target });
        let own = named(&winograd, "square");
        let products = 64 * 64 * 36 * 14 * 14 / 16;
        assert!((products + 1..2 * products).contains(&own.compute), "{own:?} of {products}");
        assert!(own.weights > square.weights * 36 / 9);
        assert_eq!(named(&winograd, "deep"), named(&direct, "deep"));
    }

    #[test]
    fn small_networks_lie_in_the_caches() {
        let text = "model small\ninput image: f32[N, 8, 16, 16]\nnet { only: conv 1x1, 8 }\n";
        let bounds = bounds(text, znver3());
        let only = bounds[0].1;
        assert_eq!((only.values, only.weights), (2 * 8 * 256 * 4 / 64, 8 * 8 * 4 / 64));
        assert_eq!((only.compute, only.limit()), (8 * 8 * 256 / 16, "compute"));
    }
}
