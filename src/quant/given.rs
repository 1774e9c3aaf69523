//! Whole numbers that somebody else chose: which layers can have them here, and why others cannot.
//!
//! What computes on whole numbers follows from the layers with weights of eight bits alone ([`Structure`]). So where a value
//! has no quantisation that can be had, the layers that make it one of whole numbers stay f32.

use super::apply::{Layer, Values, apply};
use super::file::{ACTIVATION_BITS, Stored, tensors, write};
use super::structure::{Folded, Structure};
use crate::io::IoError;
use crate::ir::integer::MAX_BIAS;
use crate::ir::weights::values;
use crate::ir::{Graph, NodeId, Param, Verified};
use crate::layers::{Activation, Op};
use crate::passes;
use crate::tensor::Quantisation;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// What the numbers of a value stand for, or why no [`Quantisation`] says that; and what the value is called.
#[derive(Clone, Debug)]
pub struct Said {
    pub name: String,
    pub numbers: Result<Quantisation, String>,
}

/// A weight whose values are multiples of steps.
#[derive(Clone, Debug)]
pub struct Stepped {
    /// The steps: one for all, or one for each index of some axis.
    pub scales: Vec<f32>,
    /// The multiples, where f32 does not hold all of them.
    pub integers: Option<Vec<i32>>,
    /// Whether the layer's operand is one of whole numbers.
    pub reads_whole: bool,
}

/// What is known of a network's whole numbers.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// By node of the graph.
    pub values: HashMap<NodeId, Said>,
    /// Nodes whose values are read as they were before they became whole numbers.
    pub real: HashSet<NodeId>,
    /// By the name of the parameter.
    pub weights: HashMap<String, Stepped>,
}

/// A network on given whole numbers.
pub struct Taken {
    pub structure: Structure,
    pub values: Values,
    pub activation_bits: u8,
}

/// The tensors of a weight file of whole numbers, and how many bits values have.
pub struct WholeFile {
    pub tensors: Vec<Stored>,
    pub activation_bits: u8,
}

impl WholeFile {
    /// That of a network whose weights in f32 are these.
    pub fn of(taken: &Taken, weights: &Folded) -> WholeFile {
        let tensors = tensors(&taken.structure, &taken.values, weights);
        WholeFile { tensors, activation_bits: taken.activation_bits }
    }

    /// What the file says of itself.
    pub fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([(ACTIVATION_BITS.to_owned(), self.activation_bits.to_string())])
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, path: &Path) -> Result<(), IoError> {
        write(path, &self.tensors, Some(self.activation_bits)).map(drop)
    }
}

/// Rounds of leaving layers out that are tried before none is taken.
const MAX_ROUNDS: usize = 256;

/// Names of layers or values that a note lists.
const SHOWN: usize = 6;

/// Takes what can be taken of given whole numbers; nothing where no layer can have them. The second are notes for people:
/// what is left out, and why.
pub fn take(graph: &Verified<Graph>, weights: &Folded, given: &Given) -> (Option<Taken>, Vec<String>) {
    let mut taking = Taking::new(graph, weights, given);
    let taken = taking.take();
    let notes = taking.notes(taken.as_ref());
    (taken, notes)
}

/// Weights of a layer in eight bits.
struct Rows {
    weight: Arc<[i8]>,
    scales: Vec<f32>,
    /// Whether they are as given, not multiplied by a norm.
    as_given: bool,
}

struct Taking<'g> {
    weights: &'g Folded<'g>,
    given: &'g Given,
    /// By node of the folded graph.
    said: HashMap<NodeId, Said>,
    real: HashSet<NodeId>,
    /// By the name of a layer's weight.
    rows: HashMap<String, Rows>,
    /// Those of layers that stay f32, and why.
    kept: BTreeMap<String, String>,
    /// What the names of layers begin with whose values are rounded before anything is added to them.
    rounded: HashSet<String>,
    /// Names of concatenations that bring their operands to a quantisation of their own.
    parted: HashSet<String>,
    top: u8,
}

impl<'g> Taking<'g> {
    fn new(graph: &Verified<Graph>, weights: &'g Folded<'g>, given: &'g Given) -> Taking<'g> {
        let (said, real) = after_folding(graph, given);
        let all_seven = !said.is_empty()
            && said.values().filter_map(|said| said.numbers.as_ref().ok()).all(|q| q.top() == i8::MAX as u8);
        let top = if all_seven { i8::MAX as u8 } else { u8::MAX };
        let (rows, kept, rounded, parted) = Default::default();
        let mut taking = Taking { weights, given, said, real, rows, kept, rounded, parted, top };
        taking.find_rows(graph);
        taking
    }

    /// The weights of all layers that could have eight bits.
    fn find_rows(&mut self, graph: &Graph) {
        let before: HashMap<&str, &Param> = graph.params.iter().map(|param| (param.name.as_str(), param)).collect();
        let folded = &self.weights.graph;
        let structure = Structure::of(folded, &|name| self.given.weights.contains_key(name));
        for id in folded.ids() {
            let node = &folded[id];
            let Some(weight) = node.params.first().map(|&param| &folded[param]) else { continue };
            let Some(stepped) = self.given.weights.get(&weight.name) else { continue };
            if self.said.get(&id).is_some_and(|said| said.numbers.is_ok()) {
                self.rounded.insert(structure.name(id).to_owned());
            }
            let rows = if !stepped.reads_whole {
                Err("what they read is f32 in the file".to_owned())
            } else if !structure.is_product(id) {
                Err("there are no such layers on whole numbers, or sums may not fit 32 bits".to_owned())
            } else {
                let now = values(folded, node.params[0], self.weights);
                let raw = before.get(weight.name.as_str()).map(|param| self.weights.rest_values(param));
                rows(weight.dims[0], raw.as_ref().unwrap_or(&now), &now, &stepped.scales)
            };
            match rows {
                Ok(rows) => drop(self.rows.insert(weight.name.clone(), rows)),
                Err(reason) => drop(self.kept.insert(weight.name.clone(), reason)),
            }
        }
    }

    fn take(&mut self) -> Option<Taken> {
        for _ in 0..MAX_ROUNDS {
            if self.rows.keys().all(|name| self.kept.contains_key(name)) {
                return None;
            }
            let eight_bits = |name: &str| self.rows.contains_key(name) && !self.kept.contains_key(name);
            let rounded = |stem: &str| self.rounded.contains(stem);
            let parted = |name: &str| self.parted.contains(name);
            let structure = Structure::with_own(&self.weights.graph, &eight_bits, &rounded, &parted);
            if let Some(parted) = self.to_part(&structure) {
                self.parted.insert(parted);
                continue;
            }
            let (values, left_out) = self.values(&structure);
            if left_out.is_empty() {
                return self.checked(structure, values);
            }
            left_out.into_iter().for_each(|(name, reason)| {
                self.kept.entry(name).or_insert(reason);
            });
        }
        self.keep_all("whole numbers do not go together");
        None
    }

    /// A concatenation of values that have different quantisations, or another one than it has.
    fn to_part(&self, structure: &Structure) -> Option<String> {
        let said = |id: NodeId| self.said.get(&structure.shown(id)).and_then(|said| said.numbers.as_ref().ok());
        let differs = |id: &NodeId| {
            let own = said(*id);
            let operands = structure.graph[*id].operands();
            structure.passes_on(*id)
                && own.is_some()
                && operands.iter().filter_map(|&operand| said(operand)).any(|numbers| Some(numbers) != own)
        };
        let mut concats = structure.ids().filter(|&id| matches!(structure.graph[id].op, Op::Concat(_)));
        concats.find(differs).map(|id| structure.name(id).to_owned())
    }

    fn checked(&mut self, structure: Structure, values: Values) -> Option<Taken> {
        let activation_bits = if self.top == u8::MAX { 8 } else { 7 };
        match apply(&structure, &values) {
            Ok(_) => Some(Taken { structure, values, activation_bits }),
            Err(error) => {
                self.keep_all(&format!("whole numbers do not go together: {error}"));
                None
            }
        }
    }

    fn keep_all(&mut self, reason: &str) {
        let names: Vec<String> = self.rows.keys().cloned().collect();
        names.into_iter().for_each(|name| {
            self.kept.entry(name).or_insert(reason.to_owned());
        });
    }

    /// The whole numbers of a structure, and layers that must be left out, with the reasons.
    fn values(&self, structure: &Structure) -> (Values, Vec<(String, String)>) {
        let mut left_out = LeftOut::of(structure);
        let mut found = Values::default();
        let mut classes: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
        let whole = structure.ids().filter(|&id| structure.is_whole(id));
        whole.for_each(|id| classes.entry(structure.class(id)).or_default().push(id));
        for (class, members) in classes {
            match self.of_class(structure, &members) {
                Ok(quantisation) => drop(found.quantisations.insert(class, quantisation)),
                Err((nodes, reason)) => nodes.into_iter().for_each(|id| left_out.add(id, &reason)),
            }
        }
        for id in structure.product_ids() {
            let operand = structure.class(structure.graph[id].operands()[0]);
            let Some(&input) = found.quantisations.get(&operand) else { continue };
            match self.layer(structure, id, input) {
                Ok(layer) => drop(found.layers.insert(id, layer)),
                Err(reason) => left_out.found.push((weight_name(structure, id).to_owned(), reason)),
            }
        }
        (found, left_out.found)
    }

    /// What the values of a class stand for; or the nodes whose values cannot be whole numbers, and why.
    fn of_class(&self, structure: &Structure, members: &[NodeId]) -> Result<Quantisation, (Vec<NodeId>, String)> {
        let mut known: HashMap<NodeId, Quantisation> = HashMap::new();
        for &id in members {
            match self.said.get(&structure.shown(id)).map(|said| &said.numbers) {
                Some(Ok(q)) if q.top() != self.top => {
                    let reason = format!("a value has numbers up to {}, others up to {}", q.top(), self.top);
                    return Err((members.to_vec(), reason));
                }
                Some(Ok(q)) => drop(known.insert(id, *q)),
                Some(Err(reason)) => return Err((members.to_vec(), reason.clone())),
                None => {}
            }
        }
        let first = known.values().next().copied();
        match first {
            Some(first) if known.values().all(|q| *q == first) => Ok(first),
            Some(_) => {
                let reason = "values that share their numbers here have different ones in the file";
                Err((vec![differing(structure, members, &known)], reason.into()))
            }
            None => Err((members.to_vec(), "a value on the way to them has no quantisation in the file".into())),
        }
    }

    fn layer(&self, structure: &Structure, id: NodeId, input: Quantisation) -> Result<Layer, String> {
        let node = &structure.graph[id];
        let rows = &self.rows[weight_name(structure, id)];
        let bias = node.params.get(1).map(|&bias| {
            let real = values(&structure.graph, bias, self.weights);
            let given = self.given.weights.get(&structure.graph[bias].name).filter(|_| rows.as_given);
            (real, given)
        });
        let reals = bias.as_ref().map(|(real, _)| &**real);
        let scales = scales(rows, reals, input)?;
        let bias = bias.as_ref().map(|(real, given)| whole_bias(real, *given, &scales, input)).transpose()?;
        Ok(Layer { weight: rows.weight.clone(), scales: scales.into(), bias: bias.map(Arc::from) })
    }

    fn notes(&self, taken: Option<&Taken>) -> Vec<String> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        self.kept.iter().for_each(|(name, reason)| reasons.entry(reason).or_default().push(stem_of(name)));
        let kept = |(reason, layers): (&str, Vec<&str>)| format!("left in f32, since {reason}: {}", listed(&layers));
        let mut notes: Vec<String> = reasons.into_iter().map(kept).collect();
        let shown: HashSet<NodeId> = taken.iter().flat_map(|taken| whole_values(&taken.structure)).collect();
        let of = |ids: &mut dyn Iterator<Item = NodeId>| {
            let mut names: Vec<&str> = ids.filter_map(|id| Some(self.said.get(&id)?.name.as_str())).collect();
            names.sort_unstable();
            (!names.is_empty()).then(|| listed(&names))
        };
        if let Some(names) = of(&mut self.said.keys().copied().filter(|id| !shown.contains(id))) {
            notes.push(format!("values that no layer here reads as whole numbers are not rounded to them: {names}"));
        }
        let rounded = taken.map_or(HashSet::new(), |taken| rounded(&taken.structure));
        if let Some(names) = of(&mut rounded.into_iter().filter(|id| self.real.contains(id))) {
            notes.push(format!("values that the file also reads in f32 are read as whole numbers alone: {names}"));
        }
        notes
    }
}

/// Values that are whole numbers, by node of the folded graph.
fn whole_values(structure: &Structure) -> impl Iterator<Item = NodeId> {
    structure.ids().filter(|&id| structure.is_whole(id)).map(|id| structure.shown(id))
}

/// Those of them that would be others in f32 for somebody who does not multiply them: made by layers on whole numbers, or
/// read by ones without weights.
fn rounded(structure: &Structure) -> HashSet<NodeId> {
    let mut read: HashSet<NodeId> = HashSet::new();
    for id in structure.ids().filter(|&id| structure.is_integer(id)) {
        let node = &structure.graph[id];
        let own = if structure.is_product(id) { node.operands().len() } else { 0 };
        read.extend(&node.inputs[own..]);
    }
    let is_rounded = |id: &NodeId| structure.is_whole(*id) && (structure.is_integer(*id) || read.contains(id));
    structure.ids().filter(is_rounded).map(|id| structure.shown(id)).collect()
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// The name of a layer's weight.
fn weight_name(structure: &Structure, id: NodeId) -> &str {
    &structure.graph[structure.graph[id].params[0]].name
}

fn stem_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// What is known of the values of a graph's nodes, by the nodes of the graph that folding its norms gives.
fn after_folding(graph: &Verified<Graph>, given: &Given) -> (HashMap<NodeId, Said>, HashSet<NodeId>) {
    let mut tagged = graph.clone().into_inner();
    tagged.nodes.iter_mut().enumerate().for_each(|(index, node)| node.origin.path = index.to_string());
    let tagged = crate::ir::verify(tagged).expect("paths are no part of what is verified");
    let folded = passes::fold(tagged);
    // Where one node became several, the last one has its value.
    let places: HashMap<&str, NodeId> = folded.ids().map(|id| (folded[id].origin.path.as_str(), id)).collect();
    let mut now: Vec<Option<NodeId>> = Vec::new();
    let (mut said, mut real): (HashMap<NodeId, Said>, HashSet<NodeId>) = Default::default();
    for id in graph.ids() {
        let own = places.get(id.0.to_string().as_str()).copied();
        let place = own.or_else(|| now[graph[id].inputs.first()?.0 as usize]);
        now.push(place);
        let Some(place) = place else { continue };
        if own.is_none()
            && matches!(graph[id].op, Op::BatchNorm(_) | Op::Scale(_) | Op::Activation(Activation::Affine { .. }))
        {
            // What it is folded into has its value from here on.
            said.remove(&place);
            real.remove(&place);
        }
        if let Some(new) = given.values.get(&id) {
            said.entry(place).and_modify(|old| merge(old, new)).or_insert_with(|| new.clone());
        }
        if given.real.contains(&id) {
            real.insert(place);
        }
    }
    (said, real)
}

/// Two quantisations of one value.
fn merge(old: &mut Said, new: &Said) {
    if old.numbers != new.numbers {
        old.numbers = Err("a value is quantised in two ways".into());
    }
}

/// The first node that passes on numbers which stand for different things, or gives them as another.
fn differing(structure: &Structure, members: &[NodeId], known: &HashMap<NodeId, Quantisation>) -> NodeId {
    let mut known = known.clone();
    let mut moving = members.iter().copied().filter(|&id| structure.passes_on(id));
    for id in moving.clone() {
        let of_operands = structure.graph[id].operands().iter().filter_map(|operand| known.get(operand));
        let numbers: Vec<Quantisation> = of_operands.chain(known.get(&id)).copied().collect();
        match numbers.first() {
            Some(first) if numbers.iter().any(|q| q != first) => return id,
            Some(&first) => drop(known.insert(id, first)),
            None => {}
        }
    }
    // They meet through values without numbers of their own.
    moving.next_back().unwrap_or(members[0])
}

/// The layers to leave out so that values are no whole numbers.
struct LeftOut<'s> {
    structure: &'s Structure,
    /// By node.
    readers: Vec<Vec<NodeId>>,
    seen: HashSet<NodeId>,
    found: Vec<(String, String)>,
}

impl<'s> LeftOut<'s> {
    fn of(structure: &'s Structure) -> LeftOut<'s> {
        let mut readers = vec![Vec::new(); structure.graph.nodes.len()];
        for id in structure.ids() {
            structure.graph[id].inputs.iter().for_each(|input| readers[input.0 as usize].push(id));
        }
        LeftOut { structure, readers, seen: HashSet::new(), found: Vec::new() }
    }

    /// The layers that read a value as whole numbers, also through others between them.
    fn add(&mut self, id: NodeId, reason: &str) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !self.seen.insert(id) {
                continue;
            }
            for &reader in &self.readers[id.0 as usize] {
                let is_operand = self.structure.graph[reader].operands().contains(&id);
                if self.structure.is_product(reader) && is_operand {
                    self.found.push((weight_name(self.structure, reader).to_owned(), reason.to_owned()));
                } else if self.structure.is_integer(reader) {
                    open.push(reader);
                }
            }
        }
    }
}

/// Weights in eight bits: `raw` are multiples of the scales, and `now` are the same times a factor for each row.
fn rows(channels: usize, raw: &[f32], now: &[f32], scales: &[f32]) -> Result<Rows, String> {
    if scales.len() != 1 && scales.len() != channels {
        return Err("weights have scales along another axis than that of the output channels".into());
    }
    let len = raw.len() / channels;
    let mut found = Rows { weight: Arc::from([]), scales: Vec::new(), as_given: raw == now };
    let mut weight: Vec<i8> = Vec::with_capacity(raw.len());
    for (c, (raw, now)) in raw.chunks(len).zip(now.chunks(len)).enumerate() {
        let scale = scales[c % scales.len()];
        let mut row = raw.iter().map(|&w| whole(w, scale)).collect::<Result<Vec<i8>, String>>()?;
        let factor = if found.as_given { 1.0 } else { factor(raw, now) };
        if factor < 0.0 {
            row.iter_mut().for_each(|q| *q = -*q);
        }
        weight.extend(row);
        found.scales.push((f64::from(scale) * factor.abs()) as f32);
    }
    Ok(Rows { weight: weight.into(), ..found })
}

/// The multiple of a scale that a weight is.
fn whole(w: f32, scale: f32) -> Result<i8, String> {
    let q = if w == 0.0 { 0.0 } else { (w / scale).round_ties_even() };
    if q != 0.0 && q * scale != w {
        return Err("weights are no multiples of one scale for each output channel".into());
    }
    match q {
        -127.0..=127.0 => Ok(q as i8),
        -128.0 => Err("weights hold -128, and are -127 to 127 here".into()),
        _ => Err("weights have more than eight bits, or a zero point".into()),
    }
}

/// What a row was multiplied by.
fn factor(raw: &[f32], now: &[f32]) -> f64 {
    let largest = raw.iter().zip(now).max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
    largest.filter(|pair| *pair.0 != 0.0).map_or(1.0, |(&raw, &now)| f64::from(now) / f64::from(raw))
}

/// The scale of each row. A row of zeros whose scale is none gets one that suits its bias.
fn scales(rows: &Rows, bias: Option<&[f32]>, input: Quantisation) -> Result<Vec<f32>, String> {
    let len = rows.weight.len() / rows.scales.len();
    let scale = |(c, row): (usize, &[i8])| match rows.scales[c] {
        scale if Quantisation::SCALES.contains(&scale) => Ok(scale),
        _ if row.iter().all(|&q| q == 0) => {
            let bias = bias.map_or(0.0, |bias| f64::from(bias[c]).abs());
            let least = (bias / (f64::from(input.scale()) * f64::from(MAX_BIAS / 2))) as f32;
            Ok(least.clamp(*Quantisation::SCALES.start(), *Quantisation::SCALES.end()))
        }
        scale => Err(format!("weights have a scale of {scale:e}, and scales are 2^-32 to 2^32")),
    };
    rows.weight.chunks(len).enumerate().map(scale).collect()
}

/// The bias in steps of the sums: as given where it is given in these very steps.
fn whole_bias(real: &[f32], given: Option<&Stepped>, scales: &[f32], input: Quantisation) -> Result<Vec<i32>, String> {
    let of_channel = |(c, (&b, &scale)): (usize, (&f32, &f32))| {
        let step = f64::from(input.scale()) * f64::from(scale);
        let as_given = given.and_then(|given| {
            let own = f64::from(given.scales[c % given.scales.len()]);
            let integers = given.integers.as_ref().filter(|integers| integers.len() == real.len())?;
            ((own - step).abs() <= 1e-6 * step).then(|| f64::from(integers[c]))
        });
        let q = as_given.unwrap_or_else(|| (f64::from(b) / step).round_ties_even());
        let fits = q.abs() <= f64::from(MAX_BIAS);
        fits.then_some(q as i32).ok_or_else(|| "biases are too large for the steps of the sums".to_owned())
    };
    real.iter().zip(scales).enumerate().map(of_channel).collect()
}
