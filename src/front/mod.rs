//! Front ends: what comes from outside, as a graph. [`ir`](crate::ir) knows none of them.

pub mod onnx;
pub mod text;
