//! The last steps of a network, as far as they are better done by all samples of a batch together: those from the first
//! layer on whose weights are many, where all values are of one position, and what waits for them is small.

use super::{Buffer, Place, Plan, Step, View, arena};
use crate::kernels::Kernel;
use crate::kernels::conv::{JOINT, Strides};

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
        let waits = |buffer: &&Buffer| buffer.is_used() && buffer.live.0 < index && index <= buffer.live.1;
        buffers.iter().filter(waits).map(|buffer| buffer.bytes).sum::<usize>()
    };
    let mut joint = (last..steps.len()).filter(|&index| steps[index].kernel.is_joint(target));
    joint.find(|&index| bytes(index) <= MOST_WAITING).unwrap_or(steps.len())
}

/// Bytes of each sample of a batch that may wait for the others.
const MOST_WAITING: usize = 1 << 20;

fn kernels(plan: &Plan, step: &Step) -> Vec<Joint> {
    if !step.kernel.is_joint(&plan.target) {
        return Vec::new();
    }
    let strides = Strides { input: plan.stride(&step.inputs[0]), output: plan.stride(&step.output) };
    let of = |samples: usize| step.kernel.joint(samples, strides, &plan.target).map(|kernel| Joint { samples, kernel });
    JOINT.into_iter().filter_map(of).collect()
}
