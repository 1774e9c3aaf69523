//! Computing with constants: shapes above all, which may depend on the batch, and weights.

use super::Refusal;
use super::constant::{Const, Element, Number, Steps, product};

/// The shape that two shapes are repeated to, right-aligned, sizes of 1 stretched.
///
/// # Errors
/// If they do not fit.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |index| dims[index]);
    let size = |axis| match (at(a, axis), at(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(Refusal::new(format!("shapes of {a:?} and {b:?} do not go together"))),
    };
    (0..rank).map(size).collect()
}

/// The strides with which a tensor of `dims` is read where it is repeated to `shape`.
fn strides(dims: &[usize], shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for (axis, &dim) in dims.iter().enumerate().rev() {
        strides[axis + shape.len() - dims.len()] = if dim == 1 { 0 } else { stride };
        stride *= dim;
    }
    strides
}

/// The offsets of the elements of `shape`, in row-major order, where `strides` put them.
pub fn offsets(shape: &[usize], strides: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let count: usize = shape.iter().product();
    let axes: Vec<(usize, usize)> = shape.iter().copied().zip(strides.iter().copied()).collect();
    (0..count).map(move |mut position| {
        let offset = |&(size, stride): &(usize, usize)| {
            let index = position % size;
            position /= size;
            index * stride
        };
        axes.iter().rev().map(offset).sum()
    })
}

/// `f` of the elements of both, repeated to one shape.
pub fn binary(a: &Const, b: &Const, f: impl Fn(Number, Number) -> Result<Number, Refusal>) -> Result<Const, Refusal> {
    let shape = broadcast(&a.dims, &b.dims)?;
    check_count(&shape)?;
    let (left, right) = (a.numbers()?, b.numbers()?);
    let places = offsets(&shape, &strides(&a.dims, &shape)).zip(offsets(&shape, &strides(&b.dims, &shape)));
    let round = |number: Number| match number.known() {
        Some(value) => Number::from(a.element.round(value)),
        None => number,
    };
    let numbers = places.map(|(i, j)| f(left[i], right[j]).map(round)).collect::<Result<_, _>>()?;
    Const::numbers_of(shape, a.element, numbers)
}

/// `f` of each element, none of which depends on the batch.
pub fn unary(x: &Const, f: impl Fn(f64) -> f64) -> Result<Const, Refusal> {
    let numbers = x.values()?.into_iter().map(|value| Number::from(x.element.round(f(value)))).collect();
    Const::numbers_of(x.dims.clone(), x.element, numbers)
}

/// A shape that a constant may be computed in.
fn check_count(shape: &[usize]) -> Result<(), Refusal> {
    match product(shape)? {
        0..=0x40_0000 => Ok(()),
        _ => Err(Refusal::new(format!("a constant of {shape:?} is more than is computed with"))),
    }
}

pub fn add(a: Number, b: Number) -> Result<Number, Refusal> {
    Ok(Number { constant: a.constant + b.constant, batch: a.batch + b.batch })
}

pub fn subtract(a: Number, b: Number) -> Result<Number, Refusal> {
    add(a, Number { constant: -b.constant, batch: -b.batch })
}

pub fn multiply(a: Number, b: Number) -> Result<Number, Refusal> {
    match (a.known(), b.known()) {
        (_, Some(b)) => Ok(Number { constant: a.constant * b, batch: a.batch * b }),
        (Some(a), _) => Ok(Number { constant: b.constant * a, batch: b.batch * a }),
        (None, None) => Err(Refusal::new("the square of the batch")),
    }
}

/// Division, of integers towards 0 where `whole`.
pub fn divide(a: Number, b: Number, whole: bool) -> Result<Number, Refusal> {
    let depends = || Refusal::new("a quotient that depends on the batch in a way that is not followed");
    match (a.known(), b.known()) {
        (Some(_), Some(0.0)) if whole => Err(Refusal::new("a division by 0")),
        (Some(a), Some(b)) => Ok(Number::from(if whole { (a / b).trunc() } else { a / b })),
        (None, Some(b)) => {
            let quotient = Number { constant: a.constant / b, batch: a.batch / b };
            let exact = quotient.constant.fract() == 0.0 && quotient.batch.fract() == 0.0;
            if exact || !whole && b != 0.0 { Ok(quotient) } else { Err(depends()) }
        }
        // 64 N / N
        (None, None) if a.constant == 0.0 && b.constant == 0.0 => divide(a.batch.into(), b.batch.into(), whole),
        _ => Err(depends()),
    }
}

/// The elements with the axes in another order.
pub fn transpose(x: &Const, perm: &[usize]) -> Result<Const, Refusal> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.dims.len()) {
        return Err(Refusal::new(format!("{perm:?} is no permutation of the axes of {:?}", x.dims)));
    }
    let own = strides(&x.dims, &x.dims);
    let shape: Vec<usize> = perm.iter().map(|&axis| x.dims[axis]).collect();
    let order: Vec<usize> = perm.iter().map(|&axis| own[axis]).collect();
    let picked = pick(x, shape.clone(), offsets(&shape, &order))?;
    Ok(match x.steps() {
        Some(steps) => picked.with_steps(Steps { scales: steps.scales.clone(), integers: None }),
        None => picked,
    })
}

/// The elements repeated to a shape.
pub fn expand(x: &Const, shape: &[usize]) -> Result<Const, Refusal> {
    let shape = broadcast(&x.dims, shape)?;
    if shape == x.dims {
        return Ok(x.clone());
    }
    if let Some(value) = x.uniform() {
        return Const::fill(shape, x.element, value);
    }
    check_count(&shape)?;
    let strides = strides(&x.dims, &shape);
    pick(x, shape.clone(), offsets(&shape, &strides))
}

/// A tensor of elements of another.
fn pick(x: &Const, shape: Vec<usize>, places: impl Iterator<Item = usize>) -> Result<Const, Refusal> {
    if x.element == Element::F32 && x.is_known() {
        let values = x.floats();
        return Const::floats_of(shape, places.map(|place| values[place]).collect());
    }
    let numbers = x.numbers()?;
    Const::numbers_of(shape, x.element, places.map(|place| numbers[place]).collect())
}

/// The indices `index` along an axis.
pub fn take(x: &Const, axis: usize, index: &[usize]) -> Result<Const, Refusal> {
    if let Some(&wrong) = index.iter().find(|&&index| index >= x.dims[axis]) {
        return Err(Refusal::new(format!("index {wrong} of {} along axis {axis}", x.dims[axis])));
    }
    let mut shape = x.dims.clone();
    shape[axis] = index.len();
    check_count(&shape)?;
    let inner: usize = x.dims[axis + 1..].iter().product();
    let outer: usize = x.dims[..axis].iter().product();
    let size = x.dims[axis];
    let places = (0..outer)
        .flat_map(|o| index.iter().flat_map(move |&i| (0..inner).map(move |element| (o * size + i) * inner + element)));
    let places: Vec<usize> = places.collect();
    pick(x, shape, places.into_iter())
}

/// Tensors behind each other along an axis.
pub fn concat(parts: &[&Const], axis: usize) -> Result<Const, Refusal> {
    let mut shape = parts[0].dims.clone();
    let others =
        |dims: &[usize]| dims.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| *d).collect::<Vec<_>>();
    if parts.iter().any(|part| part.dims.len() != shape.len() || others(&part.dims) != others(&shape)) {
        return Err(Refusal::new("constants of shapes that do not go together"));
    }
    shape[axis] = parts.iter().map(|part| part.dims[axis]).sum();
    check_count(&shape)?;
    let outer: usize = shape[..axis].iter().product();
    let numbers = parts.iter().map(|part| part.numbers()).collect::<Result<Vec<_>, _>>()?;
    let mut joined = Vec::new();
    for o in 0..outer {
        for (part, numbers) in parts.iter().zip(&numbers) {
            let run: usize = part.dims[axis..].iter().product();
            joined.extend_from_slice(&numbers[o * run..][..run]);
        }
    }
    Const::numbers_of(shape, parts[0].element, joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[usize]) -> Const {
        let values = (0..dims.iter().product::<usize>()).map(|i| i as f32).collect();
        Const::floats_of(dims.to_vec(), values).unwrap()
    }

    #[test]
    fn elements_move() {
        let x = tensor(&[2, 3]);
        assert_eq!(transpose(&x, &[1, 0]).unwrap().values().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(take(&x, 1, &[2, 0]).unwrap().values().unwrap(), [2.0, 0.0, 5.0, 3.0]);
        assert!(take(&x, 0, &[2]).is_err());
        assert_eq!(expand(&tensor(&[2, 1]), &[2, 2]).unwrap().values().unwrap(), [0.0, 0.0, 1.0, 1.0]);
        let joined = concat(&[&x, &tensor(&[2, 1])], 1).unwrap();
        assert_eq!(joined.values().unwrap(), [0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 1.0]);
    }

    #[test]
    fn shapes_are_repeated_as_numpy_does() {
        assert_eq!(broadcast(&[3, 1], &[2, 1, 4]), Ok(vec![2, 3, 4]));
        assert!(broadcast(&[3], &[2]).is_err());
        let sum = binary(&tensor(&[2, 1]), &tensor(&[3]), add).unwrap();
        assert_eq!(sum.values().unwrap(), [0.0, 1.0, 2.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn the_batch_is_a_symbol() {
        let all = multiply(Number::N, 64.0.into()).unwrap();
        assert_eq!(divide(all, Number::N, true), Ok(64.0.into()));
        assert_eq!(divide(all, 32.0.into(), true), Ok(Number { constant: 0.0, batch: 2.0 }));
        assert!(divide(all, 3.0.into(), true).is_err() && multiply(all, all).is_err());
        assert_eq!(divide((-7.0).into(), 2.0.into(), true), Ok((-3.0).into()));
        assert!(divide(1.0.into(), 0.0.into(), true).is_err());
    }
}
