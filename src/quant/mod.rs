//! Networks on whole numbers: which layers compute on them, and what a weight file says of that.
//!
//! The text of a model says nothing of this. A weight file has weights of eight bits in the place of those of some
//! layers, and beside them what the numbers stand for; norms are folded into what is in front of them:
//!
//! | key | what it is |
//! | --- | --- |
//! | `conv1.weight` | I8, -127 to 127 |
//! | `conv1.weight_scale` | F32, one for each output channel |
//! | `conv1.bias` | I32, in steps of `input_scale * weight_scale` |
//! | `conv1.input_scale`, `conv1.input_zero_point` | F32 and U8: what the numbers that the layer reads stand for |
//! | `add.output_scale`, `add.output_zero_point` | the same of a value that no layer with weights of eight bits reads |
//! | `fire.concat.output_scale`, `fire.concat.output_zero_point` | of a concatenation, to which its operands are brought; without them all have one quantisation |
//! | `conv2.value_scale`, `conv2.value_zero_point` | the same of the value of a layer to which another one is added: it is rounded before that; without them the sum alone is |
//!
//! All else in the file is F32, as ever. From this and from the model alone follows the graph: layers with weights of
//! eight bits compute on whole numbers, and so does what lies between them wherever it can (`structure`).

mod apply;
mod calibrate;
mod choose;
mod compensated;
mod file;
mod given;
mod halves;
#[cfg(feature = "cli")]
pub mod html;
mod measure;
mod moments;
mod rounding;
mod structure;

pub use apply::{Applied, Layer, Values, apply};
pub use calibrate::{Method, Observed, observe};
pub use choose::{LayerReport, Quantised, Wishes, quantise};
pub use file::{ACTIVATION_BITS, Stored, is_quantised, load, tensors, write};
pub use given::{Given, Said, Stepped, Taken, WholeFile, take};
pub use halves::{Beyond, Halved, halve, snr_db};
pub use measure::{Fidelity, Measured, classes, measure};
pub use moments::bytes as moments_bytes;
pub use structure::{Folded, Structure};
