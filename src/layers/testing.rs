//! What the tests of the layers share.

use super::*;
use crate::tensor::{Batch, DType};

pub fn int(value: usize) -> ArgValue {
    ArgValue::Int(value)
}

pub fn dims<const R: usize>(sizes: [usize; R]) -> ArgValue {
    ArgValue::Dims(sizes.to_vec())
}

/// The layer that a call with these arguments makes.
pub fn try_make(keyword: &str, given: &[(&'static str, ArgValue)]) -> Result<Op, ArgError> {
    let entry = find(keyword).expect("a keyword");
    let mut args = Args::defaults(entry.spec);
    for (name, value) in given {
        assert!(entry.spec.param(name).is_some(), "{keyword} has no parameter {name}");
        args.set(name, value.clone());
    }
    (entry.make)(&args)
}

pub fn make(keyword: &str, given: &[(&'static str, ArgValue)]) -> Op {
    try_make(keyword, given).unwrap()
}

/// [N, dims]
pub fn ty(dims: &[usize]) -> TensorType {
    TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: dims.to_vec() }
}

/// Dimensions of the output, or the code of the error.
pub fn shape(op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, &'static str> {
    let types: Vec<TensorType> = inputs.iter().map(|dims| ty(dims)).collect();
    op.layer().unwrap().shape(&types.iter().collect::<Vec<_>>()).map(|t| t.dims).map_err(|e| e.code)
}

pub fn param_dims(op: &Op, inputs: &[&[usize]]) -> Vec<(&'static str, Vec<usize>)> {
    let types: Vec<TensorType> = inputs.iter().map(|dims| ty(dims)).collect();
    let params = op.layer().unwrap().params(&types.iter().collect::<Vec<_>>());
    params.into_iter().map(|p| (p.role, p.dims)).collect()
}

pub fn lower(op: &Op, input: &[usize]) -> Lowering {
    op.layer().unwrap().lower(&[&ty(input)])
}

pub fn text(op: &Op) -> String {
    op.layer().unwrap().to_string()
}

/// Evaluates in both precisions, which must agree on the small numbers of the tests; checks the shape rule and
/// the sizes of the parameters on the way.
pub fn eval(op: &Op, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
    let dims: Vec<&[usize]> = inputs.iter().map(|x| &x.shape()[1..]).collect();
    let sizes: Vec<usize> = param_dims(op, &dims).iter().map(|(_, dims)| dims.iter().product()).collect();
    assert_eq!(params.iter().map(|p| p.len()).collect::<Vec<_>>(), sizes);
    let layer = op.layer().unwrap();
    let [single, double] = [Accumulate::F32, Accumulate::F64].map(|a| layer.eval(inputs, params, a));
    assert_eq!(shape(op, &dims).as_deref(), Ok(&single.shape()[1..]));
    assert_close(single.data(), double.data());
    double
}

/// Equal within 1e-6 of the magnitude; NaN equals NaN.
pub fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * b.abs().max(1.0);
        assert!(close, "element {i}: {found:?}, expected {expected:?}");
    }
}
