//! The steps of a plan as a drawing.

use super::{Place, Plan};
use crate::analysis::draw::{Drawing, Kind, Shape, kind};
use std::collections::BTreeMap;

impl Plan {
    /// Steps with their kernels; arrows from the steps that wrote what a step reads.
    pub fn drawing(&self) -> Drawing {
        let mut drawing = Drawing { title: self.graph.name.clone(), ..Drawing::default() };
        let mut writers: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (index, buffer) in self.buffers.iter().enumerate() {
            if let Place::Input(input) = buffer.place {
                let node = &self.graph[self.graph.inputs[input]];
                let lines = vec!["input".into(), node.ty.to_string(), node.origin.path.clone()];
                writers.insert((index, 0), drawing.shapes.len());
                drawing.shapes.push(Shape { kind: Kind::Input, lines });
            }
        }
        for step in &self.steps {
            let node = &self.graph[step.node];
            let shape = drawing.shapes.len();
            let mut lines = vec![step.kernel.name(), step.output.ty.to_string()];
            lines.extend(step.nodes().map(|id| self.graph[id].origin.path.clone()));
            let kind = if step.purpose.is_some() { Kind::Other } else { kind(&node.op) };
            drawing.shapes.push(Shape { kind, lines: lines.into_iter().filter(|l| !l.is_empty()).collect() });
            for view in &step.inputs {
                drawing.arrows.extend(self.writers_of(view, &writers).into_iter().map(|from| (from, shape)));
            }
            writers.insert((step.output.buffer.0, step.output.offset), shape);
            writers.extend(step.beside.iter().map(|(_, view)| ((view.buffer.0, view.offset), shape)));
        }
        drawing
    }

    /// The steps that wrote parts of what a view covers.
    fn writers_of(&self, view: &super::View, writers: &BTreeMap<(usize, usize), usize>) -> Vec<usize> {
        let end = view.offset + view.bytes(view.layout, self.target.lanes);
        let covered = (view.buffer.0, view.offset)..(view.buffer.0, end);
        let mut found: Vec<usize> = writers.range(covered).map(|(_, &step)| step).collect();
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::analysis::testing::model;
    use crate::codegen::Isa;
    use crate::kernels::Target;

    #[test]
    fn arrows_come_from_all_that_wrote_what_is_read() {
        let net = "a: conv 1x1, 8 | concat { b: conv 1x1, 4\n c: conv 1x1, 4 } | d: conv 1x1, 8";
        let text = format!("model m\ninput x: f32[N, 8, 6, 6]\nnet {{ {net} }}");
        let drawing = crate::schedule::plan(model(&text), Target::new(Isa::Clif)).drawing();
        let name = |shape: usize| drawing.shapes[shape].lines.last().unwrap().as_str();
        let sources = |of: &str| -> Vec<&str> {
            drawing.arrows.iter().filter(|(_, to)| name(*to) == of).map(|(from, _)| name(*from)).collect()
        };
        // What is called `d` too copies its value to the output.
        assert_eq!((sources("b"), sources("c"), sources("d")), (vec!["a"], vec!["a"], vec!["b", "c", "d"]));
    }
}
