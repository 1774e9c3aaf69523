//! Makes a network compute on whole numbers: which layers, with which numbers.

use super::apply::{Values, apply};
use super::calibrate::{Method, Observed, observe};
use super::measure::{Measured, measure};
use super::rounding::{Product, round};
use super::structure::{Folded, Structure};
use crate::ir::integer::most_of_pair;
use crate::ir::weights::{WeightSource, values};
use crate::ir::{Graph, NodeId, Verified};
use crate::layers::Op;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub method: Method,
    /// Values have 7 or 8 bits.
    pub activation_bits: u8,
    /// Whether weights are rounded in pairs, so that sums of their products have 16 bits.
    pub paired: bool,
    /// Layers that stay f32, by the names that their weights begin with.
    pub keep: HashSet<String>,
    /// The largest part of the examples whose class may change; layers stay f32 until it is not exceeded.
    pub budget: Option<f64>,
}

/// What became of a layer with weights.
#[derive(Clone, Debug)]
pub struct LayerReport {
    /// Of the structure.
    pub node: NodeId,
    pub name: String,
    /// Why it stays f32.
    pub kept: Option<String>,
    /// Of its value, with all errors of the layers before it; infinite where there are none.
    pub snr_db: f64,
    /// Of its sums where the rounding of its weights is the only error, and of what it reads.
    pub weights_snr_db: Option<f64>,
    pub input_snr_db: Option<f64>,
}

/// A network on whole numbers.
pub struct Quantised {
    pub structure: Structure,
    pub values: Values,
    pub layers: Vec<LayerReport>,
    pub measured: Measured,
}

/// A part of the work that is done, and what it is.
pub type Progress<'p> = dyn FnMut(f64, &str) + 'p;

/// Finds whole numbers for a network, from examples of its inputs.
///
/// # Errors
/// Layers that are to be kept and do not exist, weights that are no finite numbers, and a budget that cannot be held.
pub fn quantise(
    graph: &Verified<Graph>,
    weights: &dyn WeightSource,
    examples: &[Vec<Tensor>],
    wishes: &Wishes,
    progress: &mut Progress,
) -> Result<Quantised, String> {
    let folded = Folded::new(graph, weights);
    let mut kept: HashMap<String, String> = wishes.keep.iter().map(|name| (name.clone(), "asked for".into())).collect();
    check_names(&folded, &kept)?;
    loop {
        let attempt = attempt(&folded, examples, wishes, &kept, progress)?;
        let Measured { samples, agreeing, .. } = attempt.quantised.measured;
        let changed = (samples - agreeing) as f64 / samples as f64;
        match wishes.budget.filter(|budget| changed > *budget) {
            None => return Ok(attempt.quantised),
            Some(budget) => {
                let Some(name) = attempt.worst else {
                    return Err(format!(
                        "{changed:.4} of the classes change with no layer in eight bits; the budget is {budget}"
                    ));
                };
                kept.insert(name, format!("{:.1} % of the classes changed", 100.0 * changed));
            }
        }
    }
}

fn check_names(folded: &Folded, kept: &HashMap<String, String>) -> Result<(), String> {
    let all = Structure::of(&folded.graph, &|_| true);
    let names: HashSet<&str> = all.product_ids().map(|id| all.name(id)).collect();
    match kept.keys().find(|name| !names.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let near = crate::diagnostic::nearest(name, names.iter().copied());
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Err(format!("no layer `{name}` could have weights of eight bits{near}"))
        }
    }
}

/// No whole number stands for NaN or infinity.
fn check_finite(structure: &Structure, weights: &Folded) -> Result<(), String> {
    for id in structure.product_ids() {
        let name = structure.name(id);
        let all = structure.graph[id].params.iter().map(|&param| values(&structure.graph, param, weights));
        if let Some(odd) = all.flat_map(|values| values.iter().copied().find(|value| !value.is_finite())).next() {
            return Err(format!(
                "`{name}` has a weight, after norms were folded into it, that is {odd}, for which no whole number stands; \
                 `--keep {name}` leaves the layer in f32"
            ));
        }
    }
    Ok(())
}

struct Attempt {
    quantised: Quantised,
    /// The layer whose whole numbers are farthest off.
    worst: Option<String>,
}

fn attempt(
    folded: &Folded,
    examples: &[Vec<Tensor>],
    wishes: &Wishes,
    kept: &HashMap<String, String>,
    progress: &mut Progress,
) -> Result<Attempt, String> {
    let eight_bits = |name: &str| !name.rsplit_once('.').is_some_and(|(stem, _)| kept.contains_key(stem));
    let structure = Structure::of(&folded.graph, &eight_bits);
    check_finite(&structure, folded)?;
    let steps = (3 * examples.len() + structure.product_ids().count()) as f64;
    let mut done = 0.0;
    let mut step = |what| {
        done += 1.0;
        progress(done / steps, what);
    };
    let observed = observe(&structure, folded, examples, &mut |_| step("running examples"));
    let mut values = quantisations(&structure, &observed, wishes);
    let noises = round_weights(&structure, folded, &observed, &mut values, wishes, &mut || step("rounding weights"));
    let applied = apply(&structure, &values).map_err(|error| error.to_string())?;
    let measured = measure(&structure, folded, &applied, examples, &mut |_| step("running examples"));
    let noise = |name: &String| noises[name].0 + noises[name].1;
    let worst = noises.keys().max_by(|a, b| noise(a).total_cmp(&noise(b)).then(b.cmp(a))).cloned();
    let layers = report(&structure, kept, &noises, &measured);
    Ok(Attempt { quantised: Quantised { structure, values, layers, measured }, worst })
}

fn quantisations(structure: &Structure, observed: &Observed, wishes: &Wishes) -> Values {
    let mut classes: HashMap<usize, Vec<NodeId>> = HashMap::new();
    structure
        .ids()
        .filter(|&id| structure.is_whole(id))
        .for_each(|id| classes.entry(structure.class(id)).or_default().push(id));
    let top = if wishes.activation_bits == 7 { i8::MAX as u8 } else { u8::MAX };
    let quantisation = |(class, ids): (usize, Vec<NodeId>)| (class, observed.quantisation(&ids, wishes.method, top));
    Values { quantisations: classes.into_iter().map(quantisation).collect(), layers: HashMap::new() }
}

/// By layer, the noise of its weights and of what it reads.
fn round_weights(
    structure: &Structure,
    weights: &Folded,
    observed: &Observed,
    found: &mut Values,
    wishes: &Wishes,
    step: &mut dyn FnMut(),
) -> HashMap<String, (f64, f64)> {
    let mut noises = HashMap::new();
    for id in structure.product_ids() {
        let node = &structure.graph[id];
        let operand = node.operands()[0];
        let input = found.quantisations[&structure.class(operand)];
        let weight = values(&structure.graph, node.params[0], weights);
        let bias = node.params.get(1).map(|&bias| values(&structure.graph, bias, weights));
        let product = Product {
            weight: &weight,
            bias: bias.as_deref(),
            channels: node.ty.channels(),
            input,
            moments: observed.moments(id),
            most_of_pair: match wishes.paired && gains_by_pairs(&node.op) {
                true => most_of_pair(input.top()),
                false => 2 * i16::from(i8::MAX),
            },
        };
        let rounded = round(&product, wishes.method);
        noises.insert(structure.name(id).to_owned(), (rounded.noise, observed.noise(operand, input)));
        found.layers.insert(id, rounded.layer);
        step();
    }
    noises
}

/// Whether processors without dot products multiply a layer's weights in pairs of bytes, and this takes the time: dense
/// layers wait for their weights, and a 3x3 convolution is computed by Winograd's tiles.
fn gains_by_pairs(op: &Op) -> bool {
    let Op::Conv(conv) = op else { return false };
    let ones = |values: &[usize]| values.iter().all(|&v| v == 1);
    let window = &conv.window;
    conv.groups > 1 || window.kernel != [3, 3] || !ones(&window.stride) || !ones(&window.dilation)
}

fn report(
    structure: &Structure,
    kept: &HashMap<String, String>,
    noises: &HashMap<String, (f64, f64)>,
    measured: &Measured,
) -> Vec<LayerReport> {
    let decibels = |noise: f64| -10.0 * noise.max(1e-20).log10();
    let of_layer = |id: NodeId| {
        let name = structure.name(id).to_owned();
        let noise = noises.get(&name);
        let fidelity = measured.layers.iter().find(|layer| layer.node == id).expect("each was measured");
        let why = || {
            kept.get(&name)
                .cloned()
                .unwrap_or("its sums may not fit 32 bits, or its weights are given in the model".into())
        };
        LayerReport {
            node: id,
            kept: (!structure.is_product(id)).then(why),
            snr_db: fidelity.snr_db,
            weights_snr_db: noise.map(|noise| decibels(noise.0)),
            input_snr_db: noise.map(|noise| decibels(noise.1)),
            name,
        }
    };
    let with_weights = |id: &NodeId| matches!(structure.graph[*id].op, Op::Conv(_) | Op::Dense(_));
    structure.ids().filter(with_weights).map(of_layer).collect()
}
