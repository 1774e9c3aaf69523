//! Means of regions of values whose sizes are free: the regions are computed where the model runs.

use super::Refusal;
use super::builder::{Site, Size, Step};
use super::call::Call;
use super::layers::Steps;
use crate::front::onnx::fields::tensor;

/// The regions of one axis: `[floor(i * size / count), ceil((i + 1) * size / count))` for `i` below `count`.
struct Regions {
    /// Number of positions of the axis, as a list of one.
    size: String,
    /// As columns.
    starts: String,
    ends: String,
}

impl Regions {
    fn new(site: &mut Site, x: &str, axis: usize, count: usize) -> Regions {
        let numbers = |more: usize| (0..count).map(|i| (i + more) as i64).collect::<Vec<_>>();
        let shape = Call::new("Shape", [x.to_string()]).int("start", axis as i64).int("end", axis as i64 + 1);
        let size = site.list(shape);
        let [by, less] = [("by", count), ("less", count - 1)].map(|(role, x)| site.integers(role, &[x as i64]));
        let [first, next] = [("first", 0), ("next", 1)].map(|(role, more)| site.column(role, &numbers(more)));
        let starts = site.list(Call::new("Mul", [first, size.clone()]));
        let starts = site.list(Call::new("Div", [starts, by.clone()]));
        let ends = site.list(Call::new("Mul", [next, size.clone()]));
        let ends = site.list(Call::new("Add", [ends, less]));
        let ends = site.list(Call::new("Div", [ends, by]));
        Regions { size, starts, ends }
    }

    /// Which positions each region has of its mean: a matrix [count, size].
    fn shares(&self, site: &mut Site) -> String {
        let places = range(site, self.size.clone());
        let behind = site.list(Call::new("GreaterOrEqual", [places.clone(), self.starts.clone()]));
        let before = site.list(Call::new("Less", [places, self.ends.clone()]));
        let within = site.list(Call::new("And", [behind, before]));
        let lengths = site.list(Call::new("Sub", [self.ends.clone(), self.starts.clone()]));
        let [within, lengths] = [within, lengths].map(|x| site.list(Call::new("Cast", [x]).int("to", tensor::FLOAT)));
        site.list(Call::new("Div", [within, lengths]))
    }
}

/// The numbers below one that is given as a list.
fn range(site: &mut Site, end: String) -> String {
    let axis = site.integers("axis", &[0]);
    let end = site.list(Call::new("Squeeze", [end, axis]));
    let [start, step] = [("start", 0), ("step", 1)].map(|(role, value)| site.integer(role, value));
    site.list(Call::new("Range", [start, end, step]))
}

/// The mean of each dimension's regions in turn, as a product with a matrix.
pub fn average(site: &mut Site) -> Steps {
    let (mut sizes, own) = (site.sizes(0), site.own_sizes());
    let mut step = Step::Same(site.input(0));
    let rank = sizes.len();
    for dim in (1..rank).filter(|&dim| !site.keeps(dim)).collect::<Vec<_>>() {
        let count = own[dim].ok_or_else(|| Refusal::of_sizes("the number of its regions"))?;
        let x = site.done(step, &sizes);
        let shares = Regions::new(site, &x, dim + 1, count).shares(site);
        // The axis goes behind all others, and back.
        let order = turned(rank + 1, dim + 1);
        let columns = site.list(Call::new("Transpose", [shares]).ints("perm", [1, 0]));
        let behind: Vec<Size> = order[1..].iter().map(|&axis| sizes[axis - 1]).collect();
        let x = site.value(Call::new("Transpose", [x]).ints("perm", order.clone()), &behind);
        sizes[dim] = Some(count);
        let behind: Vec<Size> = order[1..].iter().map(|&axis| sizes[axis - 1]).collect();
        let mean = site.value(Call::new("MatMul", [x, columns]), &behind);
        let back = (0..=rank).map(|axis| order.iter().position(|&other| other == axis).unwrap_or(axis));
        step = Call::new("Transpose", [mean]).ints("perm", back).into();
    }
    Ok(step)
}

/// The axes of a value with one of them behind all others.
fn turned(rank: usize, last: usize) -> Vec<usize> {
    (0..rank).filter(|&axis| axis != last).chain([last]).collect()
}
