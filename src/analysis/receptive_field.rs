//! Receptive fields: which positions of the model's input a position of a value can see.
//!
//! A path of layers is composed of intervals, and where paths meet, the field is the smallest interval that holds
//! those of all of them (Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks",
//! Distill, doi 10.23915/distill.00021). Here each interval is kept for every phase of its position, which makes the
//! arithmetic exact for layers that do not move evenly as well: upsampling and adaptive pooling.
//!
//! A field may reach over the borders of the input, into the padding. A gate with one factor a channel (squeeze and
//! excitation) sees the whole map; it is left out, as in published figures, since it would hide what the features see. So are
//! the mean and deviation of an instance norm, and the sum of a softmax over positions.
//! In models of several inputs the inputs are taken to lie over one another.

use crate::ir::{Graph, Node, NodeId, Verified};
use crate::layers::{
    AdaptiveAvgPool, AdaptiveMaxPool, ConvTranspose, Coordinates, Filter, Interpolation, Op, Phase, Reduce, Reduced,
    Resize, ResolvedWindow, Upsample, gcd,
};
use crate::tensor::TensorType;
use serde::Serialize;
use std::ops::Range;

/// The positions that are read along one dimension: position p reads `spans[p % n]` (first and last), n being the
/// number of spans, moved by `step` for each whole n in p.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Axis {
    step: i64,
    spans: Vec<(i64, i64)>,
}

/// The field of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
pub fn receptive_field(graph: &Verified<Graph>) -> ReceptiveFields {
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
        Op::Flatten(_)
        | Op::Unflatten(_)
        | Op::Permute(_)
        | Op::Dense(_)
        | Op::GlobalAvgPool(_)
        | Op::GlobalMaxPool(_) => Field::Whole,
        Op::Reduce(Reduce { over: Reduced::Positions, .. }) => Field::Whole,
        Op::AdaptiveAvgPool(_) | Op::AdaptiveMaxPool(_) if node.ty.spatial().iter().all(|&size| size == 1) => {
            Field::Whole
        }
        op if is_of_whole(op, &node.ty, &graph[operands[operands.len() - 1]].ty) => field(&operands[0]).clone(),
        op => {
            let seen = operands[1..].iter().fold(field(&operands[0]).clone(), |seen, id| seen.union(field(id)));
            seen.through(reads(op, &graph[operands[0]].ty))
        }
    };
    node.inputs[operands.len()..].iter().fold(own, |seen, id| seen.union(field(id)))
}

/// Whether a layer multiplies by one factor for each channel, or adds one number to all positions of it: what was made of
/// the whole map.
fn is_of_whole(op: &Op, ty: &TensorType, second: &TensorType) -> bool {
    let one_position = second.spatial().iter().all(|&size| size == 1);
    one_position && (matches!(op, Op::Mul(_)) || matches!(op, Op::Add(_)) && second.spatial() != ty.spatial())
}

/// What a layer reads of its input, by dimension; `None` if no [`Axis`] describes it.
fn reads(op: &Op, input: &TensorType) -> Option<Vec<Axis>> {
    let dims = 0..input.spatial().len();
    match op {
        Op::Upsample(upsample) => dims.map(|d| Axis::of_upsample(upsample, d)).collect(),
        Op::Resize(resize) => {
            let out = resize.sizes(input.spatial()).ok()?;
            dims.map(|d| Axis::of_resize(resize, d, input.spatial()[d], out[d])).collect()
        }
        Op::Crop(crop) => {
            let ranges = crop.ranges(input.spatial()).ok()?;
            ranges.iter().map(|range| Axis::at(i64::try_from(range.start).ok()?)).collect()
        }
        Op::DepthToSpace(layer) => {
            dims.map(|d| Axis::repeated(*layer.block.get(d).unwrap_or(&layer.block[0]))).collect()
        }
        Op::Subsample(layer) => {
            let [step, at] = layer.per_dim(dims.len()).ok()?;
            step.into_iter().zip(at).map(|(step, at)| Axis::sampled(step, at)).collect()
        }
        Op::AdaptiveAvgPool(AdaptiveAvgPool { size }) | Op::AdaptiveMaxPool(AdaptiveMaxPool { size }) => {
            dims.map(|d| Axis::of_adaptive(size, d, input.spatial()[d])).collect()
        }
        Op::ConvTranspose(conv) => {
            let sizes = conv.resolve(input.spatial()).ok()?;
            dims.map(|d| Axis::of_transposed(conv, d, sizes[d])).collect()
        }
        Op::Pad(pad) => {
            let amounts = pad.amounts(dims.len()).ok()?;
            amounts[1..].iter().map(|&(front, _)| Axis::at(i64::try_from(front).ok()?.checked_neg()?)).collect()
        }
        op => match op.layer()?.window(&[input]) {
            Some(window) => dims.map(|d| Axis::of_window(&window, d)).collect(),
            None => Some(vec![Axis::identity(); dims.len()]),
        },
    }
}

/// Shows which positions along `dim` of its input number `operand` a position of a node reads; none in the padding. Gates
/// with one factor a channel are left out here as well; a layer that is not understood reads everything.
pub(super) fn positions_read(
    graph: &Graph,
    id: NodeId,
    operand: usize,
    dim: usize,
) -> impl Fn(usize, &mut dyn FnMut(usize)) {
    let node = &graph[id];
    let ty = &graph[node.inputs[operand]].ty;
    let size = ty.spatial().get(dim).copied().unwrap_or(1);
    let reads = Reads::new(node, ty, operand, dim);
    move |at, see| match &reads {
        Reads::Nothing => {}
        Reads::Everything => (0..size).for_each(see),
        Reads::Window(window) => window.positions(dim, at, size).for_each(see),
        Reads::Axis(axis) => {
            let (first, last) = axis.read_by(at as i64).unwrap_or((0, size as i64 - 1));
            (first.max(0)..(last + 1).min(size as i64)).for_each(|position| see(position as usize));
        }
    }
}

enum Reads {
    Nothing,
    Everything,
    Window(ResolvedWindow),
    Axis(Axis),
}

impl Reads {
    fn new(node: &Node, ty: &TensorType, operand: usize, dim: usize) -> Reads {
        let same = Reads::Axis(Axis::identity());
        match &node.op {
            _ if operand >= node.operands().len() => same,
            Op::Flatten(_)
            | Op::Unflatten(_)
            | Op::Permute(_)
            | Op::Dense(_)
            | Op::GlobalAvgPool(_)
            | Op::GlobalMaxPool(_) => Reads::Everything,
            Op::Reduce(Reduce { over: Reduced::Positions, .. }) => Reads::Everything,
            op if operand > 0 && is_of_whole(op, &node.ty, ty) => Reads::Nothing,
            op => match (op.layer().and_then(|layer| layer.window(&[ty])), reads(op, ty)) {
                (Some(window), _) if dim < window.kernel.len() => Reads::Window(window),
                (_, Some(mut axes)) if dim < axes.len() => Reads::Axis(axes.swap_remove(dim)),
                (_, Some(_)) => same,
                _ => Reads::Everything,
            },
        }
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

    /// Position p reads the one that is `at` further.
    fn at(at: i64) -> Option<Axis> {
        Some(Axis { step: 1, spans: vec![(at, at)] })
    }

    /// So many neighbours read the same position.
    fn repeated(times: usize) -> Option<Axis> {
        (times <= MAX_PHASES).then(|| Axis { step: 1, spans: vec![(0, 0); times] })
    }

    fn sampled(step: usize, at: usize) -> Option<Axis> {
        let at = i64::try_from(at).ok()?;
        Some(Axis { step: i64::try_from(step).ok()?, spans: vec![(at, at)] })
    }

    fn of_window(window: &ResolvedWindow, dim: usize) -> Option<Axis> {
        let first = window.origin(dim, 0);
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

    /// The windows of all phases; one position where a phase meets no tap.
    fn of_transposed(conv: &ConvTranspose, dim: usize, size: (usize, usize)) -> Option<Axis> {
        let stride = conv.window.stride[dim];
        if stride > MAX_PHASES {
            return None;
        }
        let span = |Phase { taps, dilation, origin, .. }| (origin, origin + (taps.max(1) as i64 - 1) * dilation as i64);
        let mut spans: Vec<(i64, i64)> = conv.phases(dim, size).map(span).collect();
        // Of an output that is shorter than a stride.
        spans.resize(stride, *spans.last()?);
        Some(Axis { step: 1, spans })
    }

    /// Where `out` positions repeat a pattern that does not depend on the size of the map.
    fn of_resize(resize: &Resize, dim: usize, input: usize, out: usize) -> Option<Axis> {
        let common = gcd(input, out);
        let phases = out / common;
        let exact = resize.position(dim, phases, input, out) - resize.position(dim, 0, input, out);
        let moves = resize.coordinates != Coordinates::AlignCorners && exact == (input / common) as f64;
        if phases > MAX_PHASES || !moves {
            return None;
        }
        let span = |i: usize| {
            let at = resize.position(dim, i, input, out);
            let (low, high) = (at.floor() as i64, at.ceil() as i64);
            match resize.filter {
                Filter::Nearest(rounding) => {
                    let nearest = rounding.of(at) as i64;
                    (nearest, nearest)
                }
                Filter::Cubic(_) if low < high => (low - 1, high + 1),
                Filter::Linear | Filter::Cubic(_) => (low, high),
            }
        };
        Some(Axis { step: (input / common) as i64, spans: (0..phases).map(span).collect() })
    }

    fn of_adaptive(size: &[usize], dim: usize, input: usize) -> Option<Axis> {
        let out = *size.get(dim).or(size.first())?;
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

    /// The input positions that position `at` sees, if they fit in 64 bits.
    pub fn seen_by(&self, at: usize) -> Option<Range<i64>> {
        let (first, last) = self.read_by(i64::try_from(at).ok()?)?;
        Some(first..last.checked_add(1)?)
    }

    /// What `layer` sees through its input, whose field is `self`. Spans move with the position from one period to the next,
    /// so that the ends of the whole are among those of the first and the last period read.
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
            let others = self.spans.len() as i64 - 1;
            let low = (first..=last.min(first.checked_add(others)?)).map(|at| Some(self.read_by(at)?.0));
            let high = (first.max(last.checked_sub(others)?)..=last).map(|at| Some(self.read_by(at)?.1));
            let (low, high) = (low.collect::<Option<Vec<_>>>()?, high.collect::<Option<Vec<_>>>()?);
            Some((low.into_iter().min()?, high.into_iter().max()?))
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

#[cfg(test)]
mod tests {
    use super::super::testing::{LENET, model, net};
    use super::*;
    use crate::interp;
    use crate::ir::weights::RandomWeights;
    use crate::layers::Accumulate;
    use crate::tensor::Tensor;

    fn axes(graph: &Verified<Graph>) -> Vec<Axis> {
        let fields = receptive_field(graph);
        match fields.of(fields.features.expect("a feature map")) {
            Field::Local(axes) => axes.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Size, stride, start and centre of the last feature map, in one dimension.
    fn of(body: &str) -> (u64, (u64, u64), i64, f64) {
        let axis = &axes(&net("2, 64", body))[0];
        (axis.size(), axis.stride(), axis.start(), axis.centre())
    }

    #[test]
    fn lenet_layer_by_layer() {
        let graph = model(LENET);
        let fields = receptive_field(&graph);
        let size = |id| match fields.of(id) {
            Field::Local(axes) => axes[1].size(),
            _ => 0,
        };
        assert_eq!(graph.ids().map(size).collect::<Vec<_>>(), [1, 5, 5, 6, 14, 14, 16, 0, 0, 0, 0, 0, 0]);
        let features = fields.features.unwrap();
        assert_eq!(features.0, 6);
        // Padded by 2 in front; the strides are 1, 2, 1, 2.
        let Field::Local(axes) = fields.of(features) else { panic!() };
        assert_eq!((axes[0].stride(), axes[0].start(), axes[0].centre()), ((4, 1), -2, 5.5));
    }

    #[test]
    fn sizes_by_hand() {
        assert_eq!(of("conv 3, 4 | conv 3, 4, dilation 2, half | maxpool 2"), (8, (2, 1), -2, 1.5));
        assert_eq!(of("conv 7, 4, stride 2, half | maxpool 3, stride 2, pad 1"), (11, (4, 1), -5, 0.0));
        assert_eq!(of("conv 3, 4, stride 2, same"), (3, (2, 1), 0, 1.0));
        assert_eq!(of("pad 3 | conv 3, 4"), (3, (1, 1), -3, -2.0));
    }

    #[test]
    fn dimensions_are_apart() {
        let axes = axes(&net("2, 20, 30", "conv 1x7, 4 | maxpool 2x1"));
        let sizes: Vec<_> = axes.iter().map(|a| (a.size(), a.stride())).collect();
        assert_eq!(sizes, [(2, (2, 1)), (7, (1, 1))]);
    }

    #[test]
    fn the_union_of_paths() {
        // -1..=1 of the main path and -4..=0 of the other.
        assert_eq!(of("concat { conv 3, 4, half\nconv 5, 4, pad (4, 0) }"), (6, (1, 1), -4, -1.5));
        assert_eq!(of("residual { conv 3, 2, half | conv 3, 2, half }"), (5, (1, 1), -2, 0.0));
    }

    #[test]
    fn different_strides_are_said_to_differ() {
        let graph = net("2, 64", "concat { adaptive_avgpool 16\nconv 49, 2 }");
        let fields = receptive_field(&graph);
        assert_eq!(*fields.of(fields.features.unwrap()), Field::Differs);
    }

    #[test]
    fn gates_are_left_out() {
        let gated = "conv 3, 4, half | gate { global_avgpool | conv 1, 4 | sigmoid } | conv 3, 4 | global_avgpool";
        assert_eq!(of(gated), (5, (1, 1), -1, 1.0));
    }

    #[test]
    fn classifiers_see_everything() {
        for end in ["global_avgpool", "global_maxpool", "flatten", "adaptive_avgpool 1", "flatten | dense 3"] {
            let graph = net("2, 64", &format!("conv 3, 4 | {end}"));
            let fields = receptive_field(&graph);
            assert_eq!((fields.features, fields.of(graph.outputs[0].node)), (Some(NodeId(1)), &Field::Whole));
        }
        assert_eq!(receptive_field(&net("64", "dense 3")).features, None);
    }

    #[test]
    fn upsampling_divides_the_stride() {
        assert_eq!(of("maxpool 4 | upsample 8"), (4, (1, 2), 0, 1.5));
        // Position 0 sees -1..=0 of the halved input, position 1 sees 0..=1.
        assert_eq!(of("maxpool 2 | upsample 2, bilinear"), (4, (1, 1), -2, -0.5));
        assert_eq!(of("maxpool 2 | upsample 2 | conv 3, 2, half"), (4, (1, 1), -2, -0.5));
        assert_eq!(of("upsample 3, bilinear"), (2, (1, 3), -1, -0.5));
        let corners = net("2, 64, 64", "upsample 2, bilinear, align_corners");
        assert_eq!(*receptive_field(&corners).of(NodeId(1)), Field::Differs);
    }

    #[test]
    fn transposed_convolutions_divide_the_stride() {
        assert_eq!(of("conv_transpose 4, 2, stride 2, pad 1"), (2, (1, 2), -1, -0.5));
        assert_eq!(of("maxpool 2 | conv_transpose 2, 2, stride 2"), (2, (1, 1), 0, 0.5));
        assert_eq!(of("maxpool 2 | conv_transpose 3, 2, stride 2, pad 1, output_padding 1"), (4, (1, 1), 0, 0.5));
    }

    #[test]
    fn numbers_out_of_proportion() {
        let fields = |body: &str| receptive_field(&net("1, 2", body)).of(NodeId(2)).clone();
        let far = "60000000000";
        assert_eq!(fields(&format!("conv 1, 1, stride {far} | conv 1, 1, stride {far}")), Field::Differs);
        assert_eq!(fields("upsample 16 | upsample 16"), Field::Differs);
        assert_eq!(fields("identity | conv_transpose 1, 1, stride 60000"), Field::Differs);
    }

    /// The inputs that change each output are those in its field, as far as they lie in the input.
    #[test]
    fn fields_are_what_the_interpreter_reads() {
        for body in [
            "conv 3, 2, stride 2, pad 1 | conv 4, 2, dilation 3 | avgpool 3, stride 2",
            "conv 3, 2, stride 2, same | upsample 3 | conv 2, 2, stride 2 | residual { conv 3, 2, half }",
            "avgpool 2 | upsample 2, bilinear | concat { conv 3, 2, half\nconv 6, 2, pad (1, 4) } | upsample 3, bilinear",
            "conv 3, 2 | adaptive_avgpool 14 | conv 3, 2, stride 2 | upsample 2",
            "avgpool 2 | resize 27, bilinear | conv 3, 2, half | resize scale 2, bicubic | crop (3, 2) | pad 1",
            "resize 24 | conv 3, 2, half | resize scale 1.5, bilinear, coordinates asymmetric",
            "conv 3, 4, stride 2 | depth_to_space 2 | conv 5, 2 | space_to_depth 3 | conv 2, 2",
            "conv 2, 2 | subsample 3, at 1 | conv 3, 2 | upsample 2 | slice 1..2",
            "avgpool 2 | conv_transpose 4, 2, stride 2, pad 1 | conv 3, 2 | conv_transpose 5, 2, stride 3, pad (4, 0)",
            "conv_transpose 2, 2, dilation 3, stride 2 | avgpool 2 | conv_transpose 3, 2, stride 2, pad 2",
            "identity as s | avgpool 2 | conv 3, 2, half | upsample 2 | concat { identity\nfrom s } | conv 3, 2, half",
        ] {
            let graph = net("1, 36", body);
            compare_with_interpreter(&graph, body);
        }
    }

    fn compare_with_interpreter(graph: &Verified<Graph>, body: &str) {
        let length = graph[graph.inputs[0]].ty.spatial()[0] as i64;
        let evaluate = |input: Vec<f32>| {
            let input = Tensor::new([1, 1, length as usize], input);
            interp::run(graph, &RandomWeights { seed: 7 }, &[input], Accumulate::F64).remove(0)
        };
        let plain = evaluate(vec![0.0; length as usize]);
        let mut seen = vec![Vec::new(); plain.spatial()[0]];
        for at in 0..length {
            let mut input = vec![0.0; length as usize];
            input[at as usize] = 1000.0;
            let changed = evaluate(input);
            for (p, seen) in seen.iter_mut().enumerate() {
                if (0..plain.channels()).any(|c| changed.plane(0, c)[p] != plain.plane(0, c)[p]) {
                    seen.push(at);
                }
            }
        }
        let axis = &axes(graph)[0];
        let mut inside = 0;
        for (p, seen) in seen.iter().enumerate() {
            let (first, last) = axis.read_by(p as i64).unwrap();
            assert!(seen.iter().all(|at| (first..=last).contains(at)), "{body}: {p} sees {seen:?} of {first}..={last}");
            if first >= 0 && last < length {
                inside += 1;
                assert_eq!((seen.first(), seen.last()), (Some(&first), Some(&last)), "{body}: {p}");
            }
        }
        assert!(inside > 1, "{body}");
    }
}
