//! Receptive fields: which positions of the model's input a position of a value can see.
//!
//! A path of layers is composed of intervals, and where paths meet, the field is the smallest interval that holds
//! those of all of them (Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks",
//! Distill, doi 10.23915/distill.00021). Here each interval is kept for every phase of its position, which makes the
//! arithmetic exact for layers that do not move evenly as well: upsampling and adaptive pooling.
//!
//! A field may reach over the borders of the input, into the padding. A gate with one factor a channel (squeeze and
//! excitation) sees the whole map; it is left out, as in published figures, since it would hide what the features see.
//! In models of several inputs the inputs are taken to lie over one another.

use crate::ir::{Graph, Node, NodeId};
use crate::layers::{AdaptiveAvgPool, Interpolation, Op, ResolvedWindow, Upsample};
use crate::tensor::TensorType;
use std::ops::Range;

/// The positions that are read along one dimension: position p reads `spans[p % n]` (first and last), n being the
/// number of spans, moved by `step` for each whole n in p.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    step: i64,
    spans: Vec<(i64, i64)>,
}

/// The field of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A window, by spatial dimension.
    Local(Vec<Axis>),
    /// The whole input: behind global pooling, `flatten` and `dense`.
    Whole,
    /// No single window describes it: paths of different strides meet, or its numbers are out of all proportion.
    Differs,
}

/// The fields of all values of a graph.
#[derive(Clone, Debug)]
pub struct ReceptiveFields {
    fields: Vec<Field>,
    /// The last feature map on the way to the main output: the last value that does not see the whole input.
    /// `None` if there is no layer before the classifier.
    pub features: Option<NodeId>,
}

/// Phases that are kept for a field; upsampling by 32 is the most that published networks do.
const MAX_PHASES: usize = 64;

/// The receptive field of every value.
pub fn receptive_field(graph: &Graph) -> ReceptiveFields {
    let mut fields: Vec<Field> = Vec::with_capacity(graph.nodes.len());
    for id in graph.ids() {
        fields.push(field_of(graph, &graph[id], &fields));
    }
    let features = features(graph, &fields);
    ReceptiveFields { fields, features }
}

impl ReceptiveFields {
    pub fn of(&self, id: NodeId) -> &Field {
        &self.fields[id.0 as usize]
    }
}

fn features(graph: &Graph, fields: &[Field]) -> Option<NodeId> {
    let mut needed = vec![false; graph.nodes.len()];
    needed[graph.outputs.first()?.node.0 as usize] = true;
    let mut last = None;
    for id in graph.ids().rev() {
        if !needed[id.0 as usize] {
            continue;
        }
        if last.is_none() && fields[id.0 as usize] != Field::Whole {
            last = Some(id);
        }
        graph[id].inputs.iter().for_each(|input| needed[input.0 as usize] = true);
    }
    last.filter(|&id| !matches!(graph[id].op, Op::Input))
}

fn field_of(graph: &Graph, node: &Node, fields: &[Field]) -> Field {
    let field = |id: &NodeId| &fields[id.0 as usize];
    let operands = node.operands();
    let own = match &node.op {
        Op::Input => return Field::Local(vec![Axis::identity(); node.ty.spatial().len()]),
        Op::Flatten(_) | Op::Dense(_) | Op::GlobalAvgPool(_) | Op::GlobalMaxPool(_) => Field::Whole,
        Op::AdaptiveAvgPool(_) if node.ty.spatial().iter().all(|&size| size == 1) => Field::Whole,
        Op::Mul(_) if is_channel_gate(&graph[operands[1]].ty) => field(&operands[0]).clone(),
        op => {
            let seen = operands[1..].iter().fold(field(&operands[0]).clone(), |seen, id| seen.union(field(id)));
            seen.through(reads(op, &graph[operands[0]].ty))
        }
    };
    node.inputs[operands.len()..].iter().fold(own, |seen, id| seen.union(field(id)))
}

/// Whether a gate has one factor for each channel.
fn is_channel_gate(gate: &TensorType) -> bool {
    gate.spatial().iter().all(|&size| size == 1)
}

/// What a layer reads of its input, by dimension; `None` if no [`Axis`] describes it.
fn reads(op: &Op, input: &TensorType) -> Option<Vec<Axis>> {
    let dims = 0..input.spatial().len();
    match op {
        Op::Upsample(upsample) => dims.map(|d| Axis::of_upsample(upsample, d)).collect(),
        Op::AdaptiveAvgPool(pool) => dims.map(|d| Axis::of_adaptive(pool, d, input.spatial()[d])).collect(),
        Op::Pad(pad) => {
            let amounts = pad.amounts(dims.len()).ok()?;
            amounts[1..].iter().map(|&(front, _)| Axis::shifted(front)).collect()
        }
        op => match op.layer()?.window(&[input]) {
            Some(window) => dims.map(|d| Axis::of_window(&window, d)).collect(),
            None => Some(vec![Axis::identity(); dims.len()]),
        },
    }
}

impl Field {
    /// The smallest field that holds both.
    fn union(self, other: &Field) -> Field {
        match (self, other) {
            (Field::Whole, _) | (_, Field::Whole) => Field::Whole,
            (Field::Local(a), Field::Local(b)) if a.len() == b.len() => {
                let axes: Option<Vec<Axis>> = a.iter().zip(b).map(|(a, b)| a.union(b)).collect();
                axes.map_or(Field::Differs, Field::Local)
            }
            _ => Field::Differs,
        }
    }

    /// The field of a layer that reads a value of this field.
    fn through(self, reads: Option<Vec<Axis>>) -> Field {
        let Field::Local(axes) = self else { return self };
        let seen: Option<Vec<Axis>> =
            reads.and_then(|reads| axes.iter().zip(&reads).map(|(axis, read)| axis.through(read)).collect());
        seen.map_or(Field::Differs, Field::Local)
    }
}

impl Axis {
    fn identity() -> Axis {
        Axis { step: 1, spans: vec![(0, 0)] }
    }

    fn shifted(front: usize) -> Option<Axis> {
        let at = i64::try_from(front).ok()?.checked_neg()?;
        Some(Axis { step: 1, spans: vec![(at, at)] })
    }

    fn of_window(window: &ResolvedWindow, dim: usize) -> Option<Axis> {
        let first = i64::try_from(window.pads[dim].0).ok()?.checked_neg()?;
        let last = first.checked_add(i64::try_from(window.effective(dim) - 1).ok()?)?;
        Some(Axis { step: i64::try_from(window.stride[dim]).ok()?, spans: vec![(first, last)] })
    }

    fn of_upsample(upsample: &Upsample, dim: usize) -> Option<Axis> {
        let scale = *upsample.scale.get(dim).or(upsample.scale.first())?;
        if scale > MAX_PHASES {
            return None;
        }
        let scale = scale as i64;
        let span = |phase: i64| match upsample.mode {
            Interpolation::Nearest => Some((0, 0)),
            // The neighbours of (phase + 0.5) / scale - 0.5.
            Interpolation::Bilinear { align_corners: false } => {
                let (twice, divisor) = (2 * phase + 1 - scale, 2 * scale);
                Some((twice.div_euclid(divisor), -(-twice).div_euclid(divisor)))
            }
            // The distance of neighbouring samples depends on the size of the map.
            Interpolation::Bilinear { align_corners: true } => None,
        };
        Some(Axis { step: 1, spans: (0..scale).map(span).collect::<Option<_>>()? })
    }

    fn of_adaptive(pool: &AdaptiveAvgPool, dim: usize, input: usize) -> Option<Axis> {
        let out = *pool.size.get(dim).or(pool.size.first())?;
        let common = gcd(input, out);
        if out / common > MAX_PHASES {
            return None;
        }
        let span = |Range { start, end }: Range<usize>| (start as i64, end as i64 - 1);
        let spans = (0..out / common).map(|i| span(AdaptiveAvgPool::region(i, input, out))).collect();
        Some(Axis { step: (input / common) as i64, spans })
    }

    /// First and last position that position `at` reads, if they fit in 64 bits.
    fn read_by(&self, at: i64) -> Option<(i64, i64)> {
        let phases = self.spans.len() as i64;
        let (first, last) = self.spans[at.rem_euclid(phases) as usize];
        let moved = at.div_euclid(phases).checked_mul(self.step)?;
        Some((first.checked_add(moved)?, last.checked_add(moved)?))
    }

    /// What `layer` sees through its input, whose field is `self`. The ends of all spans grow with the position, so
    /// that those of the first and last position read are the ends of the whole.
    fn through(&self, layer: &Axis) -> Option<Axis> {
        // The number of the layer's own periods after which the input's phases repeat.
        let repeat = self.spans.len() / gcd(self.spans.len(), usize::try_from(layer.step).ok()?);
        let phases = layer.spans.len() * repeat;
        if phases > MAX_PHASES {
            return None;
        }
        let input_periods = layer.step.checked_mul(repeat as i64)? / self.spans.len() as i64;
        let span = |at: i64| {
            let (first, last) = layer.read_by(at)?;
            Some((self.read_by(first)?.0, self.read_by(last)?.1))
        };
        let spans = (0..phases as i64).map(span).collect::<Option<_>>()?;
        Some(Axis { step: self.step.checked_mul(input_periods)?, spans })
    }

    /// The smallest intervals that hold both; `None` if the strides differ.
    fn union(&self, other: &Axis) -> Option<Axis> {
        let (mine, theirs) = (self.spans.len(), other.spans.len());
        if self.stride() != other.stride() {
            return None;
        }
        let phases = mine / gcd(mine, theirs) * theirs;
        if phases > MAX_PHASES {
            return None;
        }
        let span = |at: i64| {
            let (a, b) = (self.read_by(at)?, other.read_by(at)?);
            Some((a.0.min(b.0), a.1.max(b.1)))
        };
        let spans = (0..phases as i64).map(span).collect::<Option<_>>()?;
        Some(Axis { step: self.step.checked_mul((phases / mine) as i64)?, spans })
    }

    /// Input positions from the first to the last one that is seen: of the position that sees most.
    pub fn size(&self) -> u64 {
        self.spans.iter().map(|&(first, last)| last.abs_diff(first).saturating_add(1)).max().unwrap_or(0)
    }

    /// Input positions between the fields of neighbouring positions, as a reduced fraction.
    pub fn stride(&self) -> (u64, u64) {
        let (step, phases) = (self.step.unsigned_abs(), self.spans.len());
        let common = gcd(step as usize, phases);
        (step / common as u64, (phases / common) as u64)
    }

    /// The first input position that position 0 sees; negative in the padding.
    pub fn start(&self) -> i64 {
        self.spans[0].0
    }

    /// The middle of the field of position 0, in input positions.
    pub fn centre(&self) -> f64 {
        let (first, last) = self.spans[0];
        (first as f64 + last as f64) / 2.0
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}
