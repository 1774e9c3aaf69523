//! The weights of an imported network: parts of the file, read where they are needed.

use super::Refusal;
use super::constant::{Const, Element, product};
use super::fold::offsets;
use crate::ir::Param;
use crate::ir::weights::WeightSource;
use crate::quant::Stepped;
use std::borrow::Cow;
use std::collections::HashMap;

/// A constant of the file as a layer wants it: its elements in another order, times a factor.
#[derive(Clone)]
pub struct Weight {
    source: Const,
    /// Sizes, and the distance between neighbours of each in the source; `None` for the order of the source.
    order: Option<(Vec<usize>, Vec<usize>)>,
    factor: f32,
    /// Whether the layer's operand is what whole numbers stand for.
    reads_whole: bool,
}

impl Weight {
    pub fn of(source: &Const) -> Weight {
        Weight { source: source.clone(), order: None, factor: 1.0, reads_whole: false }
    }

    /// Equal numbers.
    pub fn fill(count: usize, value: f64) -> Weight {
        Weight::of(&Const::fill(vec![count], Element::F32, value).expect("as many as there are channels"))
    }

    /// The elements that `strides` lead to, in row-major order of `shape`.
    ///
    /// # Errors
    /// If one lies behind the last.
    pub fn ordered(source: &Const, shape: Vec<usize>, strides: Vec<usize>) -> Result<Weight, Refusal> {
        product(&shape)?;
        let reach = shape
            .iter()
            .zip(&strides)
            .try_fold(0usize, |reach, (&size, &stride)| reach.checked_add(size.checked_sub(1)?.checked_mul(stride)?));
        match reach.filter(|&reach| reach < source.count()) {
            Some(_) if is_order(source.count(), &shape, &strides) => Ok(Weight::of(source)),
            Some(_) => Ok(Weight { order: Some((shape, strides)), ..Weight::of(source) }),
            None => Err(Refusal::new(format!("weights of {:?} are not as many as the layer needs", source.dims))),
        }
    }

    pub fn times(self, factor: f32) -> Weight {
        Weight { factor: self.factor * factor, ..self }
    }

    /// Of a layer whose operand is what whole numbers stand for, or f32.
    pub fn beside(self, reads_whole: bool) -> Weight {
        Weight { reads_whole, ..self }
    }

    /// What is known of its steps, where DequantizeLinear made it.
    pub fn stepped(&self) -> Option<Stepped> {
        let steps = self.source.steps()?;
        let integers = steps.integers.clone().filter(|_| self.order.is_none() && self.factor == 1.0);
        Some(Stepped { scales: steps.scales.clone(), integers, reads_whole: self.reads_whole })
    }

    pub fn count(&self) -> usize {
        self.order.as_ref().map_or(self.source.count(), |(shape, _)| shape.iter().product())
    }

    /// The type of the elements in the file.
    pub fn element(&self) -> Element {
        self.source.element
    }

    /// Whether the elements are numbers of a floating-point type, and have a value in f32.
    ///
    /// # Errors
    /// Which are not.
    pub fn check(&self) -> Result<(), Refusal> {
        let element = self.element();
        if !element.is_float() {
            let way_out = "a Cast or DequantizeLinear would make them numbers of a layer";
            return Err(Refusal::new(format!("weights of {element}; {way_out}")));
        }
        match self.source.beyond_f32() {
            Some((index, value)) => {
                Err(Refusal::new(format!("element {index} of its weights is {value:e}, beyond f32")))
            }
            None => Ok(()),
        }
    }

    /// Whether all elements are known to be 0.
    pub fn is_zero(&self) -> bool {
        self.source.uniform() == Some(0.0)
    }

    /// All elements.
    pub fn values(&self) -> Cow<'_, [f32]> {
        let source = self.source.floats();
        let ordered = match &self.order {
            Some((shape, strides)) => Cow::Owned(offsets(shape, strides).map(|place| source[place]).collect()),
            None => source,
        };
        match self.factor {
            1.0 => ordered,
            factor => Cow::Owned(ordered.iter().map(|value| value * factor).collect()),
        }
    }
}

/// Whether the strides lead to all elements in their order.
fn is_order(count: usize, shape: &[usize], strides: &[usize]) -> bool {
    let inner = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    count == shape.iter().product::<usize>()
        && (0..shape.len()).all(|axis| shape[axis] == 1 || strides[axis] == inner(axis))
}

/// The weights of a network by the names that its graph has for them.
#[derive(Clone, Default)]
pub struct Weights {
    by_name: HashMap<String, Weight>,
}

impl Weights {
    pub fn insert(&mut self, name: String, weight: Weight) {
        self.by_name.insert(name, weight);
    }

    pub fn get(&self, name: &str) -> Option<&Weight> {
        self.by_name.get(name)
    }

    /// All weights that are multiples of steps, by their names.
    pub fn stepped(&self) -> HashMap<String, Stepped> {
        self.by_name.iter().filter_map(|(name, weight)| Some((name.clone(), weight.stepped()?))).collect()
    }

    /// Gives weights other names: each pair is the old one and the new one.
    pub fn rename(&mut self, pairs: &[(String, String)]) {
        let weights: Vec<_> = pairs.iter().map(|(old, _)| self.by_name.remove(old)).collect();
        let renamed = pairs.iter().zip(weights).filter_map(|((_, new), weight)| Some((new.clone(), weight?)));
        self.by_name.extend(renamed);
    }

    /// Only those of these parameters.
    pub fn retain<'p>(&mut self, params: impl IntoIterator<Item = &'p Param>) {
        let kept = params.into_iter().filter_map(|param| self.by_name.remove_entry(&param.name)).collect();
        self.by_name = kept;
    }
}

impl WeightSource for Weights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        self.by_name[&param.name].values()
    }
}
