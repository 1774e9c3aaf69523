//! The last steps of a network, as far as they are better done by all samples of a batch together: those from the first
//! layer on whose weights are many, where all values are of one position, and what waits for them is small.

use super::{Buffer, Place, Plan, Step, View, arena};
use crate::kernels::Kernel;
use crate::kernels::conv::{JOINT, Strides};
use crate::machine::costs::MOST_WAITING;

/// A kernel that does a step for several samples at a time, with the operands of the step's own.
#[derive(Clone, Debug)]
pub struct Joint {
    /// How many, at least two.
    pub samples: usize,
    pub kernel: Kernel,
}

/// What a step does of a batch with one of its kernels.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Index of the kernel in [`Step::joint`]; `None` for the one that takes one sample at a time.
    pub joint: Option<usize>,
    /// The first sample.
    pub first: usize,
    /// How many samples the kernel takes for one.
    pub size: usize,
    /// How often it does.
    pub groups: usize,
}

impl Pass {
    /// Those that do so many samples: as many as can be with the kernels for the most.
    pub fn all(joint: &[Joint], samples: usize) -> impl Iterator<Item = Pass> {
        let sizes = joint.iter().enumerate().map(|(index, joint)| (Some(index), joint.samples)).chain([(None, 1)]);
        let mut first = 0;
        let passes = sizes.map(move |(joint, size)| {
            let groups = (samples - first) / size;
            let pass = Pass { joint, first, size, groups };
            first += pass.samples();
            pass
        });
        passes.filter(|pass| pass.groups > 0)
    }

    pub fn samples(&self) -> usize {
        self.groups * self.size
    }
}

impl Step {
    /// The kernel of a pass.
    pub fn kernel_of(&self, pass: &Pass) -> &Kernel {
        pass.joint.map_or(&self.kernel, |joint| &self.joint[joint].kernel)
    }
}

/// Decides which steps are done together, gives all buffers their places, and makes the kernels for several samples.
pub fn assign(plan: &mut Plan) {
    plan.joint_from = first(plan);
    for buffer in &mut plan.buffers {
        if matches!(buffer.place, Place::Arena(_)) && buffer.is_used() && buffer.live.1 >= plan.joint_from {
            buffer.place = Place::Joint(0);
        }
    }
    plan.arena = arena::assign(&mut plan.buffers, Place::Arena);
    plan.joint = arena::assign(&mut plan.buffers, Place::Joint);
    for index in plan.joint_from..plan.steps.len() {
        plan.steps[index].joint = kernels(plan, &plan.steps[index]);
    }
}

/// The first of the steps that are done together; as many as there are where none is.
fn first(Plan { steps, buffers, target, .. }: &Plan) -> usize {
    let one_position = |view: &View| view.ty.spatial().iter().product::<usize>() == 1;
    let last = steps.iter().rposition(|step| !one_position(&step.output)).map_or(0, |last| last + 1);
    // Of what is made before and read after.
    let bytes = |index: usize| {
        let waits = |buffer: &&Buffer| buffer.live.0 < index && index <= buffer.live.1;
        buffers.iter().filter(waits).map(|buffer| buffer.bytes).sum::<usize>()
    };
    let mut joint = (last..steps.len()).filter(|&index| steps[index].kernel.is_joint(target));
    joint.find(|&index| bytes(index) <= MOST_WAITING).unwrap_or(steps.len())
}

fn kernels(plan: &Plan, step: &Step) -> Vec<Joint> {
    if !step.kernel.is_joint(&plan.target) {
        return Vec::new();
    }
    let strides = Strides { input: plan.stride(&step.inputs[0]), output: plan.stride(&step.output) };
    let of = |samples: usize| step.kernel.joint(samples, strides, &plan.target).map(|kernel| Joint { samples, kernel });
    JOINT.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::model;
    use crate::codegen::Isa;
    use crate::kernels::Target;
    use crate::schedule::plan;
    use target_lexicon::Architecture;

    fn planned(input: &str, net: &str) -> Plan {
        let text = format!("model joint\ninput x: f32[N, {input}]\nnet {{ {net} }}\n");
        plan(model(&text), Target::of(Isa::Avx2, Architecture::X86_64))
    }

    #[test]
    fn layers_of_one_position_are_joint_from_the_first_that_reads_many_weights() {
        let from = |input: &str, net: &str| {
            let plan = planned(input, net);
            plan.steps.get(plan.joint_from).map(|step| plan.graph[step.node].origin.path.clone())
        };
        let some = |path: &str| Some(path.to_owned());
        let classes = "few: dense 16 | many: dense 20000 | again: dense 2000 | last: dense 8";
        assert_eq!(from("8, 9, 9", &format!("map: conv 3x3, 16 | flatten | {classes}")), some("many"));
        assert_eq!(from("8", "few: dense 100 | last: dense 8"), None);
        // Maps are made behind it.
        assert_eq!(from("8", "many: dense 20000 | unflatten 4000 | map: conv 3, 8"), None);
        // More than a MiB would wait for the other samples; what it makes itself does not.
        assert_eq!(
            from("64, 70, 70", "map: conv 3x3, 64 | flatten | wide: dense 256 | narrow: dense 600 | last: dense 8"),
            some("narrow")
        );
        assert_eq!(from("64", "wide: dense 300000"), some("wide"));
    }

    #[test]
    fn samples_go_to_the_largest_kernels_that_they_fill() {
        let plan = planned("64", "many: dense 20000");
        let joint = &plan.steps[plan.joint_from].joint;
        assert_eq!(joint.iter().map(|joint| joint.samples).collect::<Vec<_>>(), JOINT);
        let passes = |samples| -> Vec<(Option<usize>, usize, usize, usize)> {
            Pass::all(joint, samples).map(|pass| (pass.joint, pass.first, pass.size, pass.groups)).collect()
        };
        assert_eq!(passes(31), [(Some(0), 0, 8, 3), (Some(1), 24, 4, 1), (Some(2), 28, 2, 1), (None, 30, 1, 1)]);
        assert_eq!(passes(17), [(Some(0), 0, 8, 2), (None, 16, 1, 1)]);
        assert_eq!(passes(0), []);
    }
}
