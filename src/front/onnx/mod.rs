//! ONNX files (<https://onnx.ai>), read and written.
//!
//! | file | concern |
//! | --- | --- |
//! | [`wire`] | protocol buffers: fields of messages, in place |
//! | [`proto`] | the messages of a model file |
//! | [`encode`], [`fields`] | messages that are written, and the numbers of their fields |

pub mod encode;
pub mod fields;
pub mod proto;
pub mod wire;
