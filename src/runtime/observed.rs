//! Runs of which every step is seen, and its value.

use super::binding::{Binding, Memory};
use super::checks;
use super::session::{RunError, Session};
use super::watch::{Share, Watch};
use crate::ir::NodeId;
use crate::kernels::bands::Descent;
use crate::schedule::{Cut, Plan, Stage, Step, Turn};
use crate::tensor::{AsTensor, Tensor};
use std::time::{Duration, Instant};

/// A step of a run that has just ended.
pub struct StepDone<'a> {
    /// Of the step in the plan.
    pub index: usize,
    plan: &'a Plan,
    memory: &'a Memory,
    /// Its value, where only some rows of that are in memory at a time and they were collected.
    collected: Option<&'a Tensor>,
    /// What each thread did of it, in the order in which they ended.
    pub shares: &'a [Share],
    /// From its begin to its end, or of all waves that it was done in.
    pub time: Duration,
}

impl StepDone<'_> {
    /// The nodes whose values are complete now, and the values; none after steps that only prepare one, nor of which only
    /// some rows are in memory at a time, unless they were collected.
    pub fn values(&self) -> Vec<(NodeId, Tensor)> {
        let step = &self.plan.steps[self.index];
        if let Some(value) = self.collected {
            return vec![(step.node, value.clone())];
        }
        let own = self.plan.values[step.node.0 as usize].as_ref().filter(|_| step.completes(self.plan));
        let beside = step.beside.iter().map(|(node, view)| (*node, view));
        let complete = own.map(|view| (step.node, view)).into_iter().chain(beside);
        complete.map(|(node, view)| (node, self.memory.read(self.plan, view))).collect()
    }
}

impl Session {
    /// As [`Session::run`], but all samples do a step before the next one begins, and `observe` is called after each; after
    /// those that go down the picture together when all of them are done.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_observed<I: AsTensor>(
        &mut self,
        inputs: &[I],
        observe: &mut dyn FnMut(&StepDone),
    ) -> Result<Vec<Tensor>, RunError> {
        self.observed(inputs, false, observe)
    }

    /// As [`Session::run_observed`], and values of which only some rows are in memory at a time are collected: it takes time,
    /// and the memory that these would take as a whole.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_collected<I: AsTensor>(
        &mut self,
        inputs: &[I],
        observe: &mut dyn FnMut(&StepDone),
    ) -> Result<Vec<Tensor>, RunError> {
        self.observed(inputs, true, observe)
    }

    fn observed<I: AsTensor>(
        &mut self,
        inputs: &[I],
        collect: bool,
        observe: &mut dyn FnMut(&StepDone),
    ) -> Result<Vec<Tensor>, RunError> {
        let batch = checks::inputs(&self.compiled.plan.graph, inputs)?;
        let mut outputs = self.new_outputs(batch);
        self.bind(inputs, &mut outputs, Cut::together(batch))?;
        let (compiled, mut index) = (self.compiled.clone(), 0);
        let plan = &compiled.plan;
        while index < plan.steps.len() {
            let stage = plan.stage_from(index).filter(|stage| collect || self.takes_turns(stage));
            let steps = stage.map_or(index..index + 1, |stage| stage.steps.clone());
            let mut watches: Vec<Watch> = steps.clone().map(|_| Watch::default()).collect();
            let mut rows = stage.filter(|_| collect).map(|stage| Rows::new(plan, stage, batch));
            // SAFETY: the tensors are bound and are still there.
            unsafe {
                match stage {
                    Some(stage) => self.run_stage(stage, Some(&mut watches), rows.as_mut()),
                    None => self.run_watched(index, &mut watches[0]),
                }
            }?;
            let memory = self.binding.as_ref().expect("bound").memory();
            for (place, (index, watch)) in steps.clone().zip(&mut watches).enumerate() {
                let (time, collected) = (watch.total(), rows.as_ref().and_then(|rows| rows.value(place)));
                observe(&StepDone { index, plan, memory, collected, shares: watch.shares(), time });
            }
            index = steps.end;
        }
        Ok(outputs)
    }

    /// # Safety
    /// As [`Session::run_step`].
    unsafe fn run_watched(&mut self, index: usize, watch: &mut Watch) -> Result<(), RunError> {
        let start = Instant::now();
        // SAFETY: the caller's.
        let done = unsafe { self.run_step(index, Some(watch)) };
        watch.add(start.elapsed());
        done
    }
}

/// The values of a stage's steps of which only some rows are in memory at a time, as far as they are made.
pub(super) struct Rows {
    /// For each step of the stage.
    values: Vec<Option<(Descent, Tensor)>>,
}

impl Rows {
    fn new(plan: &Plan, stage: &Stage, batch: usize) -> Rows {
        let value = |step: &Step| {
            let hidden = step.purpose.is_none() && plan.strip(step.output.buffer).is_some();
            let descent = step.kernel_of_turns().descent().filter(|_| hidden)?;
            Some((descent, Tensor::zeros(step.output.ty.shape(batch))))
        };
        Rows { values: plan.steps[stage.steps.clone()].iter().map(value).collect() }
    }

    fn value(&self, place: usize) -> Option<&Tensor> {
        self.values[place].as_ref().map(|(_, value)| value)
    }

    /// Takes what a turn has just made: before anything else is, which may lie where it did.
    pub fn collect(&mut self, plan: &Plan, stage: &Stage, turn: &Turn, binding: &Binding) {
        let Some((Descent { tasks, units }, value)) = &mut self.values[turn.step - stage.steps.start] else { return };
        let view = &plan.steps[turn.step].output;
        for unit in &units[turn.tasks.start / *tasks..turn.tasks.end / *tasks] {
            binding.memory().read_rows(plan, view, turn.before[0], unit.writes.clone(), value);
        }
    }
}
